//! What one server session asks of clients: handed up to the plane, and held here until it is answered, taken back by
//! the server, or the session ends. Bounded in number and rate; it decides nothing about who is asked.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{flood::Flood, isolation::Owner};
use crate::{
    call::BackendId,
    upcall::{Asked, feature::Feature, questions::Answer, refusal::Refusal},
    wire::outgoing,
};

/// Questions of one server session that wait for their answers.
const WAITING: usize = 32;
/// A server that asks more is refused: a client's automatic answers must not become its clock.
const RATE: u32 = 100;
const WINDOW: Duration = Duration::from_secs(10);

/// The way from a link to the plane.
#[derive(Clone, Debug)]
pub struct Desk {
    pub backend: BackendId,
    pub name: Arc<str>,
    pub owner: Owner,
    pub asks: mpsc::Sender<Asked>,
}

/// One request of a server.
#[derive(Debug)]
pub struct Request {
    /// The server's token.
    pub id: Bytes,
    pub feature: Feature,
    /// An object.
    pub params: Bytes,
    /// The call in whose answer stream it came.
    pub call: Option<u64>,
}

#[derive(Debug)]
pub struct Asking {
    /// By the server's id.
    waiting: Mutex<HashMap<Bytes, CancellationToken>>,
    recent: Mutex<Flood>,
    /// The session is over.
    closed: CancellationToken,
}

impl Asking {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            recent: Mutex::new(Flood::new(RATE, WINDOW)),
            closed: CancellationToken::new(),
        })
    }

    /// Hands it up. The future gives the whole answer for the server; none: it wants none any more.
    ///
    /// Errors: the whole refusal, where too many wait, come too fast, or one of this id waits already.
    pub fn begin(
        self: &Arc<Self>,
        desk: &Desk,
        request: Request,
    ) -> Result<impl Future<Output = Option<Bytes>> + Send + use<>, Bytes> {
        let Request { id, feature, params, call } = request;
        let refused = |refusal: &Refusal| refusal.told(feature, &id).unwrap_or_default();
        let recent = &mut self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = self.waiting();
        if self.closed.is_cancelled() || waiting.len() >= WAITING || waiting.contains_key(&id) || recent.note() {
            return Err(refused(&Refusal::TooMany));
        }
        let (reply, answered) = oneshot::channel();
        let (backend, backend_name, owner) = (desk.backend, Arc::clone(&desk.name), desk.owner.clone());
        let asked = Asked { backend, backend_name, owner, call, feature, params, within: false, reply };
        if desk.asks.try_send(asked).is_err() {
            return Err(refused(&Refusal::TooMany));
        }
        let withdrawn = self.closed.child_token();
        waiting.insert(id.clone(), withdrawn.clone());
        drop(waiting);
        let open = Open { asking: Arc::clone(self), id };
        Ok(async move {
            let answer = withdrawn.run_until_cancelled(answered).await?;
            let id = &open.id;
            // Dropped: the plane ends.
            match answer.unwrap_or(Err(Refusal::Over)) {
                Ok(Answer::Result(result)) => Some(outgoing::result(id, &result)),
                Ok(Answer::Error(error)) => Some(outgoing::failed(id, &error)),
                Ok(Answer::Within(_)) => Refusal::Unreachable.told(feature, id),
                Err(refusal) => refusal.told(feature, id),
            }
        })
    }

    /// The server takes its question back: it gets no answer, and its client is told.
    pub fn withdraw(&self, id: &[u8]) {
        if let Some(waiting) = self.waiting().get(id) {
            waiting.cancel();
        }
    }

    /// The session is over: nothing of it is answered any more.
    pub fn close(&self) {
        self.closed.cancel();
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Bytes, CancellationToken>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Open {
    asking: Arc<Asking>,
    id: Bytes,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.asking.waiting().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> (Desk, mpsc::Receiver<Asked>) {
        let (asks, asked) = mpsc::channel(256);
        (Desk { backend: BackendId(1), name: "s".into(), owner: Owner::Shared, asks }, asked)
    }

    fn request(id: usize) -> Request {
        let params = Bytes::from_static(b"{}");
        Request { id: id.to_string().into(), feature: Feature::Sampling, params, call: None }
    }

    #[tokio::test]
    async fn an_answer_comes_back_under_the_servers_own_id() {
        let (desk, mut asked) = desk();
        let asking = Asking::new();
        let first = asking.begin(&desk, Request { id: "\"a\"".into(), ..request(0) }).unwrap();
        let second = asking.begin(&desk, request(2)).unwrap();
        let answers =
            [Answer::Result(Bytes::from_static(b"{\"r\":1}")), Answer::Error(Bytes::from_static(b"{\"code\":-1}"))];
        for answer in answers {
            asked.recv().await.unwrap().reply.send(Ok(answer)).unwrap();
        }
        assert_eq!(first.await.unwrap(), r#"{"jsonrpc":"2.0","id":"a","result":{"r":1}}"#);
        assert_eq!(second.await.unwrap(), r#"{"jsonrpc":"2.0","id":2,"error":{"code":-1}}"#);
        assert!(asking.waiting().is_empty());
    }

    #[tokio::test]
    async fn a_question_that_is_taken_back_is_seen_by_who_answers_and_gets_no_answer() {
        let (desk, mut asked) = desk();
        let asking = Asking::new();
        let question = asking.begin(&desk, request(1)).unwrap();
        assert!(asking.begin(&desk, request(1)).is_err(), "one of this id waits");
        asking.withdraw(b"7");
        asking.withdraw(b"1");
        assert_eq!(question.await, None);
        asked.recv().await.unwrap().reply.closed().await;
        let last = asking.begin(&desk, request(1)).unwrap();
        asking.close();
        assert_eq!(last.await, None);
        assert!(asking.begin(&desk, request(2)).is_err(), "its session is over");
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_and_too_fast_are_refused() {
        let (desk, mut asked) = desk();
        let asking = Asking::new();
        let waiting: Vec<_> = (0..WAITING).map(|id| asking.begin(&desk, request(id)).unwrap()).collect();
        let refused = asking.begin(&desk, request(100)).err().unwrap();
        assert!(refused.starts_with(br#"{"jsonrpc":"2.0","id":100,"error":{"code":-32603"#));
        drop(waiting);
        let mut taken = 0;
        for id in 0..200 {
            taken += usize::from(asking.begin(&desk, request(id)).is_ok());
            while asked.try_recv().is_ok() {}
        }
        assert!(taken < 100, "{taken}");
    }
}
