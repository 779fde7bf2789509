//! An entry's JSON object as clients see it: the backend's bytes, but for the name and the description.

use bytes::Bytes;
use serde::Deserialize;

use crate::{backend::listing::Offered, wire::members::Members};

/// The definition with the exposed name, and without `execution`, which is about tasks of 2025-11-25 alone; every other
/// member's bytes as they came.
pub(super) fn listed(offered: &Offered, exposed: &str, description: Option<&str>) -> Result<Bytes, serde_json::Error> {
    let members: Members<'_> = serde_json::from_slice(&offered.definition)?;
    let mut text = Vec::with_capacity(offered.definition.len() + exposed.len());
    text.push(b'{');
    let mut described = false;
    for (key, value) in members.0 {
        if key == "execution" {
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

/// Whether a tool says of itself that it can be nothing but a task (MCP 2025-11-25, `execution.taskSupport`).
pub(super) fn must_be_task(definition: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Execution {
        task_support: String,
    }
    #[derive(Deserialize)]
    struct Executed {
        execution: Execution,
    }
    serde_json::from_slice::<Executed>(definition).is_ok_and(|tool| tool.execution.task_support == "required")
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
    fn a_tool_says_in_one_way_that_it_must_be_a_task() {
        for (execution, must) in [
            (r#","execution":{"taskSupport":"required"}"#, true),
            (r#","execution":{"taskSupport":"optional"}"#, false),
            (r#","execution":{"taskSupport":true}"#, false),
            (r#","execution":{}"#, false),
            ("", false),
        ] {
            let offered =
                Offered { name: "a".into(), definition: format!(r#"{{"name":"a"{execution},"x":1}}"#).into() };
            assert_eq!(must_be_task(&offered.definition), must, "{execution}");
            assert_eq!(listed(&offered, "b", None).unwrap(), r#"{"name":"b","x":1}"#);
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
        let text = listed(&offered, "calc__add", Some("Adds")).expect("an object");
        assert_eq!(
            std::str::from_utf8(&text).expect("UTF-8"),
            r#"{"inputSchema":{"type" : "object", "x": 1.50e3},"name":"calc__add","_meta":{"a":[1, 2]},"description":"Adds"}"#
        );
    }
}
