//! THE WAY OF A CALL, from a verified caller to its last word, readable on one screen: every stage in order, nothing
//! else. Each `let call` hides the weaker proof before it; `dispatch` is the only caller of `backend::lease`.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt as _;

use crate::{
    answering::Events,
    audit::record::{End, Final, Recording},
    backend::{Answer, Sent, lease::lease, repeats::Repeating},
    call::{Caller, Routed},
    denial::Denial,
    in_flight::{CallKey, Entry},
    metrics::Stage,
    plane::Plane,
    stages::{arguments, limits, resolve, rules, rules::Ruled, visible},
};

/// The way of a routed call. `Recording` closes with the last event, or when it is dropped: also for a client that
/// hung up, also for a panic.
pub async fn routed(plane: Arc<Plane>, caller: Caller, call: Routed, events: Events) -> Final {
    let mut recording = Recording::begin(&plane, &caller, &call);
    let passing = AssertUnwindSafe(pass(&plane, caller, call, &mut recording, &events)).catch_unwind().await;
    let outcome = passing.unwrap_or_else(|_| Err(End::Denied(plane.metrics.panicked())));
    recording.close(outcome) // nothing else can make a `Final`: recorded comes before answered
}

async fn pass(
    plane: &Plane,
    caller: Caller,
    call: Routed,
    recording: &mut Recording,
    events: &Events,
) -> Result<Answer, End> {
    plane.gate.caller(caller.principal()).map_err(Denial::Disabled)?; // client, role, all: an early word, asked again below
    let call = limits::client::admit(caller, call, &plane.buckets, plane.in_flight.len())?;
    recording.passed(Stage::ClientLimits);
    let call = resolve::target(call); // never refuses
    let call = visible::check(call)?; // not there and not shown: one answer
    recording.passed(Stage::Resolve);
    recording.target(call.target());
    call.target().may_be_used().map_err(Denial::Disabled)?; // quarantined: by the View that the caller holds
    plane.gate.target(call.target()).map_err(Denial::Disabled)?; // tool, backend: likewise an early word
    let call = limits::target::admit(call, &plane.buckets)?;
    recording.passed(Stage::TargetLimits);
    let call = arguments::validate(call)?;
    recording.passed(Stage::Arguments);
    let call = rules::permit(call)?; // on the bytes that will be sent
    recording.passed(Stage::Rules);
    recording.reserve()?; // room for its record: a call that ran can always be recorded
    let answered = dispatch(plane, call, recording, events).await;
    recording.passed(Stage::Dispatch);
    answered
}

/// Register, lease, ask the kill gate, send: a kill that swaps the gate just after we asked finds us in the table.
async fn dispatch(plane: &Plane, call: Ruled, recording: &mut Recording, events: &Events) -> Result<Answer, End> {
    let key = CallKey { leg: call.caller().leg().key(), id: call.call().client_id() };
    let entry = Entry::of(&call, events);
    let flight = plane.in_flight.enter(key, entry).ok_or_else(|| Denial::InvalidRequest {
        what: "a request with this id is already running in this session".into(),
        position: None,
    })?;
    recording.flies(&call);
    let mut repeating = Repeating::of(&plane.backends, &call, &flight);
    for attempt in 1.. {
        let lease = lease(plane, &call, &flight).await?;
        if let Some(disabled) = plane.gate.judges(call.caller().principal(), call.target()) {
            return Err(Denial::Disabled(disabled).into()); // all five scopes; this is the one that binds
        }
        let may_repeat = attempt < lease.attempts();
        recording.sending(attempt);
        match lease.send(events).await {
            Sent::Answered(answer) => return recording.land(flight, answer), // a kill that came meanwhile still wins
            Sent::Never(failure) => {
                if !repeating.may_have_run() {
                    recording.unsent();
                }
                if !(may_repeat && repeating.again(attempt).await) {
                    return Err(recording.ended(&flight).unwrap_or(End::Failed(failure)));
                }
            }
            Sent::Lost(failure) => {
                if !(may_repeat && repeating.after_a_loss(attempt).await) {
                    return Err(recording.ended(&flight).unwrap_or(End::Failed(failure)));
                }
            }
            Sent::Failed(failure) => return Err(recording.ended(&flight).unwrap_or(End::Failed(failure))),
            Sent::Ended => return Err(recording.ended(&flight).unwrap_or(End::Denied(Denial::Internal))),
        }
    }
    Err(End::Denied(Denial::Internal))
}
