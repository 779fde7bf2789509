//! An entry's JSON object as clients see it: the backend's bytes, but for the name and the description.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{CoreTasks, Support};
use crate::{backend::listing::Offered, wire::members::Members};

/// About tasks of 2025-11-25 alone.
const EXECUTION: &str = "execution";

/// The definition with the exposed name, and with `execution` or without; every other member's bytes as they came.
pub(super) fn listed(
    offered: &Offered,
    exposed: &str,
    description: Option<&str>,
    with_execution: bool,
) -> Result<Bytes, serde_json::Error> {
    let members: Members<'_> = serde_json::from_slice(&offered.definition)?;
    let mut text = Vec::with_capacity(offered.definition.len() + exposed.len());
    text.push(b'{');
    let mut described = false;
    for (key, value) in members.0 {
        if key == EXECUTION && !with_execution {
            continue;
        }
        if text.len() > 1 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, &key)?;
        text.push(b':');
        match (&*key, description) {
            ("name", _) => serde_json::to_writer(&mut text, exposed)?,
            ("description", Some(description)) => {
                described = true;
                serde_json::to_writer(&mut text, description)?;
            }
            _ => text.extend_from_slice(value.get().as_bytes()),
        }
    }
    if let (false, Some(description)) = (described, description) {
        text.extend_from_slice(b",\"description\":");
        serde_json::to_writer(&mut text, description)?;
    }
    text.push(b'}');
    Ok(text.into())
}

/// Whether a tool says of itself that it only reads, or that once more changes nothing (MCP 2025-11-25, tools,
/// annotations). What says it in another form than MCP's says nothing.
pub(super) fn may_repeat(definition: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Annotations {
        #[serde(default)]
        read_only_hint: bool,
        #[serde(default)]
        idempotent_hint: bool,
    }
    #[derive(Deserialize)]
    struct Annotated {
        annotations: Annotations,
    }
    serde_json::from_slice(definition)
        .is_ok_and(|Annotated { annotations: said }| said.read_only_hint || said.idempotent_hint)
}

/// Of a tool whose server has tasks of 2025-11-25.
pub(super) fn core_tasks(
    offered: &Offered,
    exposed: &str,
    description: Option<&str>,
) -> Result<CoreTasks, serde_json::Error> {
    let support = support(&offered.definition);
    let definition = support.map(|_| listed(offered, exposed, description, true)).transpose()?;
    Ok(CoreTasks { support: support.unwrap_or(Support::Forbidden), definition })
}

/// What a tool says of itself as a task (MCP 2025-11-25, `execution.taskSupport`); none: it has no `execution`.
pub(super) fn support(definition: &[u8]) -> Option<Support> {
    #[derive(Deserialize)]
    struct Executed {
        execution: Value,
    }
    let Executed { execution } = serde_json::from_slice(definition).ok()?;
    Some(match execution.get("taskSupport").and_then(Value::as_str) {
        Some("required") => Support::Required,
        Some("optional") => Support::Optional,
        Some(_) | None => Support::Forbidden,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_may_run_twice_where_it_says_so_in_so_many_words() {
        for (annotations, may) in [
            (r#","annotations":{"readOnlyHint":true}"#, true),
            (r#","annotations":{"idempotentHint":true,"readOnlyHint":false}"#, true),
            (r#","annotations":{"destructiveHint":false}"#, false),
            (r#","annotations":{"readOnlyHint":"true"}"#, false),
            ("", false),
        ] {
            let text = format!(r#"{{"name":"a"{annotations}}}"#);
            assert_eq!(may_repeat(text.as_bytes()), may, "{text}");
        }
    }

    #[test]
    fn a_tool_says_in_one_way_how_it_goes_with_tasks() {
        for (execution, said) in [
            (r#","execution":{"taskSupport":"required"}"#, Some(Support::Required)),
            (r#","execution":{ "taskSupport" : "optional","x":1e3}"#, Some(Support::Optional)),
            (r#","execution":{"taskSupport":true}"#, Some(Support::Forbidden)),
            (r#","execution":[]"#, Some(Support::Forbidden)),
            ("", None),
        ] {
            let offered =
                Offered { name: "a".into(), definition: format!(r#"{{"name":"a"{execution},"x":1}}"#).into() };
            assert_eq!(support(&offered.definition), said, "{execution}");
            assert_eq!(listed(&offered, "b", None, false).unwrap(), r#"{"name":"b","x":1}"#);
            let whole = format!(r#"{{"name":"b"{execution},"x":1}}"#);
            assert_eq!(listed(&offered, "b", None, true).unwrap(), whole, "as it came");
        }
    }

    #[test]
    fn a_definition_keeps_every_byte_but_its_name() {
        let offered = Offered {
            name: "add".into(),
            definition: Bytes::from_static(
                br#"{ "inputSchema" : {"type" : "object", "x": 1.50e3} ,"name":"add","_meta":{"a":[1, 2]}}"#,
            ),
        };
        let text = listed(&offered, "calc__add", Some("Adds"), true).expect("an object");
        assert_eq!(
            std::str::from_utf8(&text).expect("UTF-8"),
            r#"{"inputSchema":{"type" : "object", "x": 1.50e3},"name":"calc__add","_meta":{"a":[1, 2]},"description":"Adds"}"#
        );
    }
}
