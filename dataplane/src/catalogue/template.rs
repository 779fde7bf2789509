//! URI templates (RFC 6570) as patterns: which backend's template could have made the URI that is asked for.
//!
//! It finds the way and decides nothing: what the variables are is the backend's to read. Matching costs at most the
//! URI's length times the template's parts, whatever a backend writes into a template.

/// Longest URI that is held against templates; a longer one is known only if it is listed.
pub const MAX_URI: usize = 2_048;
/// Parts of one template.
const MAX_PARTS: usize = 16;
/// Longest template.
const MAX_TEMPLATE: usize = 2_048;

/// One template, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    /// Bytes of literal text: of two templates that match, the one with more is meant.
    literal: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<[u8]>),
    /// `{x}`: at least one byte, no `/`.
    Segment,
    /// `{+x}`, `{x*}`: at least one byte.
    Any,
    /// `{?x}`, `{/x}` and their like: nothing, or this byte and whatever follows.
    Optional(u8),
}

impl Template {
    /// Errors: why it can't be read, as a clause ("its template …").
    pub fn read(text: &str) -> Result<Self, String> {
        if text.len() > MAX_TEMPLATE {
            return Err(format!("its template has {} bytes where {MAX_TEMPLATE} are read", text.len()));
        }
        let mut parts = Vec::new();
        let mut literal = 0;
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((expression, after)) = after.split_once('}') else {
                return Err("its template has a { without its }".into());
            };
            if !before.is_empty() {
                literal += before.len();
                parts.push(Part::Literal(before.as_bytes().into()));
            }
            parts.push(part(expression)?);
            rest = after;
        }
        if !rest.is_empty() {
            literal += rest.len();
            parts.push(Part::Literal(rest.as_bytes().into()));
        }
        if parts.len() > MAX_PARTS {
            return Err(format!("its template has more than {MAX_PARTS} parts"));
        }
        Ok(Self { parts, literal })
    }

    pub const fn literal(&self) -> usize {
        self.literal
    }

    /// Whether this template could have made the URI.
    pub fn matches(&self, uri: &str) -> bool {
        let uri = uri.as_bytes();
        if uri.len() > MAX_URI {
            return false;
        }
        // The usual no costs a comparison.
        if let Some(Part::Literal(first)) = self.parts.first()
            && !uri.starts_with(first)
        {
            return false;
        }
        // Up to which places of the URI the parts so far can reach.
        let mut reached = vec![false; uri.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        for part in &self.parts {
            reached = part.reach(uri, &reached);
        }
        reached.last() == Some(&true)
    }
}

impl Part {
    /// From each place that was reached, where this part can end.
    fn reach(&self, uri: &[u8], from: &[bool]) -> Vec<bool> {
        let mut to = vec![false; from.len()];
        let mut mark = |at: usize| {
            if let Some(place) = to.get_mut(at) {
                *place = true;
            }
        };
        // Some earlier place was reached from which this part can go on.
        let mut open = false;
        for (at, is_reached) in from.iter().copied().enumerate() {
            let byte = uri.get(at).copied();
            match self {
                Self::Literal(text) => {
                    if is_reached && uri.get(at..).is_some_and(|rest| rest.starts_with(text)) {
                        mark(at + text.len());
                    }
                    continue;
                }
                Self::Segment => open = (open || is_reached) && byte != Some(b'/'),
                Self::Any => open |= is_reached,
                Self::Optional(first) => {
                    if is_reached {
                        mark(at);
                    }
                    open |= is_reached && byte == Some(*first);
                }
            }
            if open {
                mark(at + 1);
            }
        }
        to
    }
}

fn part(expression: &str) -> Result<Part, String> {
    let operator = expression.bytes().next().filter(|first| b"+#./;?&".contains(first));
    let variables = if operator.is_some() { expression.get(1..).unwrap_or_default() } else { expression };
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '%' | ',' | '*' | ':' | '-');
    if variables.is_empty() || !variables.chars().all(is_name) {
        return Err("its template has an expression that is none of RFC 6570".into());
    }
    Ok(match operator {
        Some(b'+') => Part::Any,
        Some(first) => Part::Optional(first),
        None if variables.contains('*') => Part::Any,
        None => Part::Segment,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(template: &str, uri: &str) -> bool {
        Template::read(template).unwrap().matches(uri)
    }

    #[test]
    fn a_uri_fits_the_template_that_could_have_made_it() {
        for (template, uri) in [
            ("test://template/{id}/data", "test://template/123/data"),
            ("test://plain", "test://plain"),
            ("file:///{+path}", "file:///a/b/c"),
            ("docs://{path*}", "docs://a/b"),
            ("q://items{?page,size}", "q://items"),
            ("q://items{?page,size}", "q://items?page=2"),
            ("r://{owner}/{repo}/contents{/path*}", "r://a/b/contents/x/y"),
            ("a://{x}{y}", "a://12"),
            ("a://{x}-{y}", "a://1-2-3"),
        ] {
            assert!(matches(template, uri), "{template} {uri}");
        }
    }

    #[test]
    fn a_uri_that_it_could_not_have_made_does_not_fit() {
        for (template, uri) in [
            ("test://template/{id}/data", "test://template//data"),
            ("test://template/{id}/data", "test://template/1/2/data"),
            ("test://template/{id}/data", "test://template/1/data/"),
            ("test://template/{id}", "TEST://template/1"),
            ("q://items{?page}", "q://itemsX"),
            ("a://{x}{y}", "a://1"),
            ("file:///{+path}", "file:///"),
        ] {
            assert!(!matches(template, uri), "{template} {uri}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let long = format!("a://{}", "x".repeat(MAX_TEMPLATE));
        for bad in ["a://{", "a://{}", "a://{?}", "a://{{x}}", "a://{x y}", &"{a}".repeat(17), &long] {
            assert!(Template::read(bad).is_err(), "{bad}");
        }
        let greedy = Template::read(&"{+a}".repeat(MAX_PARTS)).unwrap();
        assert!(!greedy.matches(&"x".repeat(MAX_URI + 1)), "a URI beyond the bound is not tried");
        assert!(greedy.matches(&"x".repeat(MAX_URI)));
    }

    proptest! {
        #[test]
        fn what_a_template_makes_fits_it(id in "[a-zA-Z0-9._~-]{1,12}", path in "[a-z/]{1,12}") {
            let fits = matches("x://{id}/f/{+path}", &format!("x://{id}/f/{path}"));
            prop_assert!(fits);
        }

        #[test]
        fn no_template_and_no_uri_panics(template in "[a-c{}+?*/:]{0,24}", uri in "\\PC{0,24}") {
            if let Ok(template) = Template::read(&template) {
                template.matches(&uri);
            }
        }
    }
}
