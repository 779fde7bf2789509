//! Foreign text on a terminal: names, reasons and messages that others chose, made harmless before they are printed.
//!
//! Control characters (ESC and DEL among them), marks that turn the writing direction, and invisible characters come
//! out as `\u{…}`. It judges nothing else: the text stays what it was in JSON, where `json` escapes the same ones.

/// Longest foreign text in characters, for one cell or sentence.
const LONGEST: usize = 256;

/// Whether a terminal, or a reader's eye, could be misled by it.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// One line, at most 256 characters.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        if at == LONGEST {
            shown.push('…');
            break;
        }
        push(&mut shown, c, misleads(c));
    }
    shown
}

/// Whole sentences and longer: any length, line breaks and tabs stay.
#[must_use]
pub fn printable_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut shown, c, misleads(c) && !matches!(c, '\n' | '\t'));
    }
    shown
}

/// JSON text whose strings hold nothing that misleads: the same value, with JSON's own escapes.
#[must_use]
pub fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // Below 0x20 only line breaks between tokens are left, for JSON text has the others escaped already.
        if misleads(c) && c >= '\u{7F}' {
            let mut units = [0_u16; 2];
            for unit in c.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

fn push(shown: &mut String, c: char, escape: bool) {
    if escape {
        shown.extend(c.escape_unicode());
    } else {
        shown.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_direction_marks_are_written_out() {
        assert_eq!(printable("a\u{1b}[31mb\u{7f}\u{202e}c\n"), "a\\u{1b}[31mb\\u{7f}\\u{202e}c\\u{a}");
        assert_eq!(printable("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn a_cell_ends_at_256_characters() {
        assert_eq!(printable(&"ä".repeat(300)).chars().count(), 257);
    }

    #[test]
    fn longer_text_keeps_its_lines() {
        assert_eq!(printable_text("a\n\tb\r\u{9b}"), "a\n\tb\\u{d}\\u{9b}");
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({ "a\u{202e}": "\u{1b}\u{9b}\u{e0041}\u{7f}ü" });
        let shown = json(&value.to_string());
        assert!(!shown.chars().any(misleads), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
