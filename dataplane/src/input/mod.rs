//! Calls that need more of their client before they can be answered (`input_required`, `protocol.md` 3.7 and 7), in the
//! cells that have a modern end. The stages know nothing of it: it sits behind the lease, where a call is sent.
//!
//! `required.rs` reads what a modern server asks for. A legacy client is asked by requests, and its answers go out with
//! the call again: `rounds.rs`. A modern client gets the questions as its answer and comes again: `within.rs`. Both go
//! by the way of all upcalls, so that they are judged and recorded alike. What a client carries between two rounds is
//! sealed: `state.rs`.
//!
//! A legacy server asks while it works. For a modern client its call is an `errand.rs`, which goes on when the client has
//! the question as its answer, and waits in `parked.rs` for the retry that brings the client's words. Or it answers that
//! its client has to visit a URL first: `visits.rs`.

pub mod errand;
pub mod parked;
pub mod required;
mod rounds;
pub mod state;
mod visits;
pub mod within;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{json, value::RawValue};
use uuid::Uuid;

use self::{
    errand::Errand,
    required::Required,
    state::{About, State},
};
use crate::{
    answering::Events,
    backend::{Answer, Sent, Word},
    call::{Ask, Caller, RequestId},
    catalogue::Target,
    denial::{Denial, Failure},
    in_flight::Flight,
    plane::Plane,
    stages::rules::Ruled,
    tasks,
    wire::{outgoing, scan::Scanned},
};

/// What a request brings of an earlier round.
#[derive(Debug)]
pub struct Input {
    /// The object `inputResponses`, as it came.
    responses: Option<Bytes>,
    state: Option<State>,
}

impl Input {
    /// Reads it; none: it is a first request. Errors: `InvalidParams` for what is malformed, and for a state that was not
    /// given for just this request; `InteractionLost` for one that another plane gave.
    pub fn read(
        plane: &Plane,
        caller: &Caller,
        (ask, name): (Ask, &str),
        body: &Bytes,
        scanned: &Scanned,
    ) -> Result<Option<Box<Self>>, Denial> {
        let Some(members) = &scanned.input else { return Ok(None) };
        let invalid = |what: &'static str| Denial::InvalidParams { what: what.into() };
        if ask == Ask::UpdateTask && members.state.is_some() {
            return Err(invalid("a task has no requestState"));
        }
        if !ask.may_be_asked() && ask != Ask::UpdateTask {
            return Err(invalid("tools/call, prompts/get and resources/read alone can have a second round"));
        }
        let responses = members.responses.map(|span| body.slice(span.range()));
        if responses.as_ref().is_some_and(|json| json.first() != Some(&b'{')) {
            return Err(invalid("params.inputResponses is no object"));
        }
        let state = match members.state {
            None => None,
            Some(span) => {
                let arguments = scanned.arguments.map(|arguments| arguments.get(body));
                let about = About::of(ask, name, arguments);
                Some(plane.states.open(span.get(body), caller.principal(), &about)?)
            }
        };
        let input = Self { responses, state };
        let is_read_here = |state: &State| state.of_parked().is_some() || state.is_visited();
        if input.state.as_ref().is_some_and(is_read_here) && input.given().is_none() {
            return Err(invalid("a value in params.inputResponses is no object"));
        }
        Ok(Some(Box::new(input)))
    }

    /// The request that began it; none: nothing says.
    pub fn first(&self) -> Option<RequestId> {
        self.state.as_ref().map(|state| state.first)
    }

    /// The call that waits here for it, and the round that it answers.
    pub fn parked(&self) -> Option<(Uuid, u8)> {
        self.state.as_ref().and_then(State::of_parked)
    }

    /// Its client was sent to a URL and did not go there: to send the call again is of no use.
    pub fn is_declined(&self) -> bool {
        self.state.as_ref().is_some_and(State::is_visited)
            && self.given().is_some_and(|given| given.values().any(|answer| !visits::is_accepted(answer)))
    }

    /// The client's answers by key, each the bytes of an object. None: one of them is something else.
    fn given(&self) -> Option<BTreeMap<String, Bytes>> {
        let Some(responses) = &self.responses else { return Some(BTreeMap::new()) };
        let all: BTreeMap<String, &RawValue> = serde_json::from_slice(responses).ok()?;
        let is_object = |raw: &RawValue| raw.get().starts_with('{');
        let own =
            |(key, raw): (String, &RawValue)| is_object(raw).then(|| (key, responses.slice_ref(raw.get().as_bytes())));
        all.into_iter().map(own).collect()
    }

