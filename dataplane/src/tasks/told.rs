//! What servers say of their tasks, as clients are told it: under the id that the client has, with the questions that it
//! may be asked. Every other member passes as it came.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    NOT_DECLARED, Task, can_be, core,
    id::{self, New},
    running::Begun,
};
use crate::{
    backend::{Answer, Sent, Word, era::Era, isolation::Owner},
    call::Ask,
    input::{Asking, required, within},
    listen::modern::SERVER_INFO,
    wire::{members::Members, outgoing},
};

/// What a task can be, in the protocol's words.
const STATUSES: [&str; 5] = ["working", "input_required", "completed", "failed", "cancelled"];
/// What no task has: what is asked of its client is in its own member, and a state of it goes nowhere.
const GOES: [&str; 3] = ["resultType", "requestState", "taskId"];

/// What becomes of the answer to a request about a task, and of one that makes a task of its call: of the extension's
/// here, of 2025-11-25's in `core.rs`.
///
/// Errors of the server, as `Sent::Failed`.
pub async fn answered(asking: Asking<'_>, answer: Answer) -> Sent {
    if asking.call.caller().leg().is_session() && answer.word == Word::Last {
        return core::answered(asking, answer);
    }
    let ask = asking.call.call().ask;
    match answer.word {
        Word::Asks => asking.failed("it asks for input in answer to what may have none"),
        // Its own error passes as it came.
        Word::Last if answer.failed => Sent::Answered(answer),
        Word::Last | Word::Task(_) if ask == Ask::GetTask => became(asking, &answer.last).await,
        Word::Last => acknowledged(asking),
        Word::Task(_) if can_be(asking.call) => begun(asking, &answer.last),
        Word::Task(_) => asking.failed(NOT_DECLARED),
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    result: Members<'a>,
}

/// A result that tells of a task, read.
#[derive(Default)]
struct Said<'a> {
    own: Option<&'a RawValue>,
    status: Option<&'static str>,
    questions: Option<&'a RawValue>,
    is_tool_error: bool,
    /// The rest, with a comma before each.
    rest: String,
}

/// Errors: no result that is an object; a sentence that fits behind "the backend failed:".
fn read(message: &Bytes) -> Result<Said<'_>, String> {
    let broken = |fault| format!("what it says of a task is not what the schema says: {fault}");
    let Message { result: Members(members) } = serde_json::from_slice(message).map_err(broken)?;
    let mut said = Said::default();
    for (key, value) in members {
        match &*key {
            "taskId" => said.own = Some(value),
            "inputRequests" => said.questions = Some(value),
            _ => {
                if key == "status" {
                    said.status = status(value);
                }
                said.is_tool_error |= key == "result" && is_error(value);
                if !GOES.contains(&&*key) {
                    said.rest.push_str(&format!(",{}:{}", Value::from(key), value.get()));
                }
            }
        }
    }
    Ok(said)
}

/// None: it is none of the protocol's words.
pub(super) fn status(value: &RawValue) -> Option<&'static str> {
    STATUSES.into_iter().find(|status| value.get() == format!("\"{status}\""))
}

/// Nothing comes after it.
pub(super) fn is_over(status: Option<&str>) -> bool {
    matches!(status, Some("completed" | "failed" | "cancelled"))
}

/// Of a tool's result.
fn is_error(result: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Result {
        #[serde(default, rename = "isError")]
        is_error: bool,
    }
    serde_json::from_str(result.get()).is_ok_and(|Result { is_error }| is_error)
}

