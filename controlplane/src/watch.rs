//! ConfigService: one Watch stream a plane, from its hello to its end.
//!
//! It checks who the plane is, adopts the kills that it brings, sends kills and then the revision in force, and hands
//! what is heard to `fleet`. It decides nothing about revisions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use sentinel_proto::v1::config_service_server::ConfigService;
use sentinel_proto::v1::plane_says::Says;
use sentinel_proto::v1::{Hello, KillSet, PinsApplied, PlaneHears, PlaneSays, Report, Sighting};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::core::Core;
use crate::fleet::outbox::Outbox;
use crate::fleet::{LinkId, Proof};
use crate::guard::{self, Power, printable};
use crate::kill_set::{Kills, scope_word};
use crate::pins::{self, PinsHeld};
use crate::refusal::Refusal;
use crate::revisions::Current;
use crate::secrets::sha256;
use crate::store::error::StoreError;
use crate::store::planes::{PlaneHello, PlaneSeen};

/// How long a plane may wait with its hello.
const HELLO: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Watch {
    core: Core,
}

impl Watch {
    pub const fn new(core: Core) -> Self {
        Self { core }
    }
}

#[tonic::async_trait]
impl ConfigService for Watch {
    type WatchStream = BoxStream<'static, Result<PlaneHears, Status>>;

