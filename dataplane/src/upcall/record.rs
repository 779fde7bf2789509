//! The row of one question: who was asked, by which server, within which call, and how it ended. What was asked is kept
//! as the policy keeps arguments; what was answered is not.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Asked, attribute::Attributed, feature::Feature, questions::Answer, refusal::Refusal};
use crate::{
    audit::{
        aggregate::Row,
        event::{Event, Status, session_text},
        spool::Room,
    },
    call::{Principal, RequestId},
    in_flight::LegKey,
    plane::Plane,
};

/// A question's record while it is under way. Dropped before its end, it leaves its row all the same.
#[derive(Debug)]
pub(super) struct Record {
    plane: Arc<Plane>,
    backend: Arc<str>,
    feature: Feature,
    params: Bytes,
    of: Option<Of>,
    room: Option<Room>,
    began: Instant,
    closed: bool,
}

/// Who it was put to.
#[derive(Debug)]
struct Of {
    principal: Arc<Principal>,
    session: LegKey,
    tool: Arc<str>,
    call: Option<RequestId>,
}

impl Record {
    pub(super) fn begin(plane: &Arc<Plane>, asked: &Asked) -> Self {
        Self {
            plane: Arc::clone(plane),
            backend: Arc::clone(&asked.backend_name),
            feature: asked.feature,
            params: asked.params.clone(),
            of: None,
            room: None,
            began: Instant::now(),
            closed: false,
        }
    }

    /// From here on it is somebody's: it has a row.
    pub(super) fn of(&mut self, attributed: &Attributed) {
        let call = attributed.call();
        self.of = Some(Of {
            principal: Arc::clone(attributed.principal()),
            session: attributed.leg().key(),
            tool: call.map_or_else(|| "".into(), |call| Arc::clone(&call.target().exposed)),
            call: call.map(crate::in_flight::FlightRef::request),
        });
    }

    /// Errors: `Audit`.
    pub(super) fn reserve(&mut self) -> Result<(), Refusal> {
        self.room = Some(self.plane.audit.spool.reserve().map_err(|_full| Refusal::Audit)?);
        Ok(())
    }

    /// Writes the row. An answer whose row can't be kept is withheld.
    pub(super) fn close(mut self, outcome: Result<Answer, Refusal>) -> Result<Answer, Refusal> {
        let (status, kind) = match &outcome {
            Ok(Answer::Result(_)) => (Status::Ok, ""),
            Ok(Answer::Error(_)) => (Status::Error, "client_error"),
            Ok(Answer::Within(_)) => (Status::InputRequired, ""),
            Err(refusal) => (refusal.status(), refusal.recorded()),
        };
        let action = match (&outcome, self.feature) {
            (Ok(Answer::Result(answer)), Feature::Elicitation) => action(answer),
            _ => None,
        };
        let kept = self.write(status, kind, action);
        if kept || outcome.is_err() { outcome } else { Err(Refusal::Audit) }
    }

    /// False: it can't be kept.
    fn write(&mut self, status: Status, kind: &'static str, action: Option<&'static str>) -> bool {
        self.closed = true;
        self.plane.metrics.upcall(&self.backend, self.feature.name(), status.as_str());
        // Whose it is nobody can say: it was put to nobody, and is only counted.
        let Some(of) = &self.of else { return true };
        let trail = &self.plane.audit;
        if status == Status::Denied && trail.share(&of.principal, kind) == Row::Folded {
            return true;
        }
        let room = match self.room.take() {
            Some(room) => room,
            None => match trail.spool.reserve() {
                Ok(room) => room,
                Err(_) => return false,
            },
        };
        let view = self.plane.views.load_full();
        let mut arguments = Vec::new();
        let note = view.as_ref().map_or("", |view| view.policy.record_arguments.write(&self.params, &mut arguments));
        let session = session_text(of.session);
        let roles: Vec<&str> = of.principal.roles.iter().map(|role| &**role).collect();
        let detail = action.map_or_else(String::new, |action| format!(r#"{{"action":"{action}"}}"#));
        let latency = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let event = Event {
            client: &of.principal.client,
            issuer: &of.principal.issuer,
            roles: &roles,
            session: &session,
            tool: &of.tool,
            backend: &self.backend,
            arguments: &arguments,
            arguments_note: note,
            kind,
            latency_us: Some(latency),
            revision: view.as_ref().map_or(0, |view| view.stamp.revision),
            parent: of.call.map(RequestId::uuid),
            detail: detail.as_bytes(),
            ..Event::new(
                RequestId::fresh().uuid(),
                self.plane.clock.now_micros().saturating_sub(latency),
                self.feature.method(),
                status,
            )
        };
        trail.append(room, &event).is_some()
    }
}

/// What a person did with a form or a URL, in the protocol's three words; what was filled in stays out.
fn action(answer: &[u8]) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Elicited<'a> {
        #[serde(borrow)]
        action: std::borrow::Cow<'a, str>,
    }
    let answer: Elicited<'_> = serde_json::from_slice(answer).ok()?;
    ["accept", "decline", "cancel"].into_iter().find(|action| answer.action == *action)
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.closed && !self.write(Status::Abandoned, "", None) {
            tracing::error!(
                backend = &*self.backend,
                "an abandoned question leaves no audit record: the spool takes none"
            );
        }
    }
}
