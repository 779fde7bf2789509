//! The file of variables beside a configuration (`sentinel.env` beside `sentinel.toml`): secrets for the data plane,
//! 0600, in the form that shells, systemd's `EnvironmentFile=` and Compose's `env_file` read alike.
//!
//! `up` puts it into the data plane's environment; what is set there already wins.

use std::path::{Path, PathBuf};

/// Largest file that is read.
const LARGEST: usize = 1024 * 1024;

/// `sentinel.env` for `sentinel.toml`.
#[must_use]
pub fn beside(config: &Path) -> PathBuf {
    config.with_extension("env")
}

/// Its variables in order; empty where there is no such file. Errors: not readable, or a line that is none, with place.
pub fn read(path: &Path) -> Result<Vec<(String, String)>, String> {
    let text = match std::fs::read(path) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(format!("{}: {why}", path.display())),
        Ok(bytes) if bytes.len() > LARGEST => return Err(format!("{} is larger than 1 MiB", path.display())),
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))?,
    };
    parse(&text).map_err(|(line, why)| format!("{}:{line}: {why}", path.display()))
}

/// Errors: line (from 1) and what is wrong there.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
    let mut vars = Vec::new();
    let mut rest = text;
    let mut line = 1_usize;
    while !rest.is_empty() {
        let (first, _) = rest.split_once('\n').unwrap_or((rest, ""));
        let bare = first.trim();
        if bare.is_empty() || bare.starts_with('#') {
            rest = rest.get(first.len().saturating_add(1)..).unwrap_or_default();
            line = line.saturating_add(1);
            continue;
        }
        let begin = rest.trim_start();
        let begin = begin.strip_prefix("export ").unwrap_or(begin);
        let (name, value) = begin.split_once('=').ok_or_else(|| (line, "NAME=value is wanted".to_owned()))?;
        let mut chars = name.chars();
        let starts = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !starts || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err((line, "the name of a variable has letters, digits and _".to_owned()));
        }
        let (value, after) = value_of(value).map_err(|why| (line, why))?;
        let taken = rest.len().saturating_sub(after.len());
        line = line.saturating_add(rest.get(..taken).unwrap_or_default().matches('\n').count());
        vars.push((name.to_owned(), value));
        rest = after;
    }
    Ok(vars)
}

/// The value and what follows its line.
fn value_of(text: &str) -> Result<(String, &str), String> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let Some(quote) = quote else {
        let (value, rest) = text.split_once('\n').unwrap_or((text, ""));
        return Ok((value.trim_end().to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => {
                let rest = text.get(at.saturating_add(1)..).unwrap_or_default();
                let (end, rest) = rest.split_once('\n').unwrap_or((rest, ""));
                return if end.trim().is_empty() {
                    Ok((value, rest))
                } else {
                    Err("something follows after the closing quote".to_owned())
                };
            }
            '\\' if quote == '"' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    Err("a quote that is never closed".to_owned())
}

/// `NAME='value'`, one a line; quotes only where they are needed.
#[must_use]
pub fn line(name: &str, value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=~".contains(c);
    if value.chars().all(plain) {
        return format!("{name}={value}\n");
    }
    if !value.contains('\'') {
        return format!("{name}='{value}'\n");
    }
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    format!("{name}=\"{escaped}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for value in ["", "plain", "two words", "it's \"$HOME\" `x` \\", "a\nb", "#no", " pad ", "{\"a\":1}", "'"] {
            let text = format!("# said\n{}\nB=2\n", line("A", value));
            let wanted = vec![("A".to_owned(), value.to_owned()), ("B".to_owned(), "2".to_owned())];
            assert_eq!(parse(&text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        assert_eq!(parse("A=1\n\nnope\n").unwrap_err().0, 3);
        assert_eq!(parse("A='x\ny'\n1B=2").unwrap_err().0, 3);
        assert!(parse("A='x").unwrap_err().1.contains("never closed"));
        assert!(parse("A='x'y").unwrap_err().1.contains("follows"));
    }
}
