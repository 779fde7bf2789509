//! The plane with all its parts: who is started when, when it begins to serve, and its end.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use sentinel_dataplane::{
    audit::ship::{self, Credentials},
    call, explain,
    feed::{Feed, Operate},
    kill::{Kills, Memory},
    listen::attach::{self, order::Orders},
    ops::status::Look,
    plane::{Life, Plane},
    view::{
        judge,
        task::{InForce, ViewMessage},
    },
};
use sentinel_proto::v1::{Command, CommandDone, command::What as Asked};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

use crate::{
    alone::{Client, Room},
    drain::{Signals, Stops, drain},
    look::SAME_USER,
    ports::Door,
    spine::Spines,
    start::Ground,
};

/// How long a plane that said goodbye waits to hear the control plane before it serves what it knows.
const UNHEARD: Duration = Duration::from_secs(10);
/// The same for a plane of one client, that waits for its first answer.
const UNHEARD_ALONE: Duration = Duration::from_secs(4);
/// Descriptors that are not for clients' connections.
const RESERVED_FILES: u64 = 256;
const BUG: u8 = 255;

pub(crate) struct Running {
    pub(crate) ground: Ground,
    pub(crate) plane: Arc<Plane>,
    pub(crate) kills: Arc<Kills>,
    pub(crate) inbox: mpsc::Sender<ViewMessage>,
    pub(crate) look: Look,
    pub(crate) applied: watch::Receiver<InForce>,
    /// Something changed that the control plane should hear.
    pub(crate) changed: Arc<Notify>,
    pub(crate) stops: Stops,
    pub(crate) spines: Spines,
    /// Accept loops and connections.
    pub(crate) listeners: TaskTracker,
    /// What speaks to the control plane.
    pub(crate) news: TaskTracker,
    /// Everything else.
    pub(crate) tracker: TaskTracker,
}

impl Running {
    /// Until a signal, or until a spine breaks, or until its one client has left; then drains. Errors: a listener can't
    /// be made.
    pub(crate) async fn serve(
        mut self,
        channel: Channel,
        memory: Memory,
        client: Option<Client>,
        signals: &mut Signals,
    ) -> anyhow::Result<ExitCode> {
        let stop = self.stops.all.clone();
        self.spines.spawn("tick", stop.clone(), Arc::clone(&self.plane).tick(stop));
        self.spawn_trail();
        let heard = self.spawn_feed(channel.clone())?;
        self.spawn_ship(channel, heard.clone());
        self.revive();
        let is_alone = client.is_some();
        self.begin_serving(memory, heard, is_alone);
        let left = match client {
            Some(client) => Some(self.attend(client)),
            None => {
                self.open_doors()?;
                None
            }
        };
        self.watch_for_children();
        let code = tokio::select! {
            name = signals.asked() => {
                tracing::info!("{name}: ending in order");
                ExitCode::SUCCESS
            }
            () = self.spines.broken().cancelled() => ExitCode::from(BUG),
            code = left_by(left) => {
                tracing::info!("the client has left: ending in order");
                code
            }
        };
        drain(&self.plane, &self.stops, &self.listeners, &self.news, signals).await;
        self.tracker.close();
        if tokio::time::timeout(Duration::from_secs(1), self.tracker.wait()).await.is_err() {
            tracing::debug!(left = self.tracker.len(), "tasks are dropped with the runtime");
        }
        Ok(code)
    }

    fn spawn_trail(&self) {
        let (plane, stop) = (Arc::clone(&self.plane), self.stops.trail.clone());
        let until = stop.clone();
        self.spines.spawn("trail", stop, async move { plane.audit.tick(until).await });
    }

