//! Break-glass over the plane's socket: an operator on this machine stops a tool, a backend or everything, with or
//! without a control plane. Who may connect, `mod.rs` has judged: our user, and no child of our backends.

use std::{io, path::Path, sync::Arc};

use nix::unistd::{Uid, User};
use sentinel_proto::v1::{KillEntry, Scope};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    sync::Notify,
};

use super::ASIDE;
use crate::{kill::Kills, plane::Plane};

/// Characters of a name or reason that are kept.
const LONGEST: usize = 512;

/// The parts that an order reaches.
#[derive(Clone, Debug)]
pub struct Orders {
    pub kills: Arc<Kills>,
    /// The plane's id: the origin of what is thrown here.
    pub origin: String,
    /// The control plane is told at once, where it is there.
    pub changed: Arc<Notify>,
}

/// One line, after `ASIDE`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Order {
    pub scope: Target,
    /// Empty for everything.
    pub name: String,
    pub reason: String,
    pub lift: bool,
    /// Also a name that this plane does not know.
    pub force: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    All,
    Backend,
    Tool,
}

/// The answer, one line of JSON.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub done: bool,
    /// A sentence for the operator.
    pub message: String,
    /// Calls in flight that were ended.
    pub cut: u32,
    /// What `sentinelctl kill-switch … --lift --origin` names.
    pub origin: String,
}

impl Target {
    const fn word(self) -> &'static str {
        match self {
            Self::All => "everything",
            Self::Backend => "backend",
            Self::Tool => "tool",
        }
    }

    const fn scope(self) -> Scope {
        match self {
            Self::All => Scope::All,
            Self::Backend => Scope::Backend,
            Self::Tool => Scope::Tool,
        }
    }
}

/// Carries out one order: it is on disk and in force when this returns.
pub(super) async fn obey(plane: &Plane, orders: &Orders, line: &[u8]) -> Outcome {
    let origin = orders.origin.clone();
    let refused = |message: String| Outcome { done: false, message, cut: 0, origin: origin.clone() };
    let Ok(order) = serde_json::from_slice::<Order>(line) else {
        return refused("this plane does not understand the order; are both of one version?".to_owned());
    };
    let Order { scope: target, name, reason, lift, force } = order;
    let name = if target == Target::All { String::new() } else { name };
    let what = if name.is_empty() { target.word().to_owned() } else { format!("{} {name}", target.word()) };
    if target != Target::All && (name.is_empty() || name.chars().count() > LONGEST || name.contains(char::is_control)) {
        return refused(format!("the name of a {} has 1 to {LONGEST} printable characters", target.word()));
    }
    let pair = match known(plane, target, &name) {
        Some(pair) => pair,
        None if lift || force => Default::default(),
        None => {
            return refused(format!("no {what} is known on this plane; --force throws the switch all the same"));
        }
    };
    let user =
        User::from_uid(Uid::current()).ok().flatten().map_or_else(|| Uid::current().to_string(), |user| user.name);
    let entry = KillEntry {
        scope: target.scope().into(),
        name,
        backend: pair.0,
        own: pair.1,
        on: !lift,
        reason: reason.chars().filter(|c| !c.is_control()).take(LONGEST).collect(),
        by: format!("{user} (on the plane)"),
        origin: origin.clone(),
        ..KillEntry::default()
    };
    let kills = Arc::clone(&orders.kills);
    let thrown = plane.tracker.spawn_blocking(move || kills.throw(entry)).await;
    orders.changed.notify_one();
    match thrown {
        Ok(Ok(cut)) => {
            tracing::warn!(what, lift, cut, by = user, "break-glass on this plane");
            let message = if lift {
                format!("{what} is let go on this plane")
            } else {
                format!("{what} is stopped on this plane; {cut} calls in flight were ended")
            };
            Outcome { done: true, message, cut, origin }
        }
        Ok(Err(why)) => refused(format!("{what}: {why}")),
        Err(_) => refused(format!("{what}: the plane failed inside; see its log")),
    }
}

/// Backend and own name of a tool; empty for what has none. `None`: nobody knows it here.
fn known(plane: &Plane, target: Target, name: &str) -> Option<(String, String)> {
    let view = plane.views.load_full();
    match target {
        Target::All => Some(Default::default()),
        Target::Backend => view?.policy.backend(name).map(|_| Default::default()),
        Target::Tool => {
            let view = view?;
            let tool = view.catalogue.find(crate::call::Kind::Tool, name)?;
            Some((tool.backend_name.to_string(), tool.own.to_string()))
        }
    }
}

/// From the other side of the socket. Errors: nobody is there, or the plane refused the connection.
pub async fn send(socket: &Path, order: &Order) -> io::Result<Outcome> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut line = vec![ASIDE];
    line.extend(serde_json::to_vec(order)?);
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the plane hung up: it takes orders of its own user alone, and of no process of a backend",
        ));
    }
    Ok(serde_json::from_str(&answer)?)
}
