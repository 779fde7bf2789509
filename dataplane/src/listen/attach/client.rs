//! One attached client: its lines of either era, each judged by the token of its moment, and what it is told.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{ASIDE, Head, bearer};
use crate::{
    answering::Event,
    call::{Caller, RequestId},
    denial::{Denial, NotReady},
    in_flight::LegKey,
    listen::{
        ClientLeg,
        feeds::{self, Who},
        hearing::Hearing,
        local, message,
        modern::{self, Said, voice::Voice},
        revision::Revision,
        watching,
    },
    plane::Plane,
    stages::authn::{Peer, Verified},
    upcall::{self, feature::Features},
    view::View,
    wire::{answer::Pieces, outgoing, scan, scan::Scanned},
};

/// One client's connection.
pub(super) struct Session {
    pub(super) plane: Arc<Plane>,
    pub(super) key: LegKey,
    /// What was agreed on in `initialize`; none: it was not sent.
    pub(super) leg: Option<ClientLeg>,
    /// The virtual server that it means.
    pub(super) endpoint: Option<String>,
    pub(super) authorization: Vec<u8>,
    /// Modern subscriptions that are open, by the id of their request: each can be taken back by it.
    pub(super) listening: HashMap<Bytes, CancellationToken>,
    pub(super) out: mpsc::Sender<Bytes>,
    pub(super) calls: TaskTracker,
    pub(super) gone: CancellationToken,
}

