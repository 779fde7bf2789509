//! Where a rule stands in a revision's text, by the name that planes, errors and records use for it
//! (`roles.analyst.rules[0]`). It judges nothing: the text was judged when the revision was made.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problems::Lines;

/// A text, parsed for its places.
#[derive(Debug)]
pub struct Places<'t> {
    file: DeTable<'t>,
    lines: Lines<'t>,
}

impl<'t> Places<'t> {
    #[must_use]
    pub fn of(text: &'t str) -> Self {
        let (document, _mistakes) = DeTable::parse_recoverable(text);
        Self { file: document.into_inner(), lines: Lines::new(text) }
    }

    /// Its line, from 1; `None` where the text does not hold it, so that a default holds.
    #[must_use]
    pub fn line(&self, rule: &str) -> Option<u32> {
        self.find(rule).map(|at| self.lines.place(at).0)
    }

    fn find(&self, rule: &str) -> Option<usize> {
        if let Some(of_role) = rule.strip_prefix("roles.") {
            // A role's name may hold a dot; the list's can't.
            let (role, list) = of_role.rsplit_once('.')?;
            let (list, index) = list.strip_suffix(']')?.split_once('[')?;
            let role = table(under(under(&self.file, "roles").and_then(table)?, role)?)?;
            return Some(items(under(role, list)?)?.get(index.parse::<usize>().ok()?)?.span().start);
        }
        if let Some(pattern) = rule.strip_prefix("rate_limit.tools.") {
            let tools = table(under(under(&self.file, "rate_limit").and_then(table)?, "tools")?)?;
            return key_of(tools, pattern);
        }
        if let Some(killed) = rule.strip_prefix("kill_switch.") {
            let (list, name) = killed.split_once('.')?;
            let names = items(under(under(&self.file, "kill_switch").and_then(table)?, list)?)?;
            let named = |item: &&Spanned<DeValue<'_>>| item.get_ref().as_str() == Some(name);
            return Some(names.iter().find(named)?.span().start);
        }
        if let Some((list, name)) =
            rule.split_once('.').filter(|(list, _)| ["backends", "virtual_servers"].contains(list))
        {
            let named = |item: &&Spanned<DeValue<'_>>| {
                table(item).and_then(|one| under(one, "name")).and_then(|value| value.get_ref().as_str()) == Some(name)
            };
            return Some(items(under(&self.file, list)?)?.iter().find(named)?.span().start);
        }
        let (section, key) = rule.split_once('.')?;
        key_of(under(&self.file, section).and_then(table)?, key)
    }
}

fn under<'a, 'i>(table: &'a DeTable<'i>, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
    table.iter().find(|(held, _)| held.get_ref() == key).map(|(_, value)| value)
}

fn key_of(table: &DeTable<'_>, key: &str) -> Option<usize> {
    table.iter().find(|(held, _)| held.get_ref() == key).map(|(held, _)| held.span().start)
}

fn table<'a, 'i>(value: &'a Spanned<DeValue<'i>>) -> Option<&'a DeTable<'i>> {
    value.get_ref().as_table()
}

fn items<'a, 'i>(value: &'a Spanned<DeValue<'i>>) -> Option<&'a [Spanned<DeValue<'i>>]> {
    value.get_ref().as_array().map(|items| &items[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[auth]\n[gateway]\nmax_in_flight = 5\n\
        [roles.\"a.b\"]\nallow = [\n  \"x__*\",\n  \"y__*\",\n]\ndeny = [\"z\"]\n\
        [[roles.\"a.b\".rules]]\ntool = \"x\"\narguments = {}\n[[roles.\"a.b\".rules]]\ntool = \"y\"\narguments = {}\n\
        [rate_limit.tools]\n\"*__echo\" = { requests = 1, per_secs = 1 }\n\
        [kill_switch]\ntools = [\"other\",\n \"x.y\"]\n[[backends]]\nname = \"n8n\"\n\
        [[virtual_servers]]\nname = \"n8n\"\n";

    #[test]
    fn each_rule_has_the_line_on_which_it_is_written() {
        let places = Places::of(TEXT);
        for (rule, line) in [
            ("gateway.max_in_flight", Some(3)),
            ("roles.a.b.allow[0]", Some(6)),
            ("roles.a.b.allow[1]", Some(7)),
            ("roles.a.b.deny[0]", Some(9)),
            ("roles.a.b.rules[1]", Some(13)),
            ("rate_limit.tools.*__echo", Some(17)),
            ("kill_switch.tools.x.y", Some(20)),
            ("backends.n8n", Some(21)),
            ("virtual_servers.n8n", Some(23)),
        ] {
            assert_eq!(places.line(rule), line, "{rule}");
        }
    }

    #[test]
    fn what_is_not_written_has_no_line() {
        let places = Places::of(TEXT);
        for rule in [
            "gateway.drain_secs",
            "roles.a.b.allow[2]",
            "roles.a.allow[0]",
            "roles.",
            "roles.a.b.allow[x]",
            "rate_limit.default",
            "kill_switch.clients.c",
            "backends.other",
            "virtual_servers.other",
            "no allow of roles a.b",
            "",
        ] {
            assert_eq!(places.line(rule), None, "{rule}");
        }
        assert_eq!(Places::of("= not TOML [").line("roles.a.allow[0]"), None);
    }
}
