//! Arguments of a tool that its schema asks to be repeated in headers (`x-mcp-header`; MCP 2026-07-28, `protocol.md` 3.4):
//! which they are, and what the headers say. It knows no request.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

const KEYWORD: &str = "x-mcp-header";
/// Arguments of one tool, and how deep they may stand.
const MOST: usize = 32;
const DEEPEST: usize = 16;
/// Beyond it a number is not the same for all.
const EXACT: i64 = (1 << 53) - 1;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// `mcp-param-…`.
    pub header: HeaderName,
    /// From the root of the arguments, by `properties`.
    path: Box<[Box<str>]>,
}

impl Mirrored {
    /// What the header says; none: the argument is absent or `null`, and so is the header.
    pub fn value(&self, arguments: &Value) -> Option<HeaderValue> {
        let found = self.path.iter().try_fold(arguments, |inside, key| inside.get(&**key))?;
        match found {
            Value::String(text) => header(text),
            Value::Bool(_) => HeaderValue::try_from(found.to_string()).ok(),
            Value::Number(number) => HeaderValue::try_from(integer(number)?.to_string()).ok(),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl Mirrored {
    /// Whether a header of a client, decoded, says what the arguments say; none: there is no such header.
    pub fn agrees(&self, sent: Option<&str>, arguments: &Value) -> bool {
        let found = self.path.iter().try_fold(arguments, |inside, key| inside.get(&**key));
        match (found, sent) {
            (None | Some(Value::Null), None) => true,
            (Some(Value::String(text)), Some(sent)) => text == sent,
            (Some(Value::Bool(flag)), Some(sent)) => sent == if *flag { "true" } else { "false" },
            (Some(Value::Number(number)), Some(sent)) => {
                let sent = serde_json::from_str::<serde_json::Number>(sent).ok();
                integer(number).is_some_and(|number| sent.is_some_and(|sent| integer(&sent) == Some(number)))
            }
            // A value that no header can say does not fit the schema: that is judged elsewhere.
            (Some(Value::Array(_) | Value::Object(_)), None) => true,
            (Some(_), None) | (None | Some(Value::Null | Value::Array(_) | Value::Object(_)), Some(_)) => false,
        }
    }
}

/// 42.0 is 42.
fn integer(number: &serde_json::Number) -> Option<i64> {
    let whole = number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
        format!("{float:.0}").parse().ok()
    })?;
    (-EXACT..=EXACT).contains(&whole).then_some(whole)
}

/// A value as a header says it: as it is where that is plain ASCII, else UTF-8 in base64, marked.
pub fn header(text: &str) -> Option<HeaderValue> {
    let looks_marked = text.starts_with("=?base64?") && text.ends_with("?=");
    let is_printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if is_printable && text.trim_matches(' ').len() == text.len() && !looks_marked {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::try_from(format!("=?base64?{}?=", STANDARD.encode(text))).ok()
}

/// Those of a tool's definition. Errors: why clients must not be shown the tool.
pub fn read(definition: &[u8]) -> Result<Box<[Mirrored]>, String> {
    // Nearly all tools have none: not worth a tree.
    if memchr::memmem::find(definition, KEYWORD.as_bytes()).is_none() {
        return Ok(Box::default());
    }
    let schema =
        serde_json::from_slice::<Value>(definition).ok().and_then(|mut tool| Some(tool.get_mut("inputSchema")?.take()));
    let mut found = Vec::new();
    if let Some(Value::Object(schema)) = schema {
        inside(&schema, &mut Vec::new(), &mut found)?;
    }
    Ok(found.into_boxed_slice())
}

/// One schema: its own keyword was read by whoever came here.
fn inside(schema: &Map<String, Value>, path: &mut Vec<Box<str>>, found: &mut Vec<Mirrored>) -> Result<(), String> {
    for (keyword, value) in schema {
        match (keyword.as_str(), value) {
            (KEYWORD, _) if path.is_empty() => return Err(unreachable_place()),
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    let Value::Object(property) = property else { continue };
                    path.push(name.as_str().into());
                    if path.len() > DEEPEST {
                        return Err(format!("its schema asks for headers more than {DEEPEST} deep"));
                    }
                    if let Some(wanted) = property.get(KEYWORD) {
                        let one = one(wanted, property.get("type"), path)?;
                        if found.iter().any(|other| other.header == one.header) {
                            return Err(format!("its schema asks for the header {} twice", one.header));
                        }
                        found.push(one);
                        if found.len() > MOST {
                            return Err(format!("its schema asks for more than {MOST} headers"));
                        }
                    }
                    inside(property, path, found)?;
                    path.pop();
                }
            }
            // Values that are data, not schemas.
            ("const" | "default" | "enum" | "examples", _) => {}
            (_, other) if asks(other, 0) => return Err(unreachable_place()),
            _ => {}
        }
    }
    Ok(())
}

fn unreachable_place() -> String {
    format!("its schema has {KEYWORD} where no argument can be named by `properties` alone")
}

