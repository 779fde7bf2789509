//! By which lines of the configuration a name is shown, hidden, ruled and limited. It decides nothing: `access`,
//! `Rules::broken` and `quota_of` do; this names what they went by, as the file calls it (`roles.analyst.allow[0]`).

use super::{Policy, Role};
use crate::call::{Kind, Principal};

/// What one role that decides has to say of a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Grounds<'p> {
    pub role: &'p str,
    /// The first of its patterns that allows the name.
    pub allow: Option<String>,
    /// The first that denies it.
    pub deny: Option<String>,
    /// Its argument rules about the name.
    pub rules: Vec<&'p str>,
}

impl Policy {
    /// Of each role that decides for this principal, by name.
    pub fn grounds<'p>(&'p self, principal: &'p Principal, kind: Kind, name: &str) -> Vec<Grounds<'p>> {
        let decides = self.deciding_roles(principal).into_iter();
        decides.filter_map(|role| Some(grounds(role, self.roles.get(role)?, kind, name))).collect()
    }

    /// Which line hid a name, for operators.
    pub fn why_hidden(&self, principal: &Principal, kind: Kind, name: &str) -> String {
        let grounds = self.grounds(principal, kind, name);
        if let Some(deny) = grounds.iter().find_map(|role| role.deny.clone()) {
            return deny;
        }
        let roles: Vec<&str> = grounds.iter().map(|role| role.role).collect();
        if roles.is_empty() { "no known role".to_owned() } else { format!("no allow of roles {}", roles.join(", ")) }
    }

    /// Where the quota of one client's requests for a name stands.
    pub fn quota_from(&self, kind: Kind, exposed: &str) -> String {
        let pattern = self.quotas.pattern_of(kind, exposed);
        pattern.map_or_else(|| "rate_limit.default".to_owned(), |pattern| format!("rate_limit.tools.{pattern}"))
    }
}

fn grounds<'p>(name_of: &'p str, role: &'p Role, kind: Kind, name: &str) -> Grounds<'p> {
    let line = |list: &str, at: usize| format!("roles.{name_of}.{list}[{at}]");
    let ruled = role.rules.iter().filter(|rule| kind == Kind::Tool && rule.tool.matches(name));
    Grounds {
        role: name_of,
        allow: role.allow.first(kind, name).map(|at| line("allow", at)),
        deny: role.deny.first(kind, name).map(|at| line("deny", at)),
        rules: ruled.map(|rule| &*rule.name).collect(),
    }
}
