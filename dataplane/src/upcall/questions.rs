//! Questions that legacy clients were asked as requests and have not answered: each by its client's session and our
//! number, so that nobody answers what another was asked, and nobody what was not asked at all.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::refusal::Refusal;
use crate::{call::Principal, in_flight::LegKey};

/// Questions under way at once.
const MOST_OF_A_SESSION: usize = 16;
const MOST: usize = 1_024;

/// What a client says to a question: the JSON of `result` or of `error`.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    Result(Bytes),
    Error(Bytes),
    /// Nothing yet: the question may be put within an answer, with these params.
    Within(Bytes),
}

/// A person's words, or a model's: only their length is told.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Result(json) => write!(f, "Result({} bytes)", json.len()),
            Self::Error(json) => write!(f, "Error({} bytes)", json.len()),
            Self::Within(json) => write!(f, "Within({} bytes)", json.len()),
        }
    }
}

#[derive(Debug, Default)]
pub struct Questions {
    waiting: Mutex<HashMap<(LegKey, u64), Waiting>>,
    last: AtomicU64,
    /// Questions under way, however their clients are asked, by session.
    under_way: Mutex<HashMap<LegKey, usize>>,
}

/// One question under way: counted until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    questions: Arc<Questions>,
    leg: LegKey,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.questions.under_way();
        if let Some(count) = under_way.get_mut(&self.leg) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.leg);
            }
        }
    }
}

#[derive(Debug)]
struct Waiting {
    of: Arc<Principal>,
    reply: oneshot::Sender<Result<Answer, Refusal>>,
}

impl Questions {
    /// Never 0, and unique in this process: so it is within each session.
    pub(super) fn number(&self) -> u64 {
        self.last.fetch_add(1, Relaxed) + 1
    }

    /// From here on this client's response to `number` is expected, in this session alone.
    pub(super) fn expect(
        &self,
        leg: LegKey,
        number: u64,
        of: Arc<Principal>,
        reply: oneshot::Sender<Result<Answer, Refusal>>,
    ) {
        self.waiting().insert((leg, number), Waiting { of, reply });
    }

    /// Nobody waits for it any more: a response that still comes is one to nothing.
    pub(super) fn forget(&self, leg: LegKey, number: u64) {
        self.waiting().remove(&(leg, number));
    }

    /// Hands a client's response to whoever asked. `id`: its token, byte for byte. False: this client was not asked that
    /// in this session, has answered already, or nobody waits any more.
    pub fn answer(&self, leg: LegKey, who: &Principal, id: &[u8], answer: Answer) -> bool {
        let number = std::str::from_utf8(id).ok().and_then(|id| id.parse::<u64>().ok());
        // As we wrote it, no other way: `1.0`, `"1"` and `01` are no ids of ours.
        let Some(number) = number.filter(|number| number.to_string().as_bytes() == id) else { return false };
        let mut waiting = self.waiting();
        if !waiting.get(&(leg, number)).is_some_and(|waiting| waiting.of.is_same_as(who)) {
            return false;
        }
        let asked = waiting.remove(&(leg, number));
        drop(waiting);
        asked.is_some_and(|asked| asked.reply.send(Ok(answer)).is_ok())
    }

    /// `None`: this session, or the plane, has too many questions under way.
    pub(super) fn enter(self: &Arc<Self>, leg: LegKey) -> Option<Place> {
        let mut under_way = self.under_way();
        let of_session = under_way.get(&leg).copied().unwrap_or(0);
        if of_session >= MOST_OF_A_SESSION || under_way.values().sum::<usize>() >= MOST {
            return None;
        }
        under_way.insert(leg, of_session + 1);
        drop(under_way);
        Some(Place { questions: Arc::clone(self), leg })
    }

    /// How many wait for their clients.
    pub fn len(&self) -> usize {
        self.waiting().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<LegKey, usize>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<(LegKey, u64), Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: LegKey = LegKey([1; 16]);

    fn client(name: &str) -> Arc<Principal> {
        let (issuer, client) = ("sentinel".into(), name.into());
        Arc::new(Principal { issuer, client, roles: Box::default(), jti: None, until: i64::MAX })
    }

    fn said() -> Answer {
        Answer::Result(Bytes::from_static(b"{}"))
    }

    #[tokio::test]
    async fn a_question_is_answered_once_by_whom_it_was_put_to_in_its_own_session() {
        let questions = Questions::default();
        let (reply, answer) = oneshot::channel();
        let number = questions.number();
        questions.expect(SESSION, number, client("a"), reply);
        let id = number.to_string();
        assert!(!questions.answer(SESSION, &client("b"), id.as_bytes(), said()), "another client");
        assert!(!questions.answer(LegKey([2; 16]), &client("a"), id.as_bytes(), said()), "another session");
        for forged in
            [format!("\"{id}\""), format!("{id}.0"), format!("0{id}"), format!("+{id}"), "2".into(), "".into()]
        {
            assert!(!questions.answer(SESSION, &client("a"), forged.as_bytes(), said()), "{forged}");
        }
        assert!(questions.answer(SESSION, &client("a"), id.as_bytes(), said()));
        assert_eq!(answer.await.ok().and_then(Result::ok), Some(said()));
        assert!(!questions.answer(SESSION, &client("a"), id.as_bytes(), said()), "a second time");
    }

    #[tokio::test]
    async fn nobody_answers_what_nobody_waits_for() {
        let questions = Questions::default();
        let (reply, answer) = oneshot::channel();
        questions.expect(SESSION, 7, client("a"), reply);
        assert_eq!(questions.len(), 1);
        questions.forget(SESSION, 7);
        assert!(answer.await.is_err());
        assert!(!questions.answer(SESSION, &client("a"), b"7", said()));
        assert!(questions.is_empty());
    }

    #[test]
    fn a_session_has_so_many_questions_under_way_and_no_more() {
        let questions = Arc::new(Questions::default());
        let mut places: Vec<_> = (0..MOST_OF_A_SESSION).map(|_| questions.enter(SESSION).unwrap()).collect();
        assert!(questions.enter(SESSION).is_none());
        assert!(questions.enter(LegKey([2; 16])).is_some(), "another session's are its own");
        places.pop();
        assert!(questions.enter(SESSION).is_some());
        drop(places);
        assert!(questions.under_way().is_empty());
    }
}
