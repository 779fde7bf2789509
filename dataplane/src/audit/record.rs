//! The drop guard that makes a record of every call: whoever begins one can't forget it.
//!
//! `close` appends the record and makes the `Final`, so "recorded" comes before "answered" by type. A `Recording`
//! that nobody closed (a vanished client, a shutdown) leaves its record when it is dropped.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    aggregate::Row as Share,
    event::{Event, Status, session_text},
    outcome::{self, Said},
    spool::{Recorded, Room},
};
use crate::{
    backend::{Answer, Word},
    call::{Ask, Caller, Principal, RequestId, Routed},
    catalogue::Target,
    denial::{Denial, Failure, NotReady, Told, Unavailable},
    in_flight::{Flight, LegKey, Why},
    metrics::Stage,
    plane::Plane,
    stages::rules::Ruled,
    view::View,
    wire::{self, Span},
};

/// Every way in which a call ends without a backend's answer.
#[derive(Debug)]
pub enum End {
    Denied(Denial),
    Failed(Failure),
    /// The client took it back: it gets no answer at all.
    Cancelled,
}

impl From<Denial> for End {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The last word of a call, recorded. Only `Recording::close` makes one.
#[derive(Debug)]
pub struct Final {
    bytes: Option<Bytes>,
    is_answer: bool,
    is_modern: bool,
    refusal: Option<Denial>,
    _recorded: Option<Kept>,
}

impl Final {
    /// The whole answer, or its last part; none where the client gets no answer.
    pub fn bytes(&self) -> Option<&Bytes> {
        self.bytes.as_ref()
    }

    /// The backend's answer (or the rest of it), not an error of ours: parts that went before belong to it.
    pub fn is_answer(&self) -> bool {
        self.is_answer
    }

    /// A whole answer of ours, in the modern era's form already: it asks for input, or tells of a task.
    pub fn is_modern(&self) -> bool {
        self.is_modern
    }

    /// What refused the call, where something of ours did: decides the HTTP status.
    pub fn refusal(&self) -> Option<&Denial> {
        self.refusal.as_ref()
    }
}

/// A call's record while the call runs.
#[derive(Debug)]
pub struct Recording {
    plane: Arc<Plane>,
    view: Arc<View>,
    principal: Arc<Principal>,
    session: LegKey,
    id: RequestId,
    body: Bytes,
    client_id: Option<Span>,
    arguments: Option<Span>,
    ask: Ask,
    /// As asked.
    name: Arc<str>,
    traceparent: Option<Box<str>>,
    /// The request that began what this one goes on with.
    first: Option<RequestId>,
    arrived: Instant,
    target: Option<Arc<Target>>,
    room: Option<Room>,
    /// Held until the record is written: until then a kill finds the call and cuts it.
    flight: Option<Flight>,
    sent_at: Option<Instant>,
    /// When the last stage ended, in the calls that are timed stage by stage.
    stage_since: Option<Instant>,
    /// The last stage that it passed.
    passed: Option<Stage>,
    attempts: u32,
    sent: bool,
    is_misfit: bool,
    closed: bool,
}

impl Recording {
    pub fn begin(plane: &Arc<Plane>, caller: &Caller, call: &Routed) -> Self {
        Self {
            plane: Arc::clone(plane),
            view: Arc::clone(caller.view()),
            principal: Arc::clone(caller.principal()),
            session: caller.leg().key(),
            id: call.id,
            body: call.body.clone(),
            client_id: call.scanned.id,
            arguments: call.scanned.arguments.filter(|_| !call.ask.is_of_task()),
            ask: call.ask,
            name: Arc::clone(&call.name),
            traceparent: call.traceparent.clone(),
            first: call.task.as_ref().map(|task| task.first).or_else(|| call.input.as_ref()?.first()),
            arrived: call.arrived,
            target: None,
            room: None,
            flight: None,
            sent_at: None,
            stage_since: plane.metrics.times_stages().then(Instant::now),
            passed: None,
            attempts: 0,
            sent: false,
            is_misfit: false,
            closed: false,
        }
    }

    /// A stage is passed. One call in 64 is timed: eight clocks a call would cost as much as the stages do.
    pub fn passed(&mut self, stage: Stage) {
        self.passed = Some(stage);
        if let Some(since) = &mut self.stage_since {
            let now = Instant::now();
            self.plane.metrics.stage(stage, now.saturating_duration_since(*since));
            *since = now;
        }
    }

    /// The name is one of the catalogue, and the caller may see it: from here on it is a metric's label.
    pub fn target(&mut self, target: &Arc<Target>) {
        self.target = Some(Arc::clone(target));
    }

