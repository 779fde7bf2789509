//! Arguments against the tool's schema. They are parsed once, here, and only where a schema or a rule reads them.

use serde_json::Value;

use crate::{
    catalogue::schema::{Check, Schema},
    denial::{ArgumentProblem, Denial},
    stages::limits::target::Admitted,
    view::policy::Access,
    wire::scan::ArgumentsFault,
};

/// Proof that the arguments fit the tool's schema, or that the policy does not ask.
pub struct Valid {
    admitted: Admitted,
    /// What a rule will read; none where nothing reads it.
    arguments: Option<Value>,
    /// Mode `warn`: they do not fit, and go on.
    misfit: bool,
}

/// Arguments are never printed.
impl std::fmt::Debug for Valid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Valid").field("admitted", &self.admitted).finish_non_exhaustive()
    }
}

impl Valid {
    pub fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    pub fn arguments(&self) -> Option<&Value> {
        self.arguments.as_ref()
    }

    pub fn is_misfit(&self) -> bool {
        self.misfit
    }
}

/// Errors: `InvalidArguments`, with the problems that the schema's cost allows to list.
pub fn validate(admitted: Admitted) -> Result<Valid, Denial> {
    let visible = admitted.visible();
    let charged = visible.resolved().charged();
    let (caller, call) = (charged.caller(), charged.call());
    let access = call.ask.access(&caller.view().policy, caller.principal(), &call.name);
    let sent = Sent { bytes: call.arguments(), fault: call.scanned.arguments_fault.as_ref() };
    let Read { arguments, misfit } = read(sent, &access, &visible.target().check)?;
    Ok(Valid { admitted, arguments, misfit })
}

/// Arguments as they came. They are never printed, nor are those that were read.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "arguments may be anybody's secrets")]
pub struct Sent<'a> {
    pub bytes: Option<&'a [u8]>,
    /// The first key in them that stands twice.
    pub fault: Option<&'a ArgumentsFault>,
}

/// Arguments that were judged.
#[expect(missing_debug_implementations, reason = "arguments may be anybody's secrets")]
pub struct Read {
    /// What a rule will read; none where nothing reads it.
    pub arguments: Option<Value>,
    pub misfit: bool,
}

/// The decision alone. Errors: as `validate`.
pub fn read(sent: Sent<'_>, access: &Access<'_>, check: &Check) -> Result<Read, Denial> {
    if let Some(fault) = sent.fault {
        let problem = ArgumentProblem {
            path: fault.pointer.to_string(),
            message: format!("the name {:?} stands twice", fault.key),
        };
        return Err(Denial::InvalidArguments { problems: vec![problem] });
    }
    let is_ruled = matches!(access, Access::Ruled(_));
    let (schema, enforced) = match check {
        Check::Enforced(schema) => (Some(schema), true),
        Check::Warned(schema) => (Some(schema), false),
        Check::Open | Check::Unchecked(_) | Check::Refused(_) => (None, true),
    };
    if schema.is_none() && !is_ruled {
        return Ok(Read { arguments: None, misfit: false });
    }
    let parsed = match parse(sent.bytes) {
        Ok(parsed) => parsed,
        Err(_) if !enforced && !is_ruled => return Ok(Read { arguments: None, misfit: true }),
        Err(problem) => return Err(Denial::InvalidArguments { problems: vec![problem] }),
    };
    let misfit = match schema {
        Some(schema) if !schema.is_valid(&parsed) => {
            if enforced {
                return Err(refusal(schema, &parsed));
            }
            true
        }
        Some(_) | None => false,
    };
    Ok(Read { arguments: is_ruled.then_some(parsed), misfit })
}

fn refusal(schema: &Schema, parsed: &Value) -> Denial {
    Denial::InvalidArguments { problems: schema.problems(parsed) }
}

/// Absent and `null` arguments are `{}` to a schema. What serde_json can't hold exactly is refused: it must not be
/// judged by its nearest value (`reliability.md` 6.4).
fn parse(arguments: Option<&[u8]>) -> Result<Value, ArgumentProblem> {
    let problem = |message: &str| ArgumentProblem { path: String::new(), message: message.to_owned() };
    let bytes = match arguments {
        None | Some(b"null") => return Ok(Value::Object(serde_json::Map::new())),
        Some(bytes) => bytes,
    };
    if has_wide_integer(bytes) {
        return Err(problem("holds an integer beyond 64 bits, which can't be judged exactly"));
    }
    serde_json::from_slice(bytes).map_err(|_| {
        problem("holds a value that can't be judged exactly (a lone surrogate, or a number beyond all bounds)")
    })
}

/// A run of 19 or more digits outside a string that no 64-bit integer holds.
fn has_wide_integer(json: &[u8]) -> bool {
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while let Some(inside) = json.get(at) {
                    match inside {
                        b'\\' => at += 2,
                        b'"' => break,
                        _ => at += 1,
                    }
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let rest = json.get(at..).unwrap_or_default();
                let length = rest
                    .iter()
                    .take_while(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
                    .count();
                let token = rest.get(..length).and_then(|token| std::str::from_utf8(token).ok()).unwrap_or_default();
                let is_integer = !token.contains(['.', 'e', 'E']);
                if length >= 19 && is_integer && token.parse::<i64>().is_err() && token.parse::<u64>().is_err() {
                    return true;
                }
                at += length.max(1);
            }
            _ => at += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_judged_exactly_is_refused() {
        for bad in
            [r#"{"a":123456789012345678901}"#, r#"{"a":-9223372036854775809}"#, r#"{"a":1e999}"#, r#"{"a":"\ud800"}"#]
        {
            assert!(parse(Some(bad.as_bytes())).is_err(), "{bad}");
        }
        for good in [r#"{"a":18446744073709551615}"#, r#"{"a":"123456789012345678901"}"#, r#"{"a":-0}"#, "null"] {
            assert!(parse(Some(good.as_bytes())).is_ok(), "{good}");
        }
    }
}
