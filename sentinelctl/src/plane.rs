//! `sentinelctl plane`: which data planes there are and what each of them runs, and forgetting one that is gone.

use clap::Subcommand;
use sentinel_proto::v1::{PlaneForgetRequest, PlaneListRequest, PlaneState};
use serde_json::{Value, json};

use crate::client::Client;
use crate::clock;
use crate::fault::Fault;
use crate::locate::World;
use crate::output::{Output, Rows, Tone, plain};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Every plane that was seen, with its revision and when it was last heard of
    List,
    /// Forget a plane that is gone for good; if it comes again, it is new
    Forget {
        /// Its id, or a name that it alone has
        id: String,
    },
}

/// What to ask for.
#[derive(Debug)]
pub enum Ask {
    List,
    Forget(PlaneForgetRequest),
}

impl Verb {
    pub(crate) fn prepared(self) -> Ask {
        match self {
            Self::List => Ask::List,
            Self::Forget { id } => Ask::Forget(PlaneForgetRequest { actor: None, id }),
        }
    }
}

/// Errors: as the control plane says.
pub async fn run(client: &mut Client, world: &World, ask: Ask, output: &mut Output) -> Result<(), Fault> {
    match ask {
        Ask::List => {
            let reply = client.plane_list(PlaneListRequest {}).await;
            let planes = reply.map_err(|status| Fault::of_status(&status))?.into_inner().planes;
            output.json(&planes.iter().map(to_json).collect());
            show(&planes, true, output);
        }
        Ask::Forget(request) => {
            let reply = client.plane_forget(PlaneForgetRequest { actor: Some(world.actor()), ..request }).await;
            let gone = reply.map_err(|status| Fault::of_status(&status))?.into_inner();
            output.json(&json!({ "id": gone.id, "name": gone.name }));
            output.line(&format!("plane {} ({}) is forgotten; its audit rows stay", gone.name, gone.id));
        }
    }
    Ok(())
}

/// For `plane list`, and without ids for `status`; what is wrong with a plane stands beneath the table.
pub(crate) fn show(planes: &[PlaneState], with_ids: bool, output: &mut Output) {
    let rows = rows(planes, clock::now_ms());
    output.table(if with_ids { rows } else { rows.without("ID") }, "No plane has connected yet.");
    for plane in planes.iter().filter(|plane| !plane.problem.is_empty()) {
        output.line(&format!("  {}: {}", plane.name, plane.problem));
    }
}

fn rows(planes: &[PlaneState], now_ms: i64) -> Rows {
    let mut rows =
        Rows::new(&["PLANE", "STATE", "REV", "EPOCH", "LAST SEEN", "BUSY", "UNSHIPPED", "LISTENS", "SOURCE", "ID"]);
    for plane in planes {
        let tone = match plane.state.as_str() {
            "connected" => Tone::Good,
            "stopped" => Tone::Plain,
            _ => Tone::Bad,
        };
        rows.push([
            plain(&plane.name),
            (plane.state.clone(), tone),
            plain(plane.revision),
            plain(plane.epoch),
            plain(clock::ago(plane.last_seen_unix_ms, now_ms)),
            plain(plane.in_flight),
            plain(plane.audit_backlog),
            plain(&plane.listen),
            plain(&plane.source),
            plain(&plane.id),
        ]);
    }
    rows
}

pub(crate) fn to_json(plane: &PlaneState) -> Value {
    json!({
        "id": plane.id, "name": plane.name, "state": plane.state, "version": plane.version,
        "revision": plane.revision, "epoch": plane.epoch, "last_seen": clock::rfc3339_ms(plane.last_seen_unix_ms),
        "audit_backlog": plane.audit_backlog, "in_flight": plane.in_flight, "listen": plane.listen,
        "source": plane.source, "problem": plane.problem,
    })
}