    async fn watch(&self, request: Request<Streaming<PlaneSays>>) -> Result<Response<Self::WatchStream>, Status> {
        let peer = guard::peer(&request);
        guard::check(&self.core.tokens, Power::Plane, request.metadata())
            .inspect_err(|refused| self.core.fleet.turn_away(&peer, refused.message()))?;
        let outbox = Outbox::new();
        let stream = outbox.stream();
        let core = self.core.clone();
        self.core.spine.tracker().spawn(async move {
            let end = converse(&core, &outbox, &peer, request.into_inner()).await;
            match end {
                Ok(()) => outbox.finish(),
                Err(status) => outbox.close(status),
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// The whole life of one stream. Errors: the status that ends it.
async fn converse(core: &Core, outbox: &Outbox, peer: &str, mut says: Streaming<PlaneSays>) -> Result<(), Status> {
    let first = tokio::select! {
        () = core.spine.stop().cancelled() => return Err(stopping()),
        first = tokio::time::timeout(HELLO, says.message()) => first,
    };
    let first = first.map_err(|_| Status::deadline_exceeded("a plane speaks first, and no hello came in 10 s"))??;
    let Some(PlaneSays { says: Some(Says::Hello(hello)) }) = first else {
        return Err(Status::invalid_argument("a plane's first message is its hello"));
    };
    let link = greet(core, outbox, peer, hello).await.inspect_err(|refused| {
        if refused.code() == Code::PermissionDenied {
            core.fleet.turn_away(peer, refused.message());
        }
    })?;
    let end = listen(core, outbox, &link, &mut says).await;
    let word = match &end {
        Ok(()) => "ended".to_owned(),
        Err(status) => status.message().to_owned(),
    };
    gone(core, &link, &word).await;
    end
}

/// Errors: who it says to be is not proved, is here already, or can't be looked up now.
async fn greet(core: &Core, outbox: &Outbox, peer: &str, mut hello: Hello) -> Result<LinkId, Status> {
    check(&hello)?;
    hello.name = printable(&hello.name, 128);
    hello.version = printable(&hello.version, 64);
    hello.listen = printable(&hello.listen, 128);
    if !core.begun.is_cancelled() {
        return Err(Status::unavailable(format!(
            "the control plane has not begun: its store is {}",
            core.keeper.word()
        )));
    }
    prove(core, &hello).await?;
    core.fleet.admit(&hello, peer).map_err(|taken| {
        tracing::warn!(peer, "{taken}");
        Status::already_exists(taken.to_string())
    })?;
    if let Some(set) = &hello.kill_set {
        let news = core.kills.adopt(set, &hello.name).await.map_err(unavailable)?;
        if !news.entries.is_empty() || !news.revocations.is_empty() {
            note_adoption(core, &hello.name, &news).await;
        }
    }
    if let Some(current) = core.revisions.current() {
        let other = hello.digest != current.revision.digest;
        let number = current.revision.number;
        if hello.revision > number || (hello.revision == number && other) {
            core.revisions.renumber_above(hello.revision, &hello.name).await.map_err(unavailable)?;
        }
    }
    // Kills wait in the outbox before there is a link, so that nothing can come before them.
    let whole = core.kills.see(Kills::whole);
    let current = core.revisions.current();
    outbox.kill(whole.clone());
    // Likewise pins: the first View of a plane is made by them.
    let pinned = core.pins.see(PinsHeld::whole);
    outbox.pins(pinned.clone());
    let welcome = current.as_ref().map(|current| current.candidate().prepare());
    let link = core
        .fleet
        .attach(&hello, peer, outbox, welcome.as_ref())
        .map_err(|taken| Status::already_exists(taken.to_string()))?;
    // What happened between looking and the link being there.
    if core.kills.see(Kills::epoch) != whole.epoch {
        outbox.kill(core.kills.see(Kills::whole));
    }
    if core.pins.see(PinsHeld::epoch) != pinned.epoch {
        outbox.pins(core.pins.see(PinsHeld::whole));
    }
    let number = |current: &Option<Arc<Current>>| current.as_ref().map(|current| current.revision.number);
    if number(&core.revisions.current()) != number(&current) {
        core.revisions.catch_up();
    }
    tracing::info!(plane = hello.name, id = hello.plane_id, peer, revision = hello.revision, "a plane has come");
    Ok(link)
}

fn check(hello: &Hello) -> Result<(), Status> {
    let refuse = |what: &str| Err(Status::invalid_argument(format!("this hello can't be taken: {what}")));
    let is_uuid = uuid::Uuid::try_parse(&hello.plane_id).is_ok_and(|id| id.to_string() == hello.plane_id);
    if !is_uuid {
        return refuse("plane_id is no UUID in its usual form");
    }
    if hello.secret.len() != 32 {
        return refuse("the secret has not 32 bytes");
    }
    if hello.boot == 0 || i64::try_from(hello.boot).is_err() {
        return refuse("boot is not 63 random bits");
    }
    Ok(())
}

/// The plane's secret is the one of its first hello. Errors: `PERMISSION_DENIED`, `UNAVAILABLE`.
async fn prove(core: &Core, hello: &Hello) -> Result<(), Status> {
    let wrong = |why: &StoreError| Status::permission_denied(why.to_string());
    let at_unix_ms = core.clock.unix_ms();
    let said = PlaneHello {
        id: hello.plane_id.clone(),
        name: hello.name.clone(),
        version: hello.version.clone(),
        secret_hash: sha256(&hello.secret),
        at_unix_ms,
    };
    match core.fleet.proof(&hello.plane_id, &hello.secret) {
        Proof::Wrong => Err(wrong(&StoreError::WrongPlaneSecret { id: hello.plane_id.clone() })),
        Proof::Known => {
            // The store only notes the time here: without it the plane is welcome all the same.
            if let Ok(store) = core.keeper.store()
                && let Err(why) = store.plane_hello(&said).await
            {
                tracing::warn!(plane = hello.name, %why, "a known plane's hello could not be noted");
            }
            Ok(())
        }
        Proof::AskStore => {
            let store = core.keeper.store().map_err(|away| unavailable(away.into()))?;
            store.plane_hello(&said).await.map_err(|why| match why {
                StoreError::WrongPlaneSecret { .. } => wrong(&why),
                _ => unavailable(why.into()),
            })
        }
    }
}

async fn note_adoption(core: &Core, plane: &str, news: &KillSet) {
    let local = news.entries.iter().filter(|entry| !entry.origin.is_empty()).map(|entry| {
        let verb = if entry.on { "kill" } else { "lift" };
        format!("{verb} {} {} by {} ({})", scope_word(entry.scope()), entry.name, entry.by, entry.reason)
    });
    let local: Vec<String> = local.collect();
    let local = if local.is_empty() { String::new() } else { format!("; on the plane itself: {}", local.join(", ")) };
    let action = crate::store::actions::NewAction {
        at_unix_ms: core.clock.unix_ms(),
        user: "sentinel-controlplane".to_owned(),
        host: String::new(),
        verb: "epoch.adopt".to_owned(),
        target: format!("plane {plane}"),
        reason: printable(&format!("{} entries, epoch {}{local}", news.entries.len(), news.epoch), 2048),
    };
    if let Ok(store) = core.keeper.store()
        && let Ok(id) = store.begin_action(&action).await
        && let Err(why) = store.finish_action(id, "done").await
    {
        tracing::error!(%why, "an adoption could not be noted");
    }
}

/// Hears the plane until one side ends the stream. Errors: the status that ends it.
async fn listen(core: &Core, outbox: &Outbox, link: &LinkId, says: &mut Streaming<PlaneSays>) -> Result<(), Status> {
    loop {
        let message = tokio::select! {
            () = core.spine.stop().cancelled() => return Err(stopping()),
            () = outbox.closed() => return Ok(()),
            message = says.message() => message?,
        };
        let Some(message) = message else {
            return Ok(());
        };
        match message.says {
            Some(Says::Prepared(said)) => core.fleet.prepared(link, said),
            Some(Says::Applied(said)) => core.fleet.applied(link, said),
            Some(Says::KillApplied(said)) => core.fleet.kill_applied(link, said),
            Some(Says::Report(said)) => report(core, link, said).await,
            Some(Says::Sightings(said)) => sighted(core, link, said.tools),
            Some(Says::PinsApplied(said)) => pinned(core, link, said),
            Some(Says::CommandDone(said)) => core.fleet.command_done(link, said),
            // The end of the stream tells the plane that its goodbye was heard.
            Some(Says::Goodbye(_)) => {
                core.fleet.goodbye(link);
                return Ok(());
            }
            Some(Says::Hello(_)) => {
                return Err(Status::invalid_argument("a second hello on one stream"));
            }
            // A newer plane's message: additive changes are not ours to refuse.
            None => {}
        }
    }
}

/// A store that is away now adopts the pairs of names with a later report: each brings them.
async fn report(core: &Core, link: &LinkId, mut said: Report) {
    let entries = std::mem::take(&mut said.filled);
    core.fleet.report(link, said);
    if entries.is_empty() {
        return;
    }
    let set = KillSet { entries, ..KillSet::default() };
    match core.kills.adopt(&set, &link.plane).await {
        // Thrown or lifted on the plane itself: an operator did something there.
        Ok(news) if news.entries.iter().any(|entry| !entry.origin.is_empty()) => {
            note_adoption(core, &link.plane, &news).await;
        }
        Ok(_) => {}
        Err(why) => tracing::debug!(plane = link.plane, %why, "what a plane knows of kill switches waits"),
    }
}

/// Keeps what was sighted, and pins what is trusted. Not on the stream's task: a kill's acknowledgement may be next.
/// What the store does not take now is told again.
fn sighted(core: &Core, link: &LinkId, mut tools: Vec<Sighting>) {
    tools.retain(pins::is_sane);
    core.fleet.sighted(link, tools.clone());
    let (core, id) = (core.clone(), link.plane.clone());
    core.spine.tracker().clone().spawn(async move {
        let plane = name(&core, &id);
        match core.pins.seen(&tools, &plane, core.clock.unix_ms()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(plane, count, "tools are pinned as they were seen first"),
            Err(why) => tracing::debug!(plane, %why, "what a plane saw first waits to be pinned"),
        }
    });
}

fn pinned(core: &Core, link: &LinkId, said: PinsApplied) {
    core.fleet.pins_applied(link, said.epoch);
    if said.brings.is_empty() {
        return;
    }
    let (core, id) = (core.clone(), link.plane.clone());
    core.spine.tracker().clone().spawn(async move {
        let plane = name(&core, &id);
        match core.pins.adopt(said.brings, &plane).await {
            Ok(count) => tracing::warn!(plane, count, "adopted pins that this plane knew and the store did not"),
            Err(why) => {
                tracing::warn!(plane, %why, "a plane's pins could not be adopted; it brings them with its next stream")
            }
        }
    });
}

fn name(core: &Core, plane: &str) -> String {
    core.fleet.see(|all| all.get(plane).map_or_else(|| plane.to_owned(), |plane| plane.name.clone()))
}

/// Notes the end, in memory at once and in the store as far as it is there.
async fn gone(core: &Core, link: &LinkId, word: &str) {
    core.fleet.detach(link);
    let last = core.fleet.see(|all| {
        let plane = all.get(&link.plane).filter(|plane| plane.link.is_none())?;
        Some((plane.name.clone(), plane.stopped, plane.last_seen_ms, plane.revision, plane.epoch))
    });
    let Some((name, stopped, at_unix_ms, revision, epoch)) = last else {
        return;
    };
    if stopped {
        tracing::info!(plane = name, "a plane said goodbye");
    } else {
        tracing::warn!(plane = name, why = word, "a plane was lost");
    }
    let Ok(store) = core.keeper.store() else {
        return;
    };
    let id = link.plane.clone();
    let noted = if stopped {
        store.plane_goodbye(&id, at_unix_ms).await
    } else {
        store.plane_seen(&PlaneSeen { id, at_unix_ms, revision: Some(revision), epoch: Some(epoch) }).await
    };
    if let Err(why) = noted {
        tracing::warn!(plane = name, %why, "a plane's end could not be noted");
    }
}

fn stopping() -> Status {
    Status::unavailable("the control plane is stopping")
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err, which gives the value")]
fn unavailable(why: Refusal) -> Status {
    Status::unavailable(why.to_string())
}
