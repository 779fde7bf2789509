//! The plane's audit trail as the call path uses it: one place that decides between a row of its own and a share of
//! the minute's aggregate, and that writes either. What a record says is its maker's business.

use std::{cell::RefCell, time::Duration};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    aggregate::{Aggregate, Aggregates, Of, Row},
    event::{Event, Status},
    spool::{Recorded, Room, Spool},
};
use crate::{
    call::{Caller, Principal, RequestId},
    clock::Clock,
    denial::Denial,
    stages::authn::Peer,
};

/// How often aggregates that are due are looked for.
const TICK: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Trail {
    pub spool: Spool,
    aggregates: Aggregates,
    clock: Clock,
}

/// Whose record it is.
#[derive(Debug)]
pub struct Who<'a> {
    pub principal: &'a Principal,
    /// As records show it; empty: there is none.
    pub session: String,
    /// By which it is judged.
    pub revision: u64,
    /// The virtual server at whose endpoint it came in; empty: at none.
    pub server: &'a str,
}

impl<'a> Who<'a> {
    fn of(caller: &'a Caller) -> Self {
        let session = super::event::session_text(caller.leg().key());
        let view = caller.view();
        let server = view.endpoint.as_deref().unwrap_or_default();
        Self { principal: caller.principal(), session, revision: view.stamp.revision, server }
    }
}

thread_local! {
    /// One buffer a worker: a record is written without an allocation.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(2048));
}

impl Trail {
    /// `records`: how many the spool takes.
    pub fn new(spool: Spool, records: u64, clock: Clock) -> Self {
        Self { spool, aggregates: Aggregates::new(records), clock }
    }

    /// Whether this refusal gets a row of its own.
    pub fn share(&self, principal: &Principal, kind: &'static str) -> Row {
        self.aggregates.decide(Of::Client(&principal.client), kind, self.clock.now_micros())
    }

    /// A refusal for whose own row there is no room: it is counted until there is.
    pub fn fold(&self, principal: &Principal, kind: &'static str) {
        self.aggregates.fold(&principal.client, kind, self.clock.now_micros());
    }

    /// `None`: the record can't be kept; it is counted as dropped and the operator is told.
    pub fn append(&self, room: Room, event: &Event<'_>) -> Option<Recorded> {
        BUFFER.with_borrow_mut(|buffer| {
            event.write(buffer);
            match self.spool.append(room, buffer) {
                Ok(recorded) => Some(recorded),
                Err(fault) => {
                    tracing::error!(%fault, "an audit record can't be kept");
                    None
                }
            }
        })
    }

    /// A refusal of a known caller that was no routed call.
    pub fn refused(&self, caller: &Caller, method: &str, id: RequestId, denial: &Denial) {
        self.turned_away(&Who::of(caller), method, id, denial);
    }

    /// The same where no session says more of who it is. `method`: HTTP's, of a body that was not read.
    pub fn turned_away(&self, who: &Who<'_>, method: &str, id: RequestId, denial: &Denial) {
        let kind = denial.row().recorded;
        if self.share(who.principal, kind) == Row::Folded {
            return;
        }
        // The method is the client's word: a record takes no more of it than a method's length.
        let method: String = method.chars().take(64).collect();
        let told = denial.told(&id.to_string());
        let kept = self.own(
            who,
            &Event {
                kind,
                code: Some(told.code),
                message: &told.message,
                detail: told.data.as_bytes(),
                ..Event::new(id.uuid(), self.clock.now_micros(), &method, Status::Denied)
            },
        );
        if kept.is_none() {
            self.fold(who.principal, kind);
        }
    }

    /// A new session. Errors: `AuditUnavailable`; then there is no session.
    pub fn initialized(&self, caller: &Caller, id: RequestId) -> Result<(), Denial> {
        let event = Event::new(id.uuid(), self.clock.now_micros(), "initialize", Status::Ok);
        self.own(&Who::of(caller), &event).map(|_| ()).ok_or(Denial::AuditUnavailable { sent: false })
    }

    fn own(&self, who: &Who<'_>, event: &Event<'_>) -> Option<Recorded> {
        let room = self.spool.reserve().ok()?;
        let Who { principal, session, revision, server } = who;
        let roles: Vec<&str> = principal.roles.iter().map(|role| &**role).collect();
        self.append(
            room,
            &Event {
                client: &principal.client,
                issuer: &principal.issuer,
                roles: &roles,
                session,
                revision: *revision,
                server,
                ..*event
            },
        )
    }

    /// A refusal before authentication: only ever counted into the minute's row of its peer.
    pub fn stranger(&self, peer: Peer, denial: &Denial) {
        let who = match peer {
            Peer::Address(address) => address.to_string(),
            Peer::Connection(_) => "loopback".to_owned(),
        };
        self.aggregates.decide(Of::Peer(&who), denial.row().recorded, self.clock.now_micros());
    }

    /// Writes the aggregates of minutes that are over, and at the end the rest.
    pub async fn tick(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => self.write(&self.aggregates.due(self.clock.now_micros(), self.spool.backlog())),
            }
        }
        self.write(&self.aggregates.rest(self.spool.backlog()));
    }

    fn write(&self, aggregates: &[Aggregate]) {
        for (at, aggregate) in aggregates.iter().enumerate() {
            let Ok(room) = self.spool.reserve() else {
                return self.aggregates.keep(aggregates.get(at..).unwrap_or_default());
            };
            let detail = serde_json::json!({ "aggregate": true, "last": aggregate.last, "peer": (!aggregate.client).then_some(&aggregate.who) });
            let detail = detail.to_string();
            let event = Event {
                client: if aggregate.client { &aggregate.who } else { "" },
                kind: aggregate.kind,
                count: aggregate.count,
                detail: detail.as_bytes(),
                ..Event::new(Uuid::now_v7(), aggregate.first, "refusals", Status::Denied)
            };
            self.append(room, &event);
        }
    }
}
