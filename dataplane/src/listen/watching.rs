//! Single resources that clients are told of: who may ask for one (as who may read it), and how it comes to be watched at
//! its server, once for all. Legacy clients say `resources/subscribe`, modern ones name it in `subscriptions/listen`.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    feeds::{Hold, Job, MOST_RESOURCES, Who},
    local, message,
    session::Level,
};
use crate::{
    backend::{
        abilities::Ability,
        wanted::{Standing, Wanted},
    },
    call::{Ask, Caller, RequestId},
    catalogue::Target,
    denial::{Denial, Failure, Unavailable},
    plane::Plane,
    stages::{limits, visible},
    view::View,
    wire::{outgoing, scan::Scanned},
};

/// How long a legacy client waits for its server's word.
const ASKED: Duration = Duration::from_secs(10);
/// How long a stream of several may keep its first word back.
const GRANTED: Duration = Duration::from_secs(2);
/// After a reload: its server may have to start.
const MOVED: Duration = Duration::from_secs(60);
/// How long a client waits for its servers to take its level.
const LEVELLED: Duration = Duration::from_secs(1);
/// Changes of so long are told as one.
const GATHER: Duration = Duration::from_millis(20);

/// Why a resource is not watched.
enum Refused {
    Denied(Denial),
    Failed(Failure),
    /// Its server's own JSON-RPC error.
    Said(Bytes),
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

/// An answer that a server has to be asked for.
pub struct Soon(Pin<Box<dyn Future<Output = (Bytes, Option<Denial>)> + Send>>);

impl Future for Soon {
    type Output = (Bytes, Option<Denial>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Soon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Soon")
    }
}

/// What a session asks about a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    Subscribe,
    Unsubscribe,
}

impl Asking {
    pub(super) fn read(method: &str) -> Option<Self> {
        match method {
            "resources/subscribe" => Some(Self::Subscribe),
            "resources/unsubscribe" => Some(Self::Unsubscribe),
            _ => None,
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Subscribe => "resources/subscribe",
            Self::Unsubscribe => "resources/unsubscribe",
        }
    }
}

/// `resources/subscribe` and its opposite, of a legacy session.
pub(super) fn answer(
    plane: &Arc<Plane>,
    caller: Caller,
    body: &Bytes,
    scanned: Scanned,
    id: RequestId,
    asking: Asking,
) -> Soon {
    let (plane, body) = (Arc::clone(plane), body.clone());
    Soon(Box::pin(async move {
        let outcome = match asking {
            Asking::Subscribe => subscribe(&plane, &caller, &body, &scanned).await,
            Asking::Unsubscribe => unsubscribe(&plane, &caller, &body, &scanned).map_err(Refused::Denied),
        };
        let client_id = scanned.id.map_or(&b"null"[..], |span| span.get(&body));
        match outcome {
            Ok(()) => (outgoing::result(client_id, b"{}"), None),
            Err(Refused::Said(error)) => (outgoing::failed(client_id, &error), None),
            Err(Refused::Failed(failure)) => {
                let told = failure.told(&id.to_string());
                (outgoing::error(Some(client_id), told.code, &told.message, Some(told.data.as_bytes())), None)
            }
            Err(Refused::Denied(denial)) => {
                message::recorded(&plane, &caller, asking.method(), id, &denial);
                local::answer(&body, &scanned, id, Err(denial))
            }
        }
    }))
}

/// `logging/setLevel`: answered when servers that can be reached send what it asks for.
pub(super) fn levelled(plane: &Arc<Plane>, body: &Bytes, scanned: &Scanned, level: Level) -> Soon {
    let answer = outgoing::result(scanned.id.map_or(&b"null"[..], |span| span.get(body)), b"{}");
    let shared = plane.backends.all().into_iter().filter(|backend| backend.instances.is_none());
    let ready: Vec<_> = shared.filter(|backend| backend.link.look().is_ok()).collect();
    Soon(Box::pin(async move {
        join_all(ready.iter().map(|backend| backend.wanted.sends(level, LEVELLED))).await;
        (answer, None)
    }))
}

/// The URI that it is about. Errors: also `MethodNotFound`, where this caller was offered no such thing.
fn asked_of(plane: &Plane, caller: &Caller, body: &[u8], scanned: &Scanned) -> Result<Arc<str>, Denial> {
    limits::client::charge(caller, &plane.buckets)?;
    if !caller.view().abilities(caller.principal()).can(Ability::Subscriptions) {
        return Err(Denial::MethodNotFound);
    }
    let uri = scanned.uri.and_then(|uri| uri.text(body));
    uri.map(Into::into).ok_or_else(|| Denial::InvalidParams { what: "params.uri is missing, or no string".into() })
}

