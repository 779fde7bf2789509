//! Names and URIs that clients can be shown: not too long, and none that would trick a reader.

use crate::call::Kind;

/// Longest exposed name of a tool that clients take.
const MAX_NAME: usize = 64;
/// The same of a prompt: no model sees it, people do.
const MAX_PROMPT: usize = 256;
/// The same of a tool as its backend knows it.
const MAX_OWN: usize = 256;
/// Longest URI of a resource, bytes.
const MAX_URI: usize = 8_192;

/// For tools MCP asks for `A-Za-z0-9_./-`, at most 64; what would trick a terminal or a reader is refused whatever
/// it names.
pub(super) fn judge(kind: Kind, exposed: &str) -> Result<(), String> {
    match kind {
        Kind::Tool => judge_tool(exposed),
        Kind::Prompt if exposed.chars().count() > MAX_PROMPT => {
            Err(format!("its name has more than {MAX_PROMPT} characters"))
        }
        Kind::Resource | Kind::Template if exposed.len() > MAX_URI => {
            Err(format!("its URI has more than {MAX_URI} bytes"))
        }
        _ if exposed.is_empty() => Err("it has no name".into()),
        _ if exposed.chars().any(tricks) => Err("its name holds characters that are not printable".into()),
        Kind::Prompt | Kind::Resource | Kind::Template => Ok(()),
    }
}

/// A rename makes a good name of a bad one, but what would trick a reader stands in logs, reports and pins as well.
pub(super) fn judge_own(kind: Kind, own: &str) -> Result<(), String> {
    if kind != Kind::Tool {
        return Ok(());
    }
    if own.chars().count() > MAX_OWN {
        return Err(format!("its own name has more than {MAX_OWN} characters"));
    }
    if own.chars().any(tricks) {
        return Err("its own name holds characters that are not printable".into());
    }
    Ok(())
}

fn judge_tool(exposed: &str) -> Result<(), String> {
    if exposed.chars().count() > MAX_NAME {
        return Err(format!("{} characters where clients take {MAX_NAME}; use tools.rename", exposed.chars().count()));
    }
    if exposed.is_empty() || !exposed.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
        return Err("its name holds characters that clients don't take; use tools.rename".into());
    }
    Ok(())
}

/// Controls, and what turns the direction of text or is not seen.
fn tricks(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_trick_a_reader_is_refused() {
        assert!(judge(Kind::Tool, "a__b").is_ok());
        for bad in ["", "a\u{202e}b", "a\u{7}", "a b", "ä", &"x".repeat(65)] {
            assert!(judge(Kind::Tool, bad).is_err(), "{bad:?}");
        }
        assert!(judge(Kind::Prompt, "git__code review ä").is_ok());
        assert!(judge(Kind::Resource, "file:///home/ä?x=1#y").is_ok());
        for bad in ["", "a\u{202e}b", "a\u{7}", "a\nb", &"x".repeat(MAX_URI + 1)] {
            assert!(judge(Kind::Prompt, bad).is_err() && judge(Kind::Template, bad).is_err(), "{bad:?}");
        }
    }
}
