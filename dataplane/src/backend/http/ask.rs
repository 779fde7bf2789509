//! Questions of our own (handshake, listing, ping) and notifications: off the call path, each with its own timer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use super::{
    core::Core,
    fault::Fault,
    modern,
    reading::{self, Exchange, Whose},
    session::{SESSION_ID, Session},
    sse,
};
use crate::{
    backend::{
        era::{self, Era},
        listing::{Listed, Listing, Offering, shortest},
        waiting::Reply,
    },
    call::{Ask, Kind},
    tasks::Task,
    wire::outgoing,
};

/// For each question of the handshake and the listing.
pub(super) const WITHIN: Duration = Duration::from_secs(10);

pub(super) const PING: &str = "ping";
const METHOD_NOT_FOUND: i64 = -32_601;

/// A good answer.
pub(super) struct Asked {
    /// The bytes of `result`.
    pub(super) result: Bytes,
    pub(super) session_id: Option<HeaderValue>,
}

/// A request of our own, as it goes out.
#[derive(Clone, Debug)]
pub(super) struct Question<'a> {
    pub(super) session: Option<&'a Arc<Session>>,
    pub(super) headers: HeaderMap,
    pub(super) method: &'static str,
    pub(super) params: Option<&'a str>,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

/// Asks for the end of a task.
pub(super) async fn cancel_task(core: &Arc<Core>, session: &Arc<Session>, task: &Task) -> Result<(), Fault> {
    let (method, params) = (Ask::CancelTask.method(), era::about_task(task));
    let headers = match task.era {
        Era::Legacy => session.headers.clone(),
        Era::Modern => modern::headers_about(&session.headers, method, &task.own),
    };
    core.question(Question { session: Some(session), headers, method, params: Some(&params) }).await.map(drop)
}

impl Core {
    /// Errors: also `error` in the answer, and none within the time.
    pub(super) async fn ask(
        self: &Arc<Self>,
        session: Option<&Arc<Session>>,
        method: &'static str,
        params: Option<&str>,
        within: Duration,
    ) -> Result<Asked, Fault> {
        let asked = Box::pin(self.asked(session, method, params));
        tokio::time::timeout(within, asked).await.unwrap_or_else(|_elapsed| {
            Err(Fault::said(format!("it did not answer {method} within {} ms", within.as_millis())))
        })
    }

    async fn asked(
        self: &Arc<Self>,
        session: Option<&Arc<Session>>,
        method: &'static str,
        params: Option<&str>,
    ) -> Result<Asked, Fault> {
        let modern = session.filter(|session| session.is_modern());
        let marked = modern.map(|_| era::params(params));
        let headers = match modern {
            Some(session) => modern::headers_of(&session.headers, method),
            None => session.map_or(&self.base, |session| &session.headers).clone(),
        };
        let question = Question { session, headers, method, params: marked.as_deref().or(params) };
        let (found, session_id) = self.question(question).await?;
        if let (Some(_), Some(error)) = (modern, found.error) {
            modern::about_us(self, error.get(&found.message))?;
        }
        if let (PING, Some(error)) = (method, found.error) {
            let is_streams = session.is_some_and(|session| session.channel.is_some());
            if !is_streams && era::code(error.get(&found.message)) != Some(METHOD_NOT_FOUND) {
                // There is nothing in it to refuse: a server of the other era may have taken the place of the one we
                // knew.
                return Err(Fault::Lost);
            }
            // Whoever refuses a ping lives.
            return Ok(Asked { result: Bytes::new(), session_id });
        }
        result(method, &found).map(|result| Asked { result, session_id })
    }

    /// Its answer, be it `error`; and the session id that came with it.
    pub(super) async fn question(
        self: &Arc<Self>,
        question: Question<'_>,
    ) -> Result<(Reply, Option<HeaderValue>), Fault> {
        let Question { session, headers, method, params } = question;
        let number = self.number();
        let body = outgoing::request(method, params.map(str::as_bytes), number);
        if let Some((session, channel)) = session.and_then(|session| Some((session, session.channel.as_ref()?))) {
            let found = sse::question(self, session, channel, (number, body)).await;
            return Ok((found.map_err(|fault| about(method, fault))?, None));
        }
        let to = session.map_or(&self.uri, |session| &session.to);
        let response = self.send(Method::POST, to, headers, body).await.map_err(Fault::settled)?;
        let session_id = response.headers().get(SESSION_ID).cloned();
        let exchange = Exchange { core: self, session, number, whose: Whose::Own };
        let found = reading::whole_answer(&exchange, response).await.map_err(|fault| about(method, fault))?;
        Ok((found, session_id))
    }

    /// A notification. Errors: it was not accepted.
    pub(super) async fn tell(
        &self,
        session: &Session,
        method: &'static str,
        params: Option<&str>,
    ) -> Result<(), Fault> {
        let body = outgoing::notification(method, params.map(str::as_bytes));
        self.post(session, method, body).await
    }

    /// A message that has no answer.
    pub(super) async fn post(&self, session: &Session, what: &'static str, body: Bytes) -> Result<(), Fault> {
        let sent = self.send(Method::POST, &session.to, session.headers.clone(), body);
        let Ok(response) = tokio::time::timeout(WITHIN, sent).await else {
            return Err(Fault::said(format!("it did not take {what} in time")));
        };
        let status = response.map_err(Fault::settled)?.status();
        if status.is_success() {
            return Ok(());
        }
        Err(Fault::said(format!("it answered {what} with HTTP status {}", status.as_u16())))
    }

    /// All that it offers. Without its tools it is of no use; another list that can't be had is told, and what was
    /// known of it stays.
    pub(super) async fn list(self: &Arc<Self>, session: &Arc<Session>) -> Result<Listed, Fault> {
        let mut offering = Offering::new(session.agreed.abilities);
        let mut good_for = None;
        for kind in session.agreed.abilities.lists() {
            match self.list_of(session, kind).await {
                Ok(listing) => {
                    good_for = shortest(good_for, listing.good_for());
                    offering.put(kind, listing.into_entries());
                }
                Err(Fault::Broken(fault)) if kind != Kind::Tool => offering.lacks(kind, &self.backend, &fault),
                Err(fault) => return Err(fault),
            }
        }
        Ok(Listed { offering, good_for })
    }

    /// All pages of one list.
    pub(super) async fn list_of(self: &Arc<Self>, session: &Arc<Session>, kind: Kind) -> Result<Listing, Fault> {
        let mut listing = Listing::of(kind);
        let mut params = None;
        loop {
            let asked = self.ask(Some(session), kind.list_method(), params.as_deref(), WITHIN).await?;
            let next = listing.page(&asked.result).map_err(|fault| Fault::said(fault.to_string()))?;
            if next.is_none() {
                return Ok(listing);
            }
            params = next;
        }
    }
}

/// What went wrong with a question of ours.
pub(super) fn about(method: &str, fault: Fault) -> Fault {
    match fault {
        Fault::Broken(what) | Fault::Cut(what) => Fault::said(format!("{what} (to {method})")),
        Fault::Headers | Fault::Unreachable(_) | Fault::Lost | Fault::Absent(_) => fault,
    }
}

/// The bytes of `result`. Errors: it is an error.
pub(super) fn result(method: &str, reply: &Reply) -> Result<Bytes, Fault> {
    if let Some(result) = reply.result {
        return Ok(reply.message.slice(result.range()));
    }
    let error = reply.error.map_or(&b""[..], |error| error.get(&reply.message));
    Err(Fault::said(format!(
        "it answered {method} with an error: {}",
        super::client::printable(&String::from_utf8_lossy(error))
    )))
}