async fn subscribe(plane: &Plane, caller: &Caller, body: &[u8], scanned: &Scanned) -> Result<(), Refused> {
    plane.gate.caller(caller.principal()).map_err(Denial::Disabled)?;
    let uri = asked_of(plane, caller, body, scanned)?;
    let who = Who::of(caller);
    let target = may_watch(plane, caller.view(), &who, &uri)?;
    if plane.feeds.holds(&who, &uri) {
        return Ok(());
    }
    if !plane.feeds.has_room(&who, &uri) {
        let what = format!("a session is told of {MOST_RESOURCES} resources at most; unsubscribe from others");
        return Err(Denial::InvalidParams { what: what.into() }.into());
    }
    let hold = watch(plane, &who, &uri, &target, ASKED).await?;
    plane.feeds.hold(&who, &uri, hold);
    Ok(())
}

/// Whatever it is: nothing is said about what is not watched.
fn unsubscribe(plane: &Plane, caller: &Caller, body: &[u8], scanned: &Scanned) -> Result<(), Denial> {
    let uri = asked_of(plane, caller, body, scanned)?;
    plane.feeds.let_go(caller.leg().key(), &uri);
    Ok(())
}

/// The decision, as for reading it. Errors: `UnknownResource` for what is not there or not shown, `Disabled`,
/// `InvalidParams` where its server tells of nothing.
fn may_watch(plane: &Plane, view: &View, who: &Who, uri: &Arc<str>) -> Result<Arc<Target>, Denial> {
    let ask = Ask::ReadResource;
    let target = view.catalogue.target(ask, uri).cloned();
    let target = visible::shown(&view.policy, &who.principal, (ask, uri), target)?;
    target.may_be_used().map_err(Denial::Disabled)?;
    if let Some(disabled) = plane.gate.judges(&who.principal, &target) {
        return Err(Denial::Disabled(disabled));
    }
    if !view.catalogue.can(&target.backend_name, Ability::Subscriptions) {
        return Err(Denial::InvalidParams { what: "the server of this resource tells of no changes".into() });
    }
    Ok(target)
}

/// Has its server tell of it. Dropped half-way, nobody wants it.
async fn watch(plane: &Plane, who: &Who, uri: &Arc<str>, target: &Target, within: Duration) -> Result<Hold, Refused> {
    let unavailable = |state| {
        let backend = Arc::clone(&target.backend_name);
        Refused::Failed(Failure::BackendUnavailable { backend, state, retry_after: None })
    };
    let backend = plane.backends.find(target.backend).ok_or_else(|| unavailable(Unavailable::Removed))?;
    let backend = match &backend.instances {
        None => backend,
        Some(instances) => {
            let own = plane.backends.instance(&backend, instances, (who.leg, &who.principal));
            own.ok_or_else(|| unavailable(Unavailable::Full))?
        }
    };
    let watch = backend.wanted.watch(uri).ok_or_else(|| unavailable(Unavailable::Full))?;
    match watch.settled(within).await {
        Standing::Held => Ok(Hold { backend: target.backend, watch }),
        Standing::Refused(Some(error)) => Err(Refused::Said(error)),
        Standing::Refused(None) => {
            let what = "the server of this resource does not tell of its changes".into();
            Err(Denial::InvalidParams { what }.into())
        }
        Standing::Waiting => Err(Refused::Failed(match backend.link.look() {
            Err(failure) => failure,
            Ok(()) => Failure::Timeout { backend: Arc::clone(&target.backend_name), timeout: within },
        })),
    }
}

/// What a modern stream is granted of these, as its first word.
pub(super) async fn grant(plane: Arc<Plane>, view: Arc<View>, who: Who, stream: u64, uris: Vec<Arc<str>>) {
    let (plane, view, who) = (&plane, &view, &who);
    let each = uris.into_iter().map(|uri| async move {
        let target = may_watch(plane, view, who, &uri).ok()?;
        let hold = watch(plane, who, &uri, &target, GRANTED).await.ok()?;
        Some((uri, hold))
    });
    let held = join_all(each).await.into_iter().flatten().collect();
    plane.feeds.acknowledge(stream, held);
}

/// Fits what is watched to the View that is in force now; what moves to another server is watched there in the background.
pub fn follow(plane: &Arc<Plane>, view: &Arc<View>) {
    for Job { holder, who, uri, target } in plane.feeds.follow(view) {
        let here = Arc::clone(plane);
        plane.tracker.spawn(async move {
            let watching = watch(&here, &who, &uri, &target, MOVED);
            // Who has gone, or was moved again, has no need of it.
            if let Ok(hold) = watching.await {
                here.feeds.moved(holder, &uri, hold);
            }
        });
    }
}

/// Tells clients what servers say has changed, until `stop`.
pub async fn tell(plane: Arc<Plane>, mut updated: mpsc::Receiver<Arc<Wanted>>, stop: CancellationToken) {
    while let Some(Some(first)) = stop.run_until_cancelled(updated.recv()).await {
        tokio::time::sleep(GATHER).await;
        let mut next = Some(first);
        while let Some(of) = next {
            if let Some(view) = plane.views.load_full() {
                for uri in of.take_updates() {
                    plane.feeds.updated(&of, &uri, &view, &plane.gate);
                }
            }
            next = updated.try_recv().ok();
        }
    }
}
