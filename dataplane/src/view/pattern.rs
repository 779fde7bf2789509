//! The globs of roles and limits, and what each is for: a pattern without prefix is for tools, `resource:…` for
//! resources and their templates, `prompt:…` for prompts, `*` alone for all.

use std::fmt;

use crate::call::Kind;

/// `*` any run of characters, `?` one; nothing else is special, case counts, the whole name must match.
#[derive(Clone)]
pub struct Pattern(wildmatch::WildMatch);

impl Pattern {
    pub fn new(pattern: &str) -> Self {
        Self(wildmatch::WildMatch::new(pattern))
    }

    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }

    fn is_everything(&self) -> bool {
        self.0.pattern_chars() == ['*']
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.0.to_string()).finish()
    }
}

/// What a pattern is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    All,
    Prompts,
    Resources,
    Tools,
}

/// One pattern as the file writes it, with its prefix.
#[derive(Clone, Debug)]
pub struct Selector {
    what: For,
    pattern: Pattern,
}

impl Selector {
    pub fn new(written: &str) -> Self {
        let (what, pattern) = match (written, written.strip_prefix("resource:"), written.strip_prefix("prompt:")) {
            ("*", ..) => (For::All, written),
            (_, Some(uri), _) => (For::Resources, uri),
            (_, None, Some(prompt)) => (For::Prompts, prompt),
            (_, None, None) => (For::Tools, written),
        };
        Self { what, pattern: Pattern::new(pattern) }
    }

    pub fn selects(&self, kind: Kind, name: &str) -> bool {
        self.is_for(kind) && self.pattern.matches(name)
    }

    const fn is_for(&self, kind: Kind) -> bool {
        match self.what {
            For::All => true,
            For::Prompts => matches!(kind, Kind::Prompt),
            For::Resources => matches!(kind, Kind::Resource | Kind::Template),
            For::Tools => matches!(kind, Kind::Tool),
        }
    }
}

/// What a role's `allow` or `deny` selects: sorted by what it is for, so that a call tries patterns of its kind alone.
#[derive(Debug, Default)]
pub struct Selection {
    tools: Vec<Pattern>,
    prompts: Vec<Pattern>,
    resources: Vec<Pattern>,
    /// All, in the file's order: to say which of them it was.
    written: Vec<Selector>,
}

impl Selection {
    pub fn new(written: &[String]) -> Self {
        let selectors: Vec<Selector> = written.iter().map(|written| Selector::new(written)).collect();
        let of = |kind| -> Vec<Pattern> {
            selectors.iter().filter(|selector| selector.is_for(kind)).map(|selector| selector.pattern.clone()).collect()
        };
        Self { tools: of(Kind::Tool), prompts: of(Kind::Prompt), resources: of(Kind::Resource), written: selectors }
    }

    /// Which pattern of the file's list selects this name, counted from 0.
    pub fn first(&self, kind: Kind, name: &str) -> Option<usize> {
        self.written.iter().position(|selector| selector.selects(kind, name))
    }

    pub fn selects(&self, kind: Kind, name: &str) -> bool {
        self.of(kind).iter().any(|pattern| pattern.matches(name))
    }

    /// False: no name of this kind is selected.
    pub fn selects_any(&self, kind: Kind) -> bool {
        !self.of(kind).is_empty()
    }

    /// Every name of this kind is selected.
    pub fn selects_all(&self, kind: Kind) -> bool {
        self.of(kind).iter().any(Pattern::is_everything)
    }

    const fn of(&self, kind: Kind) -> &Vec<Pattern> {
        match kind {
            Kind::Tool => &self.tools,
            Kind::Prompt => &self.prompts,
            Kind::Resource | Kind::Template => &self.resources,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(written: &[&str]) -> Selection {
        Selection::new(&written.iter().map(|written| (*written).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_pattern_without_prefix_is_for_tools_and_a_star_alone_for_all() {
        let star = selection(&["*"]);
        assert!(Kind::ALL.into_iter().all(|kind| star.selects(kind, "resource:x")));
        let tools = selection(&["a*", "**"]);
        assert!(tools.selects(Kind::Tool, "ab") && tools.selects(Kind::Tool, "zz"));
        assert!(!tools.selects(Kind::Prompt, "ab") && !tools.selects(Kind::Resource, "ab"));
    }

    #[test]
    fn a_prefix_says_what_a_pattern_is_for_and_is_no_part_of_the_name() {
        let both = selection(&["resource:file:///docs/*", "prompt:git__*"]);
        assert!(both.selects(Kind::Resource, "file:///docs/a/b"));
        assert!(both.selects(Kind::Template, "file:///docs/{name}"));
        assert!(!both.selects(Kind::Resource, "file:///etc/passwd"));
        assert!(both.selects(Kind::Prompt, "git__review") && !both.selects(Kind::Prompt, "x__review"));
        assert!(both.selects_any(Kind::Template) && !both.selects_any(Kind::Tool) && !both.selects_all(Kind::Prompt));
        assert!(selection(&["prompt:*"]).selects_all(Kind::Prompt));
        assert!(!both.selects(Kind::Tool, "git__review") && !both.selects(Kind::Tool, "prompt:git__review"));
        assert!(!both.selects(Kind::Prompt, "file:///docs/a"), "a resource's pattern shows no prompt");
    }

    #[test]
    fn the_pattern_that_selects_is_named_by_its_place_in_the_file() {
        let several = selection(&["prompt:*", "a__*", "resource:a*", "*"]);
        assert_eq!(several.first(Kind::Tool, "a__x"), Some(1));
        assert_eq!(several.first(Kind::Tool, "b__x"), Some(3));
        assert_eq!(several.first(Kind::Template, "abc"), Some(2));
        assert_eq!(selection(&["prompt:*"]).first(Kind::Tool, "a__x"), None);
    }
}
