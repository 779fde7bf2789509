//! Readers of single values: what is written becomes a type, or a sentence that says what is wanted. No message
//! repeats a value that could be a secret. They know no key.

use std::ops::RangeInclusive;

use toml::de::DeValue;

/// A plain string. `${…}` is refused: it would be taken literally here.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, String> {
    let text = any_text(value)?;
    if text.contains("${") {
        return Err(
            "`${VAR}` is not resolved here, only in env, headers, args and url; write the value itself".to_owned()
        );
    }
    Ok(text.to_owned())
}

/// A string that is one of those that have a meaning.
pub(super) fn any_text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| format!("a string is wanted, not {}; put it in quotes", a(value)))
}

/// An absolute http URL with a host and nothing invisible; in the clear for this machine alone.
pub(super) fn http_url(written: &str) -> bool {
    let (rest, is_secret) = match (written.strip_prefix("https://"), written.strip_prefix("http://")) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        (None, None) => return false,
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_here = ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|here| host.strip_prefix(here).is_some_and(|port| port.is_empty() || port.starts_with(':')));
    !host.is_empty()
        && !host.contains('@')
        && written.len() <= 1024
        && written.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\'))
        && (is_secret || is_here)
}

pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("true or false is wanted, not {}", a(value)))
}

/// A whole number within `range`.
pub(super) fn number(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Result<u32, String> {
    move |value| {
        let wanted = || format!("must be {} to {}", range.start(), range.end());
        let Some(integer) = value.as_integer() else {
            return Err(format!("a whole number is wanted, not {}; it {}", a(value), wanted()));
        };
        i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("{integer} is out of range; it {}", wanted()))
    }
}

/// A size: `"4MiB"`, `"512KiB"`, `"1GiB"`, `"100B"`, or a number of bytes.
pub(super) fn bytes(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<u64, String> {
    move |value| {
        let wanted = || format!("write it like \"4MiB\", from {} to {}", size(*range.start()), size(*range.end()));
        let number = match value {
            DeValue::String(text) => parse_size(text),
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| format!("a size is wanted; {}", wanted()))?;
        if range.contains(&number) {
            Ok(number)
        } else {
            Err(format!("{} is out of range; {}", size(number), wanted()))
        }
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn size(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

/// One of a few words. What comes later is named with its issue, and refused as that.
pub(super) fn word<T: Copy>(
    known: &'static [(&'static str, T)],
    later: &'static [(&'static str, &'static str)],
) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let written = any_text(value)?;
        if let Some((_, meaning)) = known.iter().find(|(word, _)| *word == written) {
            return Ok(*meaning);
        }
        if let Some((word, issue)) = later.iter().find(|(word, _)| *word == written) {
            return Err(super::reader::comes_later(&format!("\"{word}\""), issue));
        }
        let words: Vec<String> = known.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        Err(format!("{written:?} is not known; write {}", words.join(" or ")))
    }
}

/// What a template refers to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refs {
    /// `${NAME}` and `${NAME:-…}` in it.
    pub(super) count: usize,
    /// One of them carries a default that is not empty: a literal all the same.
    pub(super) defaults: bool,
    /// The text with each reference replaced by its default, or by nothing.
    pub(super) rest: String,
}

/// Checks `${NAME}`, `${NAME:-default}` and `$${` for a literal `${`. Nothing is resolved.
pub(super) fn refs(text: &str) -> Result<Refs, String> {
    let mut found = Refs::default();
    let mut left = text;
    while let Some((before, after)) = left.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            found.rest.push_str(literal);
            found.rest.push_str("${");
            left = after;
            continue;
        }
        found.rest.push_str(before);
        let (inside, after) = after
            .split_once('}')
            .ok_or_else(|| "`${` has no `}`; write ${NAME}, or $${ for a literal ${".to_owned())?;
        let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
        if !variable(name) {
            return Err("the name in `${…}` is not one of a variable; write ${NAME} or ${NAME:-default} \
                 with letters, digits and _"
                .to_owned());
        }
        if default.contains("${") {
            return Err("a default cannot hold `${`; write the default itself".to_owned());
        }
        found.count += 1;
        found.defaults |= !default.is_empty();
        found.rest.push_str(default);
        left = after;
    }
    found.rest.push_str(left);
    Ok(found)
}

/// A string that may hold `${NAME}`.
pub(super) fn template(value: &DeValue<'_>) -> Result<(String, Refs), String> {
    let text = any_text(value)?;
    if text.contains('\0') {
        return Err("holds a NUL character; take it out".to_owned());
    }
    Ok((text.to_owned(), refs(text)?))
}

/// The name of an environment variable.
pub(super) fn variable(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The type of a value, with its article.
pub(super) fn a(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