    /// The stream to the control plane. The receiver turns true when its kill set is in force.
    fn spawn_feed(&self, channel: Channel) -> anyhow::Result<watch::Receiver<bool>> {
        let ground = &self.ground;
        let (heard, is_heard) = watch::channel(false);
        let changed = Arc::clone(&self.changed);
        let plane = Arc::clone(&self.plane);
        let feed = Feed {
            channel,
            token: ground.token.clone(),
            home: Arc::clone(&ground.home),
            identity: Arc::clone(&ground.identity),
            name: ground.flags.plane_name.clone().unwrap_or_else(host_name),
            listen: ground.ports.as_ref().map_or_else(String::new, |ports| ports.mcp_at.to_string()),
            kills: Arc::clone(&self.kills),
            view: self.inbox.clone(),
            look: self.look.clone(),
            changed: Arc::clone(&changed),
            operate: Operate::new(move |command| operate(&plane, command)),
            heard,
            contact: Arc::clone(&self.plane.contact),
            clock: self.plane.clock.clone(),
            tracker: self.tracker.clone(),
        };
        let leave = self.stops.feed.clone();
        let spines = self.spines.clone().on(self.news.clone());
        spines.spawn("feed", leave.clone(), feed.run(leave));
        let (mut applied, stop) = (self.applied.clone(), self.stops.all.clone());
        self.tracker.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    change = applied.changed() => match change {
                        Ok(()) => changed.notify_one(),
                        Err(_) => return,
                    },
                }
            }
        });
        Ok(is_heard)
    }

    /// Brings records to the control plane, once it was heard: it takes none of a plane that has not said hello.
    fn spawn_ship(&self, channel: Channel, mut heard: watch::Receiver<bool>) {
        let (spool, token) = (self.plane.audit.spool.clone(), self.ground.token.clone());
        let (identity, stop) = (Arc::clone(&self.ground.identity), self.stops.ship.clone());
        let until = stop.clone();
        let spines = self.spines.clone().on(self.news.clone());
        spines.spawn("ship", stop, async move {
            let credentials = move || {
                let token = token.text()?;
                Credentials::new(token.expose_secret(), identity.id, &identity.secret).ok()
            };
            tokio::select! {
                () = until.cancelled() => return,
                heard = heard.wait_for(|heard| *heard) => if heard.is_err() { return },
            }
            let first = loop {
                if let Some(first) = credentials() {
                    break first;
                }
                tokio::select! {
                    () = until.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            };
            let connect = move || (channel.clone(), credentials().unwrap_or_else(|| first.clone()));
            ship::run(spool, connect, until).await;
        });
    }

    /// What was in force when this plane ended last.
    fn revive(&self) {
        let kept = self.ground.kept.clone();
        if kept.is_empty() {
            return;
        }
        let inbox = self.inbox.clone();
        self.tracker.spawn(async move {
            let (reply, revived) = oneshot::channel();
            if inbox.send(ViewMessage::Revive { kept, reply }).await.is_err() {
                return;
            }
            match revived.await {
                Ok(Ok(revision)) => tracing::info!(revision, "last-known-good snapshot in force"),
                Ok(Err(faults)) => {
                    for fault in faults {
                        tracing::error!("{fault}");
                    }
                }
                Err(_) => {}
            }
        });
    }

    /// At once; or, where kills may stand that this disk does not know, when the control plane was heard.
    fn begin_serving(&self, memory: Memory, mut heard: watch::Receiver<bool>, is_alone: bool) {
        let life = self.plane.life.clone();
        let begin = move || {
            life.send_if_modified(|life| {
                let begins = *life == Life::Starting;
                if begins {
                    *life = Life::Serving;
                }
                begins
            })
        };
        let limit = match memory {
            Memory::Doubtful(why) => {
                tracing::error!(why, "serving waits for the control plane's kill set");
                None
            }
            // A client waits for the first answer of a plane of its own: not for a control plane that does not run.
            Memory::Whole if is_alone && !self.ground.control_plane.may_answer() => {
                begin();
                return;
            }
            Memory::Whole if self.ground.home.said_goodbye() => Some(if is_alone { UNHEARD_ALONE } else { UNHEARD }),
            Memory::Whole => {
                begin();
                return;
            }
        };
        let stop = self.stops.all.clone();
        self.tracker.spawn(async move {
            let unheard = async {
                match limit {
                    Some(limit) => tokio::time::sleep(limit).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = heard.wait_for(|heard| *heard) => {}
                () = unheard => tracing::warn!("the control plane is not heard; serving what is known here"),
            }
            begin();
        });
    }

    /// The one client, on a task that the drain waits for: what it has asked is answered before the end.
    fn attend(&self, client: Client) -> oneshot::Receiver<ExitCode> {
        let room = Room {
            plane: Arc::clone(&self.plane),
            look: self.look.clone(),
            applied: self.applied.clone(),
            orders: self.orders(),
            places: format!(
                "{} holds none, and the control plane is looked for at {}",
                self.ground.home.plane().display(),
                self.ground.control_plane
            ),
            stop: self.stops.listen.clone(),
        };
        let (tell, left) = oneshot::channel();
        self.plane.workers.spawn(&self.listeners, async move { tell.send(Box::pin(client.served(room)).await) });
        left
    }

    fn open_doors(&mut self) -> anyhow::Result<()> {
        let (stop, spines) = (self.stops.listen.clone(), self.spines.clone().on(self.listeners.clone()));
        let socket = self.ground.home.plane().join("plane.sock");
        let attached = attach::bind(&socket).with_context(|| format!("the plane's socket {}", socket.display()))?;
        let spawner = self.ground.spawner.clone();
        let serving = attach::serve(Arc::clone(&self.plane), attached, spawner, self.orders(), stop.clone());
        spines.spawn("attach", stop.clone(), serving);
        let most = usize::try_from(self.ground.files.saturating_sub(RESERVED_FILES).clamp(64, 65_536)).unwrap_or(1024);
        let ports = self.ground.ports.as_mut().context("no port was taken")?;
        tracing::info!(at = %ports.mcp_at, plane = %self.ground.identity.id, "serving MCP on /mcp");
        let door = Door { plane: Arc::clone(&self.plane), most, spines, stop };
        door.open(ports, self.applied.clone(), &self.tracker)
    }

    fn orders(&self) -> Orders {
        Orders {
            kills: Arc::clone(&self.kills),
            origin: self.ground.identity.id.to_string(),
            changed: Arc::clone(&self.changed),
        }
    }

    /// Said once: what a child that runs as our user could read.
    fn watch_for_children(&self) {
        let (mut applied, plane, stop) = (self.applied.clone(), Arc::clone(&self.plane), self.stops.all.clone());
        self.tracker.spawn(async move {
            let has_children = || plane.backends.all().iter().any(|live| live.spec.is_as_we_are());
            while !has_children() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    change = applied.changed() => if change.is_err() { return },
                }
            }
            tracing::warn!("{SAME_USER}");
        });
    }
}

