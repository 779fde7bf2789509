//! Core tasks: what servers of revision 2025-11-25 say of them, as clients of that revision are told it. But for the ids,
//! all passes as it came.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    NOT_ASKED_FOR,
    id::{LONGEST, New},
    is_asked_for, related,
    running::Begun,
    told::{is_over, remember, status},
};
use crate::{
    backend::{Answer, Sent, Word, era::Era, isolation::Owner},
    call::{Ask, Kind},
    input::Asking,
    plane::Plane,
    stages::rules::Ruled,
    view::{View, policy::Access},
    wire::{members::Members, splice},
};

const BROKEN: &str = "what it says of a task is not what the schema says";

/// None: the message has none.
fn result(message: &[u8]) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        result: &'a RawValue,
    }
    serde_json::from_slice(message).ok().map(|Message { result }| result)
}

/// What is said of a task.
#[derive(Default)]
struct Said<'a> {
    id: Option<&'a RawValue>,
    status: Option<&'static str>,
}

impl<'a> Said<'a> {
    /// Of the object that is a task. None: it is no object.
    fn read(task: &'a RawValue) -> Option<Self> {
        let Members(members) = serde_json::from_str(task.get()).ok()?;
        let mut said = Self::default();
        for (key, value) in members {
            match &*key {
                "taskId" => said.id = Some(value),
                "status" => said.status = status(value),
                _ => {}
            }
        }
        Some(said)
    }

    /// As its server calls it; none: not at all.
    fn own(&self) -> Option<String> {
        serde_json::from_str(self.id?.get()).ok()
    }
}

/// Whether the answer to a call says that its server goes on with it as a task.
pub fn tells_of_one(call: &Ruled, answer: &Answer) -> bool {
    let may = call.call().ask == Ask::CallTool && call.target().core_tasks.is_some() && answer.word == Word::Last;
    may && memchr::memmem::find(&answer.last, b"\"task\"").is_some() && begun_in(call, &answer.last).is_some()
}

/// The task in a result that tells of one. What has contents and was asked for none is an answer.
fn begun_in<'a>(call: &Ruled, message: &'a [u8]) -> Option<&'a RawValue> {
    #[derive(Deserialize)]
    struct Begun<'a> {
        #[serde(borrow)]
        task: &'a RawValue,
        #[serde(borrow, default)]
        content: Option<&'a RawValue>,
    }
    let Begun { task, content } = serde_json::from_str(result(message)?.get()).ok()?;
    let is_one = Said::read(task)?.id.is_some() && (content.is_none() || is_asked_for(call));
    is_one.then_some(task)
}

/// What becomes of the answer to a request about a task, and of one that makes a task of its call.
///
/// Errors of the server, as `Sent::Failed`.
pub(super) fn answered(asking: Asking<'_>, answer: Answer) -> Sent {
    match (answer.failed, asking.call.call().ask) {
        // Its own error passes as it came.
        (true, _) => Sent::Answered(answer),
        (false, Ask::AwaitTask) => ended(asking, &answer),
        (false, Ask::GetTask | Ask::CancelTask) => became(asking, &answer.last),
        (false, _) => begun(asking, &answer.last),
    }
}

/// A call goes on as a task: its client gets an id for it.
fn begun(asking: Asking<'_>, message: &Bytes) -> Sent {
    let Some(said) = begun_in(asking.call, message).and_then(Said::read) else { return asking.failed(BROKEN) };
    if !is_asked_for(asking.call) {
        return asking.failed(NOT_ASKED_FOR);
    }
    let (caller, target) = (asking.call.caller(), asking.call.target());
    let policy = caller.view().policy.backend(&target.backend_name);
    let is_of_session = policy.is_some_and(|backend| backend.spec.isolation.is_of_session(*caller.leg()));
    let session = is_of_session.then(|| caller.leg().key());
    let given = said.own().and_then(|own| {
        let new = New { first: asking.first(), own: &own, era: Era::Legacy, session };
        asking.plane.tasks.ids.give(caller.principal(), target, new)
    });
    let Some((task, id)) = given.zip(said.id) else {
        return asking.failed(format!("its task has no id of at most {LONGEST} bytes"));
    };
    let task = Arc::new(task);
    remember(asking, Arc::clone(&task), said.status);
    let last = told(message, Some(id), &task.id);
    Sent::Answered(Answer { last, failed: false, tool_error: false, word: Word::Task(said.status) })
}