fn one(wanted: &Value, of_type: Option<&Value>, path: &[Box<str>]) -> Result<Mirrored, String> {
    let argument = path.join(".");
    if !matches!(of_type.and_then(Value::as_str), Some("string" | "integer" | "boolean")) {
        return Err(format!("its schema asks for a header of {argument}, which is no string, integer or boolean"));
    }
    let name = wanted.as_str().filter(|name| !name.is_empty());
    let header = name.and_then(|name| HeaderName::try_from(format!("mcp-param-{name}")).ok());
    let header = header.ok_or_else(|| format!("its schema asks for a header of {argument} by a name that is none"))?;
    Ok(Mirrored { header, path: path.into() })
}

/// Whether the keyword stands anywhere in it.
fn asks(value: &Value, depth: usize) -> bool {
    match value {
        _ if depth > 128 => false,
        Value::Array(all) => all.iter().any(|one| asks(one, depth + 1)),
        Value::Object(all) => all.iter().any(|(key, one)| (key == KEYWORD && one.is_string()) || asks(one, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(schema: &Value) -> Result<Box<[Mirrored]>, String> {
        read(json!({ "name": "t", "inputSchema": schema }).to_string().as_bytes())
    }

    #[test]
    fn what_a_schema_asks_for_is_said_as_headers_say_it() {
        let schema = json!({ "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "deep": { "type": "object", "properties": { "n": { "type": "integer", "x-mcp-header": "N" } } },
            "flag": { "type": "boolean", "x-mcp-header": "Flag" },
            "x-mcp-header": { "type": "string" },
        } });
        let all = of(&schema).unwrap();
        let said = |arguments: Value| {
            let mut said: Vec<String> = all
                .iter()
                .filter_map(|one| Some(format!("{}={}", one.header, one.value(&arguments)?.to_str().unwrap())))
                .collect();
            said.sort();
            said
        };
        assert_eq!(
            said(json!({ "region": "eu west", "deep": { "n": 42.0 }, "flag": false })),
            ["mcp-param-flag=false", "mcp-param-n=42", "mcp-param-region=eu west"]
        );
        assert_eq!(said(json!({ "region": null, "deep": 7 })), Vec::<String>::new());
        assert_eq!(said(json!({ "region": "é" })), ["mcp-param-region==?base64?w6k=?="]);
        assert_eq!(said(json!({ "region": " a" })), ["mcp-param-region==?base64?IGE=?="]);
        assert_eq!(said(json!({ "region": "=?base64?x?=" })), ["mcp-param-region==?base64?PT9iYXNlNjQ/eD89?="]);
    }

    #[test]
    fn a_header_agrees_where_it_says_what_the_body_says() {
        let property = |name: &str, of: &str| (name.to_owned(), json!({ "type": of, "x-mcp-header": name }));
        let properties: Map<String, Value> =
            [property("s", "string"), property("n", "integer"), property("b", "boolean")].into_iter().collect();
        let all = of(&json!({ "type": "object", "properties": properties })).unwrap();
        let agrees = |name: &str, sent: Option<&str>, arguments: Value| {
            let header = format!("mcp-param-{name}");
            all.iter().find(|one| one.header == *header).unwrap().agrees(sent, &arguments)
        };
        assert!(agrees("s", Some("é"), json!({ "s": "é" })) && !agrees("s", Some("E"), json!({ "s": "e" })));
        assert!(agrees("n", Some("42.0"), json!({ "n": 42 })) && agrees("n", Some("42"), json!({ "n": 42.0 })));
        assert!(!agrees("n", Some("43"), json!({ "n": 42 })) && !agrees("n", Some(""), json!({ "n": 42 })));
        assert!(agrees("b", Some("true"), json!({ "b": true })) && !agrees("b", Some("True"), json!({ "b": true })));
        for absent in [json!({}), json!({ "s": null }), json!(7)] {
            assert!(agrees("s", None, absent.clone()) && !agrees("s", Some(""), absent));
        }
        assert!(!agrees("s", None, json!({ "s": "x" })));
    }

    #[test]
    fn a_tool_that_asks_for_what_no_header_can_say_is_not_shown() {
        let property = |property: Value| json!({ "type": "object", "properties": { "a": property } });
        for bad in [
            property(json!({ "type": "number", "x-mcp-header": "A" })),
            property(json!({ "type": "string", "x-mcp-header": "" })),
            property(json!({ "type": "string", "x-mcp-header": "a b" })),
            property(json!({ "type": "array", "items": { "type": "string", "x-mcp-header": "A" } })),
            json!({ "type": "object", "properties": {
                "a": { "type": "string", "x-mcp-header": "A" }, "b": { "type": "string", "x-mcp-header": "a" } } }),
            json!({ "type": "object", "oneOf": [property(json!({ "type": "string", "x-mcp-header": "A" }))] }),
            json!({ "type": "object", "x-mcp-header": "A" }),
        ] {
            assert!(of(&bad).is_err(), "{bad}");
        }
        assert_eq!(of(&property(json!({ "type": "string", "default": { "x-mcp-header": "A" } }))), Ok(Box::default()));
    }
}
