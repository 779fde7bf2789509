//! `sentinelctl backend`: the state of each backend on each plane, its last words on stderr, a restart.

use clap::Subcommand;
use sentinel_proto::v1::{BackendListRequest, BackendRestartRequest, BackendStderrRequest};
use serde_json::json;

use crate::client::Client;
use crate::fault::Fault;
use crate::locate::World;
use crate::output::Output;
use crate::{reload, status};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// One row a backend and plane
    List {
        /// Instead, the last 200 lines that this backend wrote to stderr (they may hold arguments)
        #[arg(long, value_name = "NAME")]
        stderr: Option<String>,
    },
    /// End it and start it anew on every plane, with a fresh budget of restarts
    Restart {
        /// As it stands in the file
        name: String,
    },
}

/// What to ask for.
#[derive(Debug)]
pub enum Ask {
    List,
    Stderr(String),
    Restart(String),
}

impl Verb {
    pub(crate) fn prepared(self) -> Ask {
        match self {
            Self::List { stderr: None } => Ask::List,
            Self::List { stderr: Some(name) } => Ask::Stderr(name),
            Self::Restart { name } => Ask::Restart(name),
        }
    }
}

/// Errors: `Refused` where a plane did not restart it; else as the control plane says.
pub async fn run(client: &mut Client, world: &World, ask: Ask, output: &mut Output) -> Result<(), Fault> {
    match ask {
        Ask::List => {
            let reply = client
                .backend_list(BackendListRequest {})
                .await
                .map_err(|status| Fault::of_status(&status))?
                .into_inner();
            output.json(&reply.backends.iter().map(status::backend_json).collect());
            status::show_backends(&reply.backends, output);
            Ok(())
        }
        Ask::Stderr(name) => {
            let reply = client
                .backend_stderr(BackendStderrRequest { name })
                .await
                .map_err(|status| Fault::of_status(&status))?
                .into_inner();
            output.json(&reply.planes.iter().map(|plane| json!({ "plane_name": plane.plane_name, "lines": plane.lines, "problem": plane.problem })).collect());
            for plane in &reply.planes {
                output.note(&format!(
                    "on {}:{}{}",
                    plane.plane_name,
                    if plane.problem.is_empty() { "" } else { " " },
                    plane.problem
                ));
                for line in &plane.lines {
                    output.verbatim(line);
                }
            }
            Ok(())
        }
        Ask::Restart(name) => {
            let request = BackendRestartRequest { actor: Some(world.actor()), name };
            let reply = client.backend_restart(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
            output.json(&reply.planes.iter().map(reload::outcome_json).collect());
            output.table(reload::outcome_rows(&reply.planes), "No plane is connected.");
            let missing: Vec<&str> = reply
                .planes
                .iter()
                .filter(|plane| !matches!(plane.outcome.as_str(), "applied" | "ready" | "skipped"))
                .map(|plane| plane.name.as_str())
                .collect();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(Fault::Refused(format!("not restarted by {}", missing.join(", "))))
            }
        }
    }
}