/// What became of a task, also of one that was taken back.
fn became(asking: Asking<'_>, message: &Bytes) -> Sent {
    let Some(task) = asking.call.call().task.clone() else { return asking.failed(BROKEN) };
    let said = result(message).and_then(Said::read);
    let Some(Said { id: Some(id), status }) = said else { return asking.failed(BROKEN) };
    let last = told(message, Some(id), &task.id);
    remember(asking, task, status);
    let tool_error = status == Some("failed") && asking.call.call().ask == Ask::GetTask;
    Sent::Answered(Answer { last, failed: false, tool_error, word: Word::Task(status) })
}

/// The call has its answer.
fn ended(asking: Asking<'_>, answer: &Answer) -> Sent {
    let Some(task) = asking.call.call().task.clone() else { return asking.failed(BROKEN) };
    if result(&answer.last).is_none() {
        return asking.failed(BROKEN);
    }
    let last = told(&answer.last, None, &task.id);
    remember(asking, task, Some("completed"));
    Sent::Answered(Answer { last, ..*answer })
}

/// Tells a task's client what its server says of it unasked: on the stream of the session that asked for it, where what
/// is remembered here says whose it is. Else nobody is told: whoever wants to know asks.
pub fn stands(plane: &Plane, backend: &str, of: &Owner, message: &Bytes) {
    #[derive(Deserialize)]
    struct Note<'a> {
        #[serde(borrow)]
        params: &'a RawValue,
    }
    let said = serde_json::from_slice(message).ok().and_then(|Note { params }| Said::read(params));
    let Some(Said { id: Some(id), status }) = said else { return };
    let own = serde_json::from_str::<String>(id.get()).ok();
    let Some(begun) = own.and_then(|own| plane.tasks.running.find(backend, of, &own)) else { return };
    let Begun { principal, target, task, leg, .. } = &begun;
    let may_hear = |view: Arc<View>| {
        let access = view.policy.access(principal, Kind::Tool, &target.exposed);
        !matches!(access, Access::Hidden) && plane.gate.judges(principal, target).is_none()
    };
    if task.era != Era::Legacy || !plane.views.load_full().is_some_and(may_hear) {
        return;
    }
    let note = splice::replaced(message, &[(id, &quoted(&task.id))]);
    let _is_heard = plane.feeds.say(*leg, principal, related::note(&note, task));
    if is_over(status) {
        plane.tasks.running.let_go(backend, of, &task.own);
    }
}

/// The whole message under the client's id, where it says its server's: as `own`, and as what it is related to.
fn told(message: &Bytes, own: Option<&RawValue>, id: &str) -> Bytes {
    let id = quoted(id);
    let related = result(message).and_then(|result| related::id(result.get().as_bytes()));
    let edits: Vec<(&RawValue, &str)> = own.into_iter().chain(related).map(|token| (token, &*id)).collect();
    if edits.is_empty() { message.clone() } else { splice::replaced(message, &edits) }
}

/// Of our own alphabet: nothing to escape.
fn quoted(id: &str) -> String {
    format!("\"{id}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(task: &str) -> Option<(Option<String>, Option<&'static str>)> {
        let raw: &RawValue = serde_json::from_str(task).unwrap();
        Said::read(raw).map(|said| (said.own(), said.status))
    }

    #[test]
    fn a_task_says_its_id_and_a_status_of_the_protocols_own() {
        assert_eq!(said(r#"{"taskId":"a\u0031","status":"working"}"#), Some((Some("a1".into()), Some("working"))));
        assert_eq!(said(r#"{"taskId":7,"status":"sleeping"}"#), Some((None, None)));
        assert_eq!(said("{}"), Some((None, None)));
        assert_eq!(said("[]"), None);
    }

    #[test]
    fn the_clients_id_stands_where_the_servers_own_stood_and_all_else_stays() {
        let key = "io.modelcontextprotocol/related-task";
        let whole = |id: &str| {
            format!(
                r#"{{ "id":1,"result" : {{"_meta":{{"{key}":{{"taskId":{id}}}}},"x":1e3, "taskId" :{id} }},"y":[ ]}}"#
            )
        };
        let message = Bytes::from(whole(r#""own""#));
        let id = Said::read(result(&message).unwrap()).unwrap().id;
        assert_eq!(told(&message, id, "c1.a"), whole(r#""c1.a""#));
    }
}