    /// Room for the record, before anything is sent. Errors: `AuditUnavailable`.
    pub fn reserve(&mut self) -> Result<(), Denial> {
        let room = self.plane.audit.spool.reserve();
        self.room = Some(room.map_err(|_full| Denial::AuditUnavailable { sent: false })?);
        Ok(())
    }

    pub fn flies(&mut self, call: &Ruled) {
        self.is_misfit = call.is_misfit();
    }

    pub fn sending(&mut self, attempt: u32) {
        self.attempts = attempt;
        self.sent_at = Some(Instant::now());
        // Until the link says that not a byte was written; a record that is dropped half-way says "may have run".
        self.sent = true;
    }

    /// Not a byte of it went out.
    pub fn unsent(&mut self) {
        self.sent = false;
    }

    /// Why somebody ended the call, if somebody did, in the caller's words.
    pub fn ended(&mut self, flight: &Flight) -> Option<End> {
        self.sent = self.sent && flight.is_sent();
        let backend = || self.target.as_ref().map_or_else(|| "".into(), |target| Arc::clone(&target.backend_name));
        Some(match flight.why()?.clone() {
            Why::Cancelled | Why::HungUp => End::Cancelled,
            Why::Killed(mut disabled) => {
                disabled.sent = self.sent;
                End::Denied(Denial::Disabled(disabled))
            }
            Why::Removed => End::Failed(Failure::BackendUnavailable {
                backend: backend(),
                state: Unavailable::Removed,
                retry_after: None,
            }),
            Why::Shutdown => End::Denied(Denial::NotReady { reason: NotReady::Draining }),
            Why::Timeout => End::Failed(Failure::Timeout { backend: backend(), timeout: self.arrived.elapsed() }),
        })
    }

    /// The answer is there. Errors: somebody ended the call before it was.
    pub fn land(&mut self, flight: Flight, answer: Answer) -> Result<Answer, End> {
        if let Some(end) = self.ended(&flight) {
            return Err(end);
        }
        self.flight = Some(flight);
        Ok(answer)
    }

    /// Writes the record, then gives the last word. A record that can't be kept withholds the answer.
    pub fn close(mut self, outcome: Result<Answer, End>) -> Final {
        let flight = self.flight.take();
        let outcome = match flight.as_ref().and_then(|flight| self.ended(flight)) {
            Some(end) => Err(end),
            None => outcome,
        };
        let id = self.id.to_string();
        let (status, kind, told) = match &outcome {
            Ok(Answer { word: Word::Asks, .. }) => (Status::InputRequired, "", None),
            Ok(Answer { tool_error: false, failed: false, .. }) => (Status::Ok, "", None),
            Ok(_) => (Status::ToolError, "", None),
            // What was with the backend already was cut, not refused; and it never shares a row with refusals.
            Err(End::Denied(denial)) if self.sent => (Status::Cancelled, denial.row().recorded, Some(denial.told(&id))),
            Err(End::Denied(denial)) => (Status::Denied, denial.row().recorded, Some(denial.told(&id))),
            Err(End::Failed(failure @ Failure::Timeout { .. })) => {
                (Status::Timeout, failure.row().recorded, Some(failure.told(&id)))
            }
            Err(End::Failed(failure)) => (Status::Error, failure.row().recorded, Some(failure.told(&id))),
            Err(End::Cancelled) => (Status::Cancelled, "", None),
        };
        let unknown = match &outcome {
            Err(End::Denied(denial)) => denial.is_hidden(),
            _ => None,
        };
        let task = match &outcome {
            Ok(Answer { word: Word::Task(status), .. }) => *status,
            _ => None,
        };
        let recorded = self.record(status, kind, Said { told: told.as_ref(), unknown, task });
        let _recorded = recorded.ok();
        if _recorded.is_none() && outcome.is_ok() {
            let denial = Denial::AuditUnavailable { sent: true };
            let bytes = self.error(&denial.told(&id));
            return Final { bytes: Some(bytes), is_answer: false, is_modern: false, refusal: Some(denial), _recorded };
        }
        match outcome {
            Ok(Answer { last, word, .. }) => {
                let is_modern = word != Word::Last;
                Final { bytes: Some(last), is_answer: true, is_modern, refusal: None, _recorded }
            }
            Err(End::Cancelled) => Final { bytes: None, is_answer: false, is_modern: false, refusal: None, _recorded },
            Err(end) => {
                let bytes = told.as_ref().map(|told| self.error(told));
                let refusal = match end {
                    End::Denied(denial) => Some(denial),
                    End::Failed(_) | End::Cancelled => None,
                };
                Final { bytes, is_answer: false, is_modern: false, refusal, _recorded }
            }
        }
    }

