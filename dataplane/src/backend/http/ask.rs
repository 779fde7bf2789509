//! Questions of our own (handshake, listing, ping) and notifications: off the call path, each with its own timer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::{
    core::Core,
    fault::Fault,
    reading::{self, Exchange, Whose},
    session::{SESSION_ID, Session},
};
use crate::{
    backend::listing::{Listing, Offered, Offering},
    call::Kind,
    wire::outgoing,
};

/// For each question of the handshake and the listing.
pub(super) const WITHIN: Duration = Duration::from_secs(10);

/// A good answer.
pub(super) struct Asked {
    /// The bytes of `result`.
    pub(super) result: Bytes,
    pub(super) session_id: Option<HeaderValue>,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
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
        let number = self.number();
        let body = outgoing::request(method, params.map(str::as_bytes), number);
        let headers = session.map_or(&self.base, |session| &session.headers).clone();
        let response = self.send(Method::POST, headers, body).await?;
        let session_id = response.headers().get(SESSION_ID).cloned();
        let exchange = Exchange { core: self, session, number, whose: Whose::Own };
        let found = reading::whole_answer(&exchange, response).await.map_err(|fault| match fault {
            Fault::Broken(what) => Fault::said(format!("{what} (to {method})")),
            Fault::Unreachable(_) | Fault::Lost => fault,
        })?;
        if let Some(result) = found.result {
            return Ok(Asked { result: found.message.slice(result.range()), session_id });
        }
        let error = found.error.map_or(&b""[..], |error| error.get(&found.message));
        Err(Fault::said(format!(
            "it answered {method} with an error: {}",
            super::client::printable(&String::from_utf8_lossy(error))
        )))
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
        let sent = self.send(Method::POST, session.headers.clone(), body);
        let Ok(response) = tokio::time::timeout(WITHIN, sent).await else {
            return Err(Fault::said(format!("it did not take {what} in time")));
        };
        let status = response?.status();
        if status.is_success() {
            return Ok(());
        }
        Err(Fault::said(format!("it answered {what} with HTTP status {}", status.as_u16())))
    }

    /// All that it offers. Without its tools it is of no use; another list that can't be had is told, and what was
    /// known of it stays.
    pub(super) async fn list(self: &Arc<Self>, session: &Arc<Session>) -> Result<Offering, Fault> {
        let mut offering = Offering::new(session.agreed.abilities);
        for kind in session.agreed.abilities.lists() {
            match self.list_of(session, kind).await {
                Ok(entries) => offering.put(kind, entries),
                Err(Fault::Broken(fault)) if kind != Kind::Tool => offering.lacks(kind, &self.backend, &fault),
                Err(fault) => return Err(fault),
            }
        }
        Ok(offering)
    }

    /// All pages of one list.
    async fn list_of(self: &Arc<Self>, session: &Arc<Session>, kind: Kind) -> Result<Vec<Offered>, Fault> {
        let mut listing = Listing::of(kind);
        let mut params = None;
        loop {
            let asked = self.ask(Some(session), kind.list_method(), params.as_deref(), WITHIN).await?;
            let next = listing.page(&asked.result).map_err(|fault| Fault::said(fault.to_string()))?;
            if next.is_none() {
                return Ok(listing.into_entries());
            }
            params = next;
        }
    }
}