impl Session {
    /// One line of the client, or of its thin process.
    pub(super) async fn hear(&mut self, line: Vec<u8>) {
        if let Some((&ASIDE, head)) = line.split_first() {
            if let Ok(head) = serde_json::from_slice::<Head>(head) {
                self.authorization = bearer(&head.token);
            }
            return;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let body = Bytes::from(line);
        let id = RequestId::fresh();
        match scan::body(&body) {
            Ok(scan::Body::One(scanned)) => self.message(&body, scanned, id).await,
            Ok(scan::Body::Batch(messages))
                if self.leg.is_some_and(|leg| leg.has_batches()) && !messages.iter().any(Scanned::is_modern) =>
            {
                for scanned in messages {
                    self.message(&body, scanned, RequestId::fresh()).await;
                }
            }
            Ok(scan::Body::Batch(_)) => {
                let denial = Denial::InvalidRequest {
                    what: "batches exist in revision 2025-03-26 alone".into(),
                    position: None,
                };
                self.say(&local::refusal(None, id, &denial)).await;
            }
            Err(fault) => self.say(&local::refusal(None, id, &fault.into())).await,
        }
    }

    /// Both eras on one connection, told apart by each message itself.
    async fn message(&mut self, body: &Bytes, scanned: Scanned, id: RequestId) {
        let client_id = scanned.id;
        let is_request = scanned.kind == scan::Kind::Request;
        let heard = match self.verified() {
            Err(denial) => Err(denial),
            Ok((verified, view)) if is_request && scanned.is_modern() => {
                let leg = ClientLeg::modern(self.key, modern::features(body, &scanned));
                let caller = Caller::new(verified, view, leg);
                return self.modern(caller, body, scanned, id).await;
            }
            Ok((verified, view)) if scanned.method.is_some_and(|text| text.is(body, "initialize")) => {
                self.initialize(verified, view, body, &scanned, id).await
            }
            Ok((verified, view)) => self.legacy(verified, view, body, scanned, id).await,
        };
        match heard {
            Ok(()) => {}
            Err(denial) => {
                // A notification is never answered.
                if is_request {
                    self.say(&local::refusal(client_id.map(|span| span.get(body)), id, &denial)).await;
                }
            }
        }
    }

    /// A request that says of itself what it needs: no `initialize` is needed before it, nor asked for after it.
    async fn modern(&mut self, caller: Caller, body: &Bytes, scanned: Scanned, id: RequestId) {
        let said = Said::read(body, &scanned).and_then(|said| said.is_served());
        if let Err(denial) = said {
            let refusal = modern::refuse(&self.plane, &caller, body, &scanned, id, &denial);
            return self.say(&refusal).await;
        }
        let own = scanned.id.map(|span| body.slice(span.range()));
        match modern::take(&self.plane, caller, body, scanned, id, None) {
            modern::Reply::Now(bytes, _) => self.say(&bytes).await,
            modern::Reply::Running(answering, voice) => self.run(answering, Some(voice)),
            modern::Reply::Listening(notes) => {
                self.listening.retain(|_, stop| !stop.is_cancelled());
                let stop = self.gone.child_token();
                if let Some(own) = own {
                    self.listening.insert(own, stop.clone());
                }
                self.hand_on(notes, stop, true);
            }
        }
    }

    /// Ends the subscription that this notification takes back, if it does.
    fn unlisten(&mut self, body: &Bytes, scanned: &Scanned) {
        if let Some(stop) = scanned.request_id.and_then(|span| self.listening.remove(&body.slice(span.range()))) {
            stop.cancel();
        }
    }

    /// Who speaks, by the token of this moment.
    fn verified(&self) -> Result<(Verified, Arc<View>), Denial> {
        let plane = &self.plane;
        if let Some(reason) = plane.not_ready() {
            return Err(Denial::NotReady { reason });
        }
        let (all, endpoint) = (plane.views.load_full(), self.endpoint.as_deref());
        let all = all.ok_or(Denial::NotReady { reason: NotReady::NoSnapshot })?;
        let view = all.at(endpoint).cloned().ok_or_else(|| Denial::InvalidRequest {
            what: format!("there is no virtual server {:?} here", endpoint.unwrap_or_default()).into(),
            position: None,
        })?;
        let authorization = (!self.authorization.is_empty()).then_some(&*self.authorization);
        let number = self.key.0.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let verified = plane
            .tokens
            .authenticate(authorization, (Peer::Connection(number), endpoint), &view.policy.auth, plane.now())
            .inspect_err(|denial| {
                plane.metrics.refused(denial.row().recorded);
                plane.audit.stranger(Peer::Connection(number), denial);
            })?;
        Ok((verified, view))
    }

    async fn initialize(
        &mut self,
        verified: Verified,
        view: Arc<View>,
        body: &Bytes,
        scanned: &Scanned,
        id: RequestId,
    ) -> Result<(), Denial> {
        let (revision, features) = local::negotiate(body, scanned)?;
        let leg = ClientLeg::new(self.key, revision, features);
        let caller = Caller::new(verified, view, leg);
        self.plane.audit.initialized(&caller, id)?;
        self.leg = Some(leg);
        let (bytes, _) = local::answer(body, scanned, id, Ok(local::initialized(revision, &caller).into()));
        self.say(&bytes).await;
        if let Ok(notes) = self.plane.feeds.open(Who::of(&caller)) {
            self.hand_on(notes, self.gone.child_token(), false);
        }
        Ok(())
    }

    async fn legacy(
        &mut self,
        verified: Verified,
        view: Arc<View>,
        body: &Bytes,
        scanned: Scanned,
        id: RequestId,
    ) -> Result<(), Denial> {
        let is = |method: &str| scanned.method.is_some_and(|text| text.is(body, method));
        if is("notifications/cancelled") {
            self.unlisten(body, &scanned);
        }
        let leg = match self.leg {
            Some(leg) => leg,
            None if is("ping") || scanned.kind != scan::Kind::Request => {
                ClientLeg::new(self.key, Revision::NEWEST, Features::NONE)
            }
            None => {
                let what = "send initialize first, or say in params._meta what revision 2026-07-28 asks for \
                            (io.modelcontextprotocol/protocolVersion and …/clientCapabilities)";
                return Err(Denial::InvalidParams { what: what.into() });
            }
        };
        let caller = Caller::new(verified, view, leg);
        match message::take(&self.plane, caller, body, scanned, id, None) {
            message::Reply::Accepted => {}
            message::Reply::Now(bytes, _) => self.say(&bytes).await,
            message::Reply::Running(answering) => self.run(answering, None),
            message::Reply::Soon(answer) => self.answer_soon(answer),
        }
        Ok(())
    }

    /// Beside the calls, as long as the client is there.
    fn answer_soon(&self, answer: watching::Soon) {
        let (out, gone) = (self.out.clone(), self.gone.clone());
        self.calls.spawn(async move {
            if let Some((bytes, _)) = gone.run_until_cancelled(answer).await {
                out.send(outgoing::line(&bytes)).await.ok();
            }
        });
    }

    /// What the client is told without asking, until `stop`. `lasts`: the connection stays open for its last word.
    fn hand_on(&self, mut notes: mpsc::Receiver<feeds::Note>, stop: CancellationToken, lasts: bool) {
        let (out, held) = (self.out.downgrade(), lasts.then(|| self.out.clone()));
        self.plane.tracker.spawn(async move {
            loop {
                let note = tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    note = notes.recv() => note,
                };
                match (note, out.upgrade()) {
                    (Some(feeds::Note::Message(message)), Some(out)) => drop(out.send(outgoing::line(&message)).await),
                    (Some(feeds::Note::Quiet), Some(_)) => {}
                    (None, _) | (_, None) => break,
                }
            }
            stop.cancel();
            drop(held);
        });
    }

