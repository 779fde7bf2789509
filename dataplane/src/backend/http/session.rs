//! One session at the backend, shared by all calls: made by `initialize`, and what it adds to every request. With a
//! modern server it is no more than what that said of itself, and holds until it says otherwise.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header::CONTENT_LENGTH};
use tokio_util::sync::CancellationToken;

use super::{
    ask::WITHIN,
    core::Core,
    fault::Fault,
    modern,
    sse::{self, Channel},
};
use crate::{
    backend::{
        asking::Asking,
        era::{Era, Probed},
        handshake::{self, Agreed},
        spec::Transport,
    },
    denial::MODERN_REVISION,
};

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The first revision that has the version header.
const VERSION_SINCE: &str = "2025-06-18";

pub(super) struct Session {
    /// Grows from session to session.
    pub(super) generation: u64,
    /// All headers of a POST: cloned for each, values are shared.
    pub(super) headers: HeaderMap,
    /// The same of a call's, which sets some anew.
    pub(super) of_calls: HeaderMap,
    /// Without an id there is nothing to lose and nothing to delete.
    pub(super) has_id: bool,
    pub(super) agreed: Agreed,
    /// Path and query of a POST.
    pub(super) to: Uri,
    /// Of HTTP+SSE: where answers come. None: each with its POST.
    pub(super) channel: Option<Channel>,
    /// What the server asks of clients.
    pub(super) asking: Arc<Asking>,
    lost: AtomicBool,
    /// Lost or replaced: ends its stream.
    pub(super) over: CancellationToken,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("generation", &self.generation)
            .field("agreed", &self.agreed)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn is_modern(&self) -> bool {
        self.agreed.era == Era::Modern
    }

    fn new(core: &Core, generation: u64, headers: HeaderMap, has_id: bool, agreed: Agreed) -> Self {
        let of_calls = of_calls(&headers, agreed.era);
        let (asking, lost, over) = (Asking::new(), AtomicBool::new(false), core.halt.child_token());
        Self { generation, headers, of_calls, has_id, agreed, to: core.uri.clone(), channel: None, asking, lost, over }
    }

    /// Of HTTP+SSE: its stream is all that it has. `to`: where its messages are POSTed.
    pub(super) fn of_stream(core: &Core, generation: u64, to: Uri, agreed: Agreed, channel: Channel) -> Self {
        Self { to, channel: Some(channel), ..Self::new(core, generation, core.base.clone(), false, agreed) }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Relaxed)
    }

    /// The backend does not know it any more: the supervisor makes another.
    pub(super) fn lose(&self) {
        self.lost.store(true, Relaxed);
        self.asking.close();
        self.over.cancel();
        if let Some(channel) = &self.channel {
            channel.close();
        }
    }
}

/// With all that a call sets, so that no call's map has to grow.
fn of_calls(headers: &HeaderMap, era: Era) -> HeaderMap {
    let mut of_calls = headers.clone();
    of_calls.reserve(8);
    of_calls.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    if era == Era::Modern {
        modern::placed(&mut of_calls);
    }
    of_calls
}

/// In the era that the configuration says, or that the server does: it is asked each time, because a lost session most
/// often means that another program runs there now.
pub(super) async fn open(core: &Arc<Core>, generation: u64) -> Result<Arc<Session>, Fault> {
    if core.transport == Transport::Sse {
        return sse::open(core, generation).await;
    }
    if core.era == Some(Era::Legacy) {
        return legacy(core, generation).await;
    }
    match (modern::probe(core).await?, core.era) {
        (Probed::Modern(agreed), era) => {
            if era.is_none() && core.prefers_legacy {
                match initialized(core, generation).await {
                    Err(Fault::Absent(_) | Fault::Broken(_) | Fault::Lost) => {}
                    opened => return opened.map(Arc::new),
                }
            }
            let mut headers = core.base.clone();
            headers.insert(VERSION, HeaderValue::from_static(MODERN_REVISION));
            Ok(Arc::new(Session::new(core, generation, headers, false, agreed)))
        }
        (Probed::Neither(why), _) => Err(Fault::said(why)),
        (Probed::Legacy, Some(Era::Modern)) => Err(Fault::says(
            "it does not answer server/discover as a modern server does, and its `era` says that it is one",
        )),
        (Probed::Legacy, _) => legacy(core, generation).await,
    }
}

/// By `initialize`; where nothing takes it, over the transport that was there before Streamable HTTP. That too is found
/// out each time.
async fn legacy(core: &Arc<Core>, generation: u64) -> Result<Arc<Session>, Fault> {
    let absent = match initialized(core, generation).await {
        Err(Fault::Absent(status)) => format!("it answered initialize with HTTP status {}", status.as_u16()),
        opened => return opened.map(Arc::new),
    };
    if core.transport != Transport::Auto {
        return Err(Fault::said(absent));
    }
    Box::pin(sse::open(core, generation)).await.map_err(|fault| match fault {
        Fault::Unreachable(_) => fault,
        other => Fault::said(format!("{absent}; nor does it speak HTTP+SSE: {other}")),
    })
}

/// `initialize`, agree, `notifications/initialized`.
async fn initialized(core: &Arc<Core>, generation: u64) -> Result<Session, Fault> {
    let params = handshake::initialize_params(core.declares);
    let asked = core.ask(None, "initialize", Some(&params), WITHIN).await?;
    let agreed = handshake::agree(&asked.result).map_err(|fault| Fault::said(fault.to_string()))?;
    let mut headers = core.base.clone();
    let has_id = asked.session_id.is_some();
    if let Some(id) = asked.session_id {
        headers.insert(SESSION_ID, id);
    }
    if *agreed.protocol_version >= *VERSION_SINCE
        && let Ok(version) = HeaderValue::from_str(&agreed.protocol_version)
    {
        headers.insert(VERSION, version);
    }
    let session = Session::new(core, generation, headers, has_id, agreed);
    core.tell(&session, "notifications/initialized", None).await?;
    Ok(session)
}

/// Ends it at the backend. What it answers is of no interest: 405 is allowed.
pub(super) async fn delete(core: &Core, session: &Session) {
    if session.has_id && !session.is_lost() {
        core.send(Method::DELETE, &session.to, session.headers.clone(), Bytes::new()).await.ok();
    }
}