    fn error(&self, told: &Told) -> Bytes {
        let id = self.client_id.map(|span| span.get(&self.body));
        wire::outgoing::error(id, told.code, &told.message, Some(told.data.as_bytes()))
    }

    /// The caller learns nothing; the operator's log says it in one line, as long as the refusal has a row of its own.
    /// A line also for a name that is not there: else the time of the answer would tell the two apart.
    fn tell_unknown(&self, hidden: bool, rule: &str) {
        let name = self.name.escape_debug().to_string();
        let what = if hidden { "asked for what is hidden" } else { "asked for what is not there" };
        tracing::info!(request_id = %self.id, client = %self.principal.client.escape_debug(), method = self.ask.method(), name, rule, "{what}");
    }

    /// `Err`: neither kept in the spool nor counted in an aggregate.
    fn record(&mut self, status: Status, kind: &'static str, said: Said<'_>) -> Result<Kept, Lost> {
        self.closed = true;
        let Said { told, unknown, .. } = said;
        let latency = self.arrived.elapsed();
        let backend_latency = self.sent_at.map(|at| at.elapsed());
        self.plane.metrics.called(self.target.as_deref(), status.as_str(), kind, latency, backend_latency);
        let trail = &self.plane.audit;
        if status == Status::Denied && trail.share(&self.principal, kind) == Share::Folded {
            return Ok(Kept { _recorded: None });
        }
        let room = match self.room.take() {
            Some(room) => room,
            None => match trail.spool.reserve() {
                Ok(room) => room,
                Err(_) if status == Status::Denied => {
                    trail.fold(&self.principal, kind);
                    return Ok(Kept { _recorded: None });
                }
                Err(_) => return Err(Lost),
            },
        };
        let session = session_text(self.session);
        let roles: Vec<&str> = self.principal.roles.iter().map(|role| &**role).collect();
        let mut arguments = Vec::new();
        let raw = self.arguments.map_or(&b""[..], |span| span.get(&self.body));
        let arguments_note = self.view.policy.record_arguments.write(raw, &mut arguments);
        // Of the same cost for both: else the time of the answer would tell them apart.
        let rule = unknown.map(|hidden| {
            let hiding = self.view.policy.why_hidden(&self.principal, self.ask.kind(), &self.name);
            if hidden { hiding } else { "nothing of this name is there".to_owned() }
        });
        let rule = rule.as_deref().unwrap_or_default();
        let detail = said.detail(self.is_misfit);
        let event = Event {
            client: &self.principal.client,
            issuer: &self.principal.issuer,
            roles: &roles,
            session: &session,
            tool: &self.name,
            backend: self.target.as_ref().map_or("", |target| &target.backend_name),
            server: self.view.endpoint.as_deref().unwrap_or_default(),
            arguments: &arguments,
            arguments_note,
            kind,
            latency_us: Some(micros(latency)),
            backend_latency_us: backend_latency.map(micros),
            revision: self.view.stamp.revision,
            stamp_generation: Some(self.view.stamp.generation),
            attempts: Some(self.attempts),
            sent: Some(self.sent),
            stage: outcome::stage(self.passed, status, kind),
            rule,
            parent: self.first.map(RequestId::uuid),
            code: told.map(|told| told.code),
            message: told.map_or("", |told| &told.message),
            traceparent: self.traceparent.as_deref().unwrap_or_default(),
            detail: detail.as_bytes(),
            ..Event::new(
                self.id.uuid(),
                self.plane.clock.now_micros().saturating_sub(micros(latency)),
                self.ask.method(),
                status,
            )
        };
        let appended = trail.append(room, &event);
        self.passed(Stage::Record);
        if let (Some(hidden), Some(_)) = (unknown, &appended) {
            self.tell_unknown(hidden, rule);
        }
        appended.map(|recorded| Kept { _recorded: Some(recorded) }).ok_or(Lost)
    }
}

/// Receipt: the record is kept, or counted in an aggregate.
#[derive(Debug)]
struct Kept {
    _recorded: Option<Recorded>,
}

/// The record is gone; it was counted as dropped.
#[derive(Debug)]
struct Lost;

fn micros(spent: Duration) -> u64 {
    u64::try_from(spent.as_micros()).unwrap_or(u64::MAX)
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.closed {
            let status = if self.sent { Status::Cancelled } else { Status::Abandoned };
            if self.record(status, "", Said::default()).is_err() {
                tracing::error!(request_id = %self.id, "an abandoned call leaves no audit record: the spool takes none");
            }
        }
    }
}
