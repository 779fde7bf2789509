//! `_meta["io.modelcontextprotocol/related-task"]` of revision 2025-11-25: which core task a message is about. Servers know
//! a task by their own id, clients by ours: on its way a message gets the other's.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::Task;
use crate::{backend::isolation::Owner, call::Principal, in_flight::FlightRef, plane::Plane, wire::splice};

/// The end of the key: what has no such bytes is about no task.
const SIGN: &[u8] = b"related-task";

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Meta<'a>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/related-task")]
    related: Related<'a>,
}

#[derive(Deserialize)]
struct Related<'a> {
    #[serde(borrow, rename = "taskId")]
    id: &'a RawValue,
}

/// The token of the id that an object, `params` or a `result`, says.
pub(super) fn id(object: &[u8]) -> Option<&RawValue> {
    memchr::memmem::find(object, SIGN)?;
    serde_json::from_slice::<Object<'_>>(object).ok().map(|object| object.meta.related.id)
}

/// The id, as text.
pub fn named(object: &[u8]) -> Option<String> {
    serde_json::from_str(id(object)?.get()).ok()
}

/// An object of one that knows a task as `from`, for one that knows it as `to`.
fn renamed(object: &Bytes, from: &str, to: &str) -> Bytes {
    match id(object) {
        Some(token) if serde_json::from_str::<String>(token.get()).is_ok_and(|named| named == from) => {
            splice::replaced(object, &[(token, &Value::from(to).to_string())])
        }
        Some(_) | None => object.clone(),
    }
}

/// A whole notification that a server says of this task, for its client.
pub fn note(message: &Bytes, task: &Task) -> Bytes {
    #[derive(Deserialize)]
    struct Note<'a> {
        #[serde(borrow)]
        params: &'a RawValue,
    }
    if memchr::memmem::find(message, SIGN).is_none() {
        return message.clone();
    }
    let Ok(Note { params }) = serde_json::from_slice(message) else { return message.clone() };
    let renamed = renamed(&message.slice_ref(params.get().as_bytes()), &task.own, &task.id);
    splice::replaced(message, &[(params, &String::from_utf8_lossy(&renamed))])
}

/// A core task that a server's question is about, by both names.
#[derive(Debug)]
pub struct Names {
    own: String,
    client: Box<str>,
}

impl Names {
    /// `asks`: the call that it belongs to. None: it is about none that this client was told of here.
    pub fn of(
        plane: &Plane,
        (backend, owner): (&str, &Owner),
        principal: &Principal,
        asks: Option<&FlightRef>,
        params: &[u8],
    ) -> Option<Self> {
        let own = named(params)?;
        let its = asks.and_then(FlightRef::task).filter(|task| *task.own == *own).cloned();
        let begun = || plane.tasks.running.find(backend, owner, &own);
        let its =
            its.or_else(|| begun().filter(|begun| begun.principal.is_same_as(principal)).map(|begun| begun.task))?;
        Some(Self { own, client: its.id.clone() })
    }

    /// `params` for the client.
    pub fn to_client(&self, params: &Bytes) -> Bytes {
        renamed(params, &self.own, &self.client)
    }

    /// A `result` of the client's, for the server.
    pub fn to_server(&self, result: &Bytes) -> Bytes {
        renamed(result, &self.client, &self.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_gets_the_other_name_of_its_own_task_alone() {
        let about = |id: &str| {
            let key = "io.modelcontextprotocol/related-task";
            Bytes::from(format!(r#"{{ "x":[1 ],"_meta" : {{"{key}":{{ "taskId" : {id} }}}},"y":1e3}}"#))
        };
        assert_eq!(renamed(&about(r#""own\u0031""#), "own1", "c1.\"é"), about(r#""c1.\"é""#));
        for other in [r#""own2""#, "7", "null"] {
            assert_eq!(renamed(&about(other), "own1", "c1."), about(other));
        }
        assert_eq!(named(&about(r#""own\u0031""#)).as_deref(), Some("own1"));
        for none in [r#"{"_meta":{"related-task":{"taskId":"a"}}}"#, r#"{"related-task":1}"#, "[]", ""] {
            assert_eq!(renamed(&Bytes::from(none), "a", "b"), none);
        }
    }
}
