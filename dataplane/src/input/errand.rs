//! A call at a legacy server for a modern client, which is asked within answers: what the server works on goes on when
//! the request that began it has been answered with a question, and the client's retry goes on with it (`protocol.md`
//! 7.2). It holds its bulkhead place and its flight as long as the server works; dropped, the server is told.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

use super::{Asking, parked::Of, required, state::State, visits};
use crate::{
    answering::{Event, Events},
    backend::{Answer, Outgoing, Sent, Word, lease::Leave},
    call::RequestId,
    in_flight::{Flight, Why},
    stages::rules::Ruled,
    upcall::{Upcall, feature::Features, questions, refusal::Refusal},
    wire::{
        answer::{AnswerFault, AnswerScan, Pieces},
        incoming::{self, Incoming},
        modern::joined,
    },
};

/// Further questions that come within this time are asked together.
const TOGETHER: Duration = Duration::from_millis(20);
/// Of one call; as many as SDKs' clients allow.
const MOST_ROUNDS: u8 = 10;

/// What the server works on.
pub struct Errand {
    /// Names it among all that wait, in what its client carries.
    pub(super) name: Uuid,
    /// The request that began it.
    pub(super) first: RequestId,
    /// Its number: the token under which its answer comes.
    number: u64,
    sending: Pin<Box<dyn Future<Output = (Sent, Flight)> + Send>>,
    /// How it ended, while nobody waited for it. Its flight is kept: a kill finds it.
    over: Option<(Sent, Flight)>,
    heard: mpsc::Receiver<Event>,
    /// Put to the client, or about to be.
    questions: Vec<Upcall>,
    /// Of the request that waits for it now; none: it wants no progress.
    progress: Option<Bytes>,
    /// Rounds in which its client was asked.
    pub(super) round: u8,
}

impl std::fmt::Debug for Errand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Errand").field("first", &self.first).field("round", &self.round).finish_non_exhaustive()
    }
}

/// What an errand came to while somebody listened.
enum Came {
    Over(Sent, Flight),
    Asks,
    /// Whoever waited was ended.
    Ended,
}

/// How its client knows a question.
fn key(question: &Upcall) -> String {
    format!("q{}", question.number)
}

impl Errand {
    /// Sends the call; from here on its flight is the errand's own.
    pub fn begin(leave: Leave, call: &Ruled, flight: &Flight) -> Box<Self> {
        let (events, heard) = Events::about(call.call().task.clone());
        let inner = flight.beside(events.clone());
        let number = inner.number();
        let (routed, target) = (call.call().outliving(), Arc::clone(call.target()));
        let progress = routed.progress_token();
        let first = routed.id;
        let sending = Box::pin(async move {
            let client_id = Bytes::from(number.to_string());
            let outgoing = Outgoing {
                routed: &routed,
                client_id: &client_id,
                own_name: &target.own,
                mirrored: &target.mirrored,
                level: None,
                declares: Features::NONE,
                inputs: "",
                keeps_task: false,
            };
            let sent = leave.send(outgoing, &inner, &events).await;
            (sent, inner)
        });
        let name = RequestId::fresh().uuid();
        let questions = Vec::new();
        Box::new(Self { name, first, number, sending, over: None, heard, questions, progress, round: 0 })
    }

    /// What its client answers; what it says to nothing that was asked is left out. From here on progress goes by `token`.
    pub(super) fn take(&mut self, mut given: BTreeMap<String, Bytes>, token: Option<Bytes>) {
        self.progress = token;
        for question in std::mem::take(&mut self.questions) {
            match given.remove(&key(&question)) {
                // Its server may have taken it back.
                Some(answer) => drop(question.reply.answer(questions::Answer::Result(answer))),
                None => self.questions.push(question),
            }
        }
    }

    /// Nobody answers any more what was asked.
    pub(super) fn refuse(&mut self, why: &Refusal) {
        self.questions.drain(..).for_each(|question| question.reply.refuse(why.clone()));
    }