    /// Errors: its state is another backend's: what its name meant has changed since.
    pub fn is_for(&self, target: &Target) -> Result<(), Denial> {
        match &self.state {
            Some(state) if !state.is_of(&target.backend_name) => Err(state::none_of_ours()),
            Some(_) | None => Ok(()),
        }
    }

    /// What the params of a modern server's request get of it.
    pub fn members(&self) -> String {
        let state = self.state.as_ref().and_then(State::of_server);
        members(self.responses.as_deref(), state.map(|state| &**state))
    }
}

/// Members of params, without braces: the object `inputResponses`, and the token of `requestState`.
fn members(responses: Option<&[u8]>, state: Option<&[u8]>) -> String {
    let mut members = String::new();
    for (name, json) in [("inputResponses", responses), ("requestState", state)] {
        if let Some(json) = json {
            let comma = if members.is_empty() { "" } else { "," };
            members.push_str(&format!("{comma}\"{name}\":{}", String::from_utf8_lossy(json)));
        }
    }
    members
}

/// A call whose server asks for input.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'call> {
    pub plane: &'call Plane,
    pub call: &'call Ruled,
    pub flight: &'call Flight,
    pub events: &'call Events,
}

impl Asking<'_> {
    /// A call whose legacy server may ask within it.
    pub async fn attended(self, errand: Box<Errand>) -> Sent {
        errand::attend(self, errand).await
    }

    /// The same, with what its client brings.
    pub async fn goes_on(self, mut errand: Box<Errand>) -> Sent {
        let given = self.call.call().input.as_ref().and_then(|input| input.given()).unwrap_or_default();
        errand.take(given, self.call.call().progress_token());
        errand::attend(self, errand).await
    }

    /// What becomes of a modern server's `input_required`: rounds to the last word, or an answer that asks the client.
    /// Or of what tells of a task.
    pub async fn answered(self, answer: Answer) -> Sent {
        if self.call.call().ask.is_of_task() || matches!(answer.word, Word::Task(_)) {
            return tasks::answered(self, answer).await;
        }
        if !self.call.call().ask.may_be_asked() {
            return self.failed("it asks for input in answer to what may have none");
        }
        let required = match Required::read(&answer.last) {
            Ok(required) => required,
            Err(what) => return self.failed(what),
        };
        if self.call.caller().leg().is_session() {
            rounds::run(self, required).await
        } else {
            within::ask(self, required).await
        }
    }

    /// What an error of a server becomes that may want its client to visit a URL first.
    pub async fn refused(self, answer: Answer) -> Sent {
        visits::refused(self, self.flight.number(), answer).await
    }

    /// The client did not go where its server wanted it to.
    pub fn declined(&self) -> Sent {
        let backend = &self.call.target().backend_name;
        self.told(&format!("{backend} wants a page to be visited before it does this, and that was declined"))
    }

    /// The call ends here, by no fault of its server: a tool's result says why, other methods have no form for it.
    fn told(&self, text: &str) -> Sent {
        let call = self.call.call();
        let (last, failed) = match call.ask {
            Ask::CallTool => {
                let result = json!({ "content": [{ "type": "text", "text": text }], "isError": true }).to_string();
                (outgoing::result(&call.client_id(), result.as_bytes()), false)
            }
            Ask::CompletePrompt
            | Ask::CompleteResource
            | Ask::GetPrompt
            | Ask::ReadResource
            | Ask::AwaitTask
            | Ask::GetTask
            | Ask::UpdateTask
            | Ask::CancelTask => (outgoing::error(Some(&call.client_id()), -32_603, text, None), true),
        };
        Sent::Answered(Answer { last, failed, tool_error: !failed, word: Word::Last })
    }

    /// The request with which all rounds of this call began.
    pub(crate) fn first(&self) -> RequestId {
        let call = self.call.call();
        call.input.as_ref().and_then(|input| input.first()).unwrap_or(call.id)
    }

    /// A `requestState` for this client's retry of this request, for as long as calls are parked. None: there is no
    /// randomness.
    fn sealed(&self, state: &State) -> Option<String> {
        let (call, caller) = (self.call.call(), self.call.caller());
        let about = About::of(call.ask, &call.name, call.arguments());
        let good_for = caller.view().policy.gateway.parked.within.as_secs();
        self.plane.states.seal(state, caller.principal(), &about, good_for)
    }

    pub(crate) fn failed(&self, what: impl Into<std::borrow::Cow<'static, str>>) -> Sent {
        let backend = std::sync::Arc::clone(&self.call.target().backend_name);
        Sent::Failed(Failure::BackendError { backend, what: what.into() })
    }
}