    /// Ends its subscriptions without a word: there is nobody to hear it.
    pub(super) fn silence(&self) {
        self.listening.values().for_each(CancellationToken::cancel);
    }

    /// A call of its own beside the others. The client's leaving drops it: over stdio that is a cancel.
    fn run(&self, answering: message::Answering, mut voice: Option<Voice>) {
        let (out, gone) = (self.out.clone(), self.gone.clone());
        let hearing = voice.is_none().then(|| Hearing::new(&self.plane, self.key));
        let passes = move |event: &Event| hearing.as_ref().is_none_or(|hearing| hearing.passes(event));
        self.calls.spawn(async move {
            let message::Answering { mut call, mut events } = answering;
            let mut answer = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    () = gone.cancelled() => return,
                    Some(event) = events.recv() => if passes(&event) { take(event, &mut voice, &mut answer, &out).await },
                    last = &mut call => {
                        while let Ok(event) = events.try_recv() {
                            if !passes(&event) {
                                continue;
                            }
                            take(event, &mut voice, &mut answer, &out).await;
                        }
                        if !last.is_answer() {
                            answer.clear();
                        }
                        let bytes = match &mut voice {
                            Some(voice) => voice.last(&last),
                            None => last.bytes().cloned(),
                        };
                        if let Some(bytes) = bytes {
                            answer.extend_from_slice(&bytes);
                            out.send(outgoing::line(&answer)).await.ok();
                        }
                        return;
                    }
                }
            }
        });
    }

    async fn say(&self, message: &[u8]) {
        self.out.send(outgoing::line(message)).await.ok();
    }
}

async fn take(event: Event, voice: &mut Option<Voice>, answer: &mut Vec<u8>, out: &mpsc::Sender<Bytes>) {
    match (event, voice) {
        (event, Some(voice)) if !voice.passes(&event) => {}
        (Event::Part(part), Some(voice)) => {
            let mut pieces = Pieces::default();
            voice.part(&part, &mut pieces);
            pieces.drain().for_each(|piece| answer.extend_from_slice(&piece));
        }
        (Event::Elicited(message) | Event::Log(message) | Event::Progress(message), _) => {
            out.send(outgoing::line(&message)).await.ok();
        }
        (Event::Question(upcall), _) => drop(out.send(outgoing::line(&upcall.into_request())).await),
        (Event::Withdrawn(number), _) => drop(out.send(outgoing::line(&upcall::withdrawn(number))).await),
        (Event::Part(part), None) => answer.extend_from_slice(&part),
        (Event::Quiet, _) => {}
    }
}