    /// While nobody waits for it: until it is over. Cancel safe.
    pub(super) async fn idle(&mut self) {
        while self.over.is_none() {
            tokio::select! {
                biased;
                Some(event) = self.heard.recv() => match event {
                    Event::Question(upcall) => self.questions.push(upcall),
                    Event::Withdrawn(number) => self.questions.retain(|question| question.number != number),
                    // An answer in parts asks nothing on its way; all else is for whoever listens, and nobody does.
                    Event::Elicited(_) | Event::Log(_) | Event::Part(_) | Event::Progress(_) | Event::Quiet => {}
                },
                ended = &mut self.sending => self.over = Some(ended),
            }
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Why somebody ended it, once it is over.
    pub(super) fn ended(&self) -> Option<&Why> {
        match &self.over {
            Some((Sent::Ended, flight)) => flight.why(),
            Some(_) | None => None,
        }
    }

    /// For who asks now: until it is over, or its server asks.
    async fn attended(&mut self, asking: Asking<'_>, scan: &mut AnswerScan) -> Result<Came, AnswerFault> {
        // What was asked before and not answered is asked again at once.
        let mut asks_at = (!self.questions.is_empty()).then(Instant::now);
        loop {
            if let Some((sent, flight)) = self.over.take() {
                while let Ok(event) = self.heard.try_recv() {
                    self.pass(event, asking, scan).await?;
                }
                return Ok(Came::Over(sent, flight));
            }
            tokio::select! {
                biased;
                _why = asking.flight.ended() => return Ok(Came::Ended),
                Some(event) = self.heard.recv() => self.pass(event, asking, scan).await?,
                ended = &mut self.sending => self.over = Some(ended),
                () = sleep_until(asks_at.unwrap_or_else(Instant::now)), if asks_at.is_some() => return Ok(Came::Asks),
            }
            asks_at = match self.questions.is_empty() {
                true => None,
                false => asks_at.or_else(|| Some(Instant::now() + TOGETHER)),
            };
        }
    }

    async fn pass(&mut self, event: Event, asking: Asking<'_>, scan: &mut AnswerScan) -> Result<(), AnswerFault> {
        match event {
            Event::Question(upcall) => self.questions.push(upcall),
            Event::Withdrawn(number) => self.questions.retain(|question| question.number != number),
            Event::Progress(note) => {
                asking.flight.renew();
                if let Some(note) = self.progress.as_ref().and_then(|token| by(&note, token)) {
                    asking.events.offer(Event::Progress(note));
                }
            }
            Event::Log(note) => asking.events.offer(Event::Log(note)),
            Event::Part(part) => {
                let mut pieces = Pieces::default();
                scan.push(&part, &mut pieces)?;
                for piece in pieces.drain() {
                    asking.events.deliver(piece).await;
                }
            }
            // What a person did at a URL is of no revision that is asked so; quiet is told by the request's own flight.
            Event::Elicited(_) | Event::Quiet => {}
        }
        Ok(())
    }
}

/// A progress note under the token of who waits now.
fn by(note: &Bytes, token: &Bytes) -> Option<Bytes> {
    match incoming::read(note) {
        Ok(Incoming::Notification { progress_token: Some(span), .. }) => Some(incoming::with_id(note, span, token)),
        Ok(_) | Err(_) => None,
    }
}

/// Stays with it until it is over, or its server asks for what the client has to be asked: then it is parked.
pub(super) async fn attend(asking: Asking<'_>, mut errand: Box<Errand>) -> Sent {
    asking.flight.mark_sent();
    let mut scan = AnswerScan::new(errand.number, asking.call.call().client_id());
    loop {
        match errand.attended(asking, &mut scan).await {
            Err(fault) => return asking.failed(fault.to_string()),
            Ok(Came::Ended) => return Sent::Ended,
            Ok(Came::Over(sent, flight)) => {
                asking.flight.end_like(&flight);
                if flight.why().is_none() {
                    errand.refuse(&Refusal::Answered);
                }
                return match last(asking, sent, scan) {
                    Sent::Answered(answer) if answer.failed => visits::refused(asking, flight.number(), answer).await,
                    sent => sent,
                };
            }
            Ok(Came::Asks) if errand.round >= MOST_ROUNDS => {
                return asking.failed(format!("it asked for input in more than {MOST_ROUNDS} rounds"));
            }
            Ok(Came::Asks) => match put(asking, errand) {
                Ok(answer) => return Sent::Answered(answer),
                Err(back) => {
                    // No more can wait: its server is told so, and may go on without an answer.
                    errand = back;
                    errand.refuse(&Refusal::TooMany);
                }
            },
        }
    }
}

/// The last word, under the id of who waits for it.
fn last(asking: Asking<'_>, sent: Sent, mut scan: AnswerScan) -> Sent {
    let Sent::Answered(answer) = sent else { return sent };
    let mut pieces = Pieces::default();
    match scan.push(&answer.last, &mut pieces).and_then(|()| scan.finish()) {
        Ok(_) => Sent::Answered(Answer { last: joined(pieces), ..answer }),
        Err(fault) => asking.failed(fault.to_string()),
    }
}

/// Parks it, and words what its client is asked. Errors: no more can wait: it comes back.
fn put(asking: Asking<'_>, mut errand: Box<Errand>) -> Result<Answer, Box<Errand>> {
    let Asking { plane, call, .. } = asking;
    let (routed, caller, target) = (call.call(), call.caller(), call.target());
    errand.round += 1;
    let state = State::parked(errand.first, &target.backend_name, errand.name, errand.round);
    let Some(sealed) = asking.sealed(&state) else {
        return Err(errand);
    };
    let questions: Vec<_> = errand
        .questions
        .iter()
        .map(|question| (key(question), question.feature, required::for_modern(&question.params)))
        .collect();
    let of = Of {
        principal: Arc::clone(caller.principal()),
        session: caller.leg().key(),
        target: Arc::clone(target),
        ask: routed.ask,
    };
    plane.parked.hold(errand, of, &caller.view().policy.gateway.parked)?;
    let questions = questions.iter().map(|(key, feature, params)| (key.as_str(), *feature, &**params));
    let last = required::asked(&routed.client_id(), questions, Some(&sealed));
    Ok(Answer { last, failed: false, tool_error: false, word: Word::Asks })
}
