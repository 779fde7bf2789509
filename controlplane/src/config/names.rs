//! Names, patterns and what resembles them. It knows which names are allowed, and nothing of where they stand.

/// Names of backends, roles and clients, in characters.
pub(super) const MAX_NAME: usize = 64;
/// An exposed tool name has at most so many characters (clients refuse longer ones).
pub(super) const MAX_EXPOSED: usize = 64;
/// Past it clients that put `mcp__sentinel__` before a name break their own limit of 64.
pub(super) const WARN_EXPOSED: usize = 49;
const MAX_PATTERN: usize = 256;

/// One line of visible text: no control character, and nothing that turns the direction of what follows.
pub(super) fn printable(text: &str) -> bool {
    !text.chars().any(|c| {
        c.is_control()
            || matches!(c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    })
}

/// A name that people read: printable, 1 to 64 characters, no space at either end.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a name cannot be empty; give it 1 to 64 characters".to_owned());
    }
    if text.chars().count() > MAX_NAME {
        return Err(format!("a name has at most {MAX_NAME} characters; shorten it"));
    }
    if !printable(text) || text.trim() != text {
        return Err("a name is printable, without space at its ends; take the invisible characters out".to_owned());
    }
    Ok(text.to_owned())
}

/// Part of an exposed tool name.
pub(super) fn tool_part(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
}

/// What a pattern begins with that is not for tools.
const PREFIXES: [&str; 2] = ["resource:", "prompt:"];

/// A pattern over names: `*` any run of characters, `?` one, nothing else is special. Without prefix it is for tools,
/// with `resource:` for URIs, with `prompt:` for prompts; `*` alone is for all.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a pattern cannot be empty; `*` stands for everything".to_owned());
    }
    if text.chars().count() > MAX_PATTERN || !printable(text) {
        return Err(format!("a pattern is printable, with at most {MAX_PATTERN} characters"));
    }
    if let Some(prefix) = PREFIXES.into_iter().find(|prefix| *prefix == text) {
        return Err(format!("nothing stands behind the prefix; write {prefix}* for all of them"));
    }
    Ok(text.to_owned())
}

/// A pattern where only tools can be meant.
pub(super) fn tool_pattern(text: &str) -> Result<String, String> {
    if let Some(prefix) = PREFIXES.into_iter().find(|prefix| text.starts_with(prefix)) {
        return Err(format!("only tools can be meant here; write a pattern without `{prefix}`"));
    }
    pattern(text)
}

/// The candidate that `written` was probably meant to be.
pub(super) fn nearest<'c>(written: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let written = plain(&written.chars().take(MAX_NAME).collect::<String>());
    let allowed = (written.chars().count() / 3).clamp(1, 3);
    candidates
        .map(|candidate| (distance(&written, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein, where two neighbours in the wrong order count as two.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, from) in a.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (to, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = *cell;
            *cell = replaced.min(left + 1).min(diagonal + 1);
            left = *cell;
        }
    }
    row.last().copied().unwrap_or(0)
}