/// A call goes on as a task: its client gets an id for it.
fn begun(asking: Asking<'_>, message: &Bytes) -> Sent {
    let said = match read(message) {
        Ok(said) => said,
        Err(what) => return asking.failed(what),
    };
    let own = said.own.and_then(|own| serde_json::from_str::<String>(own.get()).ok());
    let (caller, first) = (asking.call.caller(), asking.first());
    let (ids, target) = (&asking.plane.tasks.ids, asking.call.target());
    let given = own.and_then(|own| {
        let new = New { first, own: &own, era: Era::Modern, session: None };
        ids.give(caller.principal(), target, new)
    });
    let Some(task) = given else {
        return asking.failed(format!("its task has no id of at most {} bytes", id::LONGEST));
    };
    let task = Arc::new(task);
    remember(asking, Arc::clone(&task), said.status);
    // Of our own alphabet: nothing to escape. What it asks for comes with the task's own answers, where it is judged.
    let result = format!(r#"{{"resultType":"task","taskId":"{}"{}}}"#, task.id, said.rest);
    of_a_task(asking, &result, said.status, false)
}

/// What became of a task; the questions in it are put as those of any answer.
async fn became(asking: Asking<'_>, message: &Bytes) -> Sent {
    let said = match read(message) {
        Ok(said) => said,
        Err(what) => return asking.failed(what),
    };
    let call = asking.call.call();
    if let Some(task) = &call.task {
        remember(asking, Arc::clone(task), said.status);
    }
    let id = call.scanned.task_id.map_or(&b"\"\""[..], |id| id.token().get(&call.body));
    let mut result = format!(r#"{{"resultType":"complete","taskId":{}{}"#, String::from_utf8_lossy(id), said.rest);
    if let Some(questions) = said.questions {
        let questions = match required::questions(questions) {
            Ok(questions) => questions,
            Err(what) => return asking.failed(what),
        };
        let put = match within::judged(asking, questions).await {
            Ok(put) => put,
            Err(sent) => return sent,
        };
        let put = put.iter().map(|(key, feature, params)| (key.as_str(), *feature, &**params));
        result.push_str(&format!(r#","inputRequests":{}"#, required::requests(put)));
    }
    result.push('}');
    of_a_task(asking, &result, said.status, said.is_tool_error || said.status == Some("failed"))
}

/// For a kill that comes while it runs.
pub(super) fn remember(asking: Asking<'_>, task: Arc<Task>, status: Option<&'static str>) {
    let (caller, target, backends) = (asking.call.caller(), asking.call.target(), &asking.plane.backends);
    let Some(shared) = backends.find(target.backend) else { return };
    let owner = Owner::of(shared.spec.isolation, *caller.leg(), caller.principal());
    if is_over(status) {
        asking.plane.tasks.running.let_go(&target.backend_name, &owner, &task.own);
        return;
    }
    let backend = match &shared.instances {
        None => Some(shared),
        Some(instances) => backends.instance(&shared, instances, (*caller.leg(), caller.principal())),
    };
    let backend = backend.as_ref().map_or_else(Weak::new, Arc::downgrade);
    let (principal, target) = (Arc::clone(caller.principal()), Arc::clone(target));
    let begun = Begun { principal, leg: caller.leg().key(), target, task, backend, owner };
    asking.plane.tasks.running.hold(begun, &asking.plane.gate);
}

/// It was taken note of: there is nothing more in such an answer, whatever the server put there.
fn acknowledged(asking: Asking<'_>) -> Sent {
    of_a_task(asking, &format!(r#"{{"resultType":"complete","_meta":{{{SERVER_INFO}}}}}"#), None, false)
}

fn of_a_task(asking: Asking<'_>, result: &str, status: Option<&'static str>, tool_error: bool) -> Sent {
    let last = outgoing::result(&asking.call.call().client_id(), result.as_bytes());
    Sent::Answered(Answer { last, failed: false, tool_error, word: Word::Task(status) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: &str) -> Bytes {
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#).into()
    }

    #[test]
    fn what_a_server_says_of_a_task_keeps_its_bytes_but_for_its_id_and_what_no_task_has() {
        let said = message(
            r#"{ "taskId":"own" ,"status" : "completed","ttlMs":1e3,"result":{"content":[ ],"isError":true},"requestState":"s","x":[1 ]}"#,
        );
        let said = read(&said).unwrap();
        assert_eq!(said.rest, r#","status":"completed","ttlMs":1e3,"result":{"content":[ ],"isError":true},"x":[1 ]"#);
        assert_eq!(
            (said.own.map(RawValue::get), said.status, said.is_tool_error),
            (Some("\"own\""), Some("completed"), true)
        );
    }

    #[test]
    fn questions_are_kept_apart_and_a_word_that_is_no_status_is_none() {
        let said = message(r#"{"inputRequests":{"a":{}},"status":"sleeping"}"#);
        let said = read(&said).unwrap();
        assert_eq!((said.questions.map(RawValue::get), said.status), (Some(r#"{"a":{}}"#), None));
        assert_eq!(said.rest, r#","status":"sleeping""#);
        assert!(read(&message("[]")).is_err());
    }
}