/// How the one client left; never where there is none.
async fn left_by(left: Option<oneshot::Receiver<ExitCode>>) -> ExitCode {
    match left {
        Some(left) => left.await.unwrap_or(ExitCode::FAILURE),
        None => std::future::pending().await,
    }
}

/// What the operator asks of a backend or tool, by name.
fn operate(plane: &Plane, command: Command) -> CommandDone {
    let id = command.id;
    let refuse = |message: String| CommandDone { id, ok: false, message, lines: Vec::new() };
    let find = |name: &str| plane.backends.named(name).ok_or_else(|| refuse(format!("no backend {name} runs here")));
    let done = match command.what {
        Some(Asked::RestartBackend(what)) => find(&what.name).map(|backend| {
            backend.restart();
            CommandDone { id, ok: true, ..CommandDone::default() }
        }),
        Some(Asked::ReadStderr(what)) => find(&what.name).map(|backend| CommandDone {
            id,
            ok: true,
            lines: backend.stderr(),
            ..CommandDone::default()
        }),
        Some(Asked::ShowTool(what)) => {
            let view = plane.views.load_full();
            let tool = view.as_ref().and_then(|view| view.catalogue.find(call::Kind::Tool, &what.exposed).cloned());
            tool.map(|tool| CommandDone {
                id,
                ok: true,
                lines: vec![String::from_utf8_lossy(&tool.definition).into_owned()],
                ..CommandDone::default()
            })
            .ok_or_else(|| refuse(format!("no tool {} is listed here", what.exposed)))
        }
        Some(Asked::Judge(what)) => {
            let view = plane.views.load_full();
            let judged = judge::judge(&what, view.as_deref()).map_err(refuse);
            judged.map(|judged| CommandDone {
                id,
                ok: true,
                lines: judged.iter().filter_map(|one| serde_json::to_string(one).ok()).collect(),
                ..CommandDone::default()
            })
        }
        Some(Asked::Explain(what)) => {
            let explained = explain::explain(plane, &what).map_err(refuse);
            explained.map(|lines| CommandDone { id, ok: true, lines, ..CommandDone::default() })
        }
        None => Err(refuse("this plane does not know the command; update it".into())),
    };
    done.unwrap_or_else(|refused| refused)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "plane".into(),
        name => name.into(),
    }
}
