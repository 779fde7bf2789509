//! `sentinelctl config`: check a file, show a revision, list them, roll back.

use std::path::PathBuf;

use clap::Subcommand;
use sentinel_proto::v1::{
    ConfigCheckReply, ConfigCheckRequest, ConfigDiffRequest, ConfigHistoryRequest, ConfigPlanRequest,
    ConfigShowRequest, Revision, RollbackRequest,
};
use serde_json::{Value, json};

use crate::client::Client;
use crate::clock;
use crate::fault::Fault;
use crate::locate::World;
use crate::output::{Output, Rows, Tone, plain};
use crate::{diff, import, plan, reload};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Every problem of a file, as FILE:LINE:COL (without a control plane: sentinel-controlplane check FILE)
    Check {
        /// Usually sentinel.toml
        file: PathBuf,
    },
    /// The text of a revision; the current one when none is named
    Show {
        /// Its number, as `config history` shows it
        revision: Option<u64>,
    },
    /// Revisions, newest first
    History {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Publish an older revision's content as a new one
    Rollback {
        /// Its number, as `config history` shows it
        revision: u64,
        /// Go on without planes that are silent
        #[arg(long)]
        skip_unresponsive: bool,
        /// A backend that a plane cannot build is off there, and shown
        #[arg(long)]
        allow_degraded: bool,
    },
    /// What differs by meaning: keys, and the tools that roles gain and lose
    Diff {
        /// A revision's number, `current`, or a file
        before: String,
        /// Likewise
        after: String,
    },
    /// What a file would do: its problems, the difference to what runs, and past calls judged by it
    Plan {
        /// Usually sentinel.toml
        file: PathBuf,
        /// How many days of calls are judged again
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
    },
    /// A client's list of MCP servers (mcpServers JSON) as a configuration of this gateway
    Import(import::Args),
}

/// What to ask for.
#[derive(Debug)]
pub enum Ask {
    Check(ConfigCheckRequest),
    Diff(ConfigDiffRequest),
    Plan(ConfigPlanRequest),
    Show(u64),
    History(u32),
    Rollback(RollbackRequest),
}

impl Verb {
    pub(crate) fn prepared(self) -> Result<Ask, Fault> {
        Ok(match self {
            Self::Check { file } => {
                let text = std::fs::read_to_string(&file)
                    .map_err(|error| Fault::Usage(format!("{}: {error}", file.display())))?;
                Ask::Check(ConfigCheckRequest { file: file.display().to_string(), text })
            }
            Self::Show { revision } => Ask::Show(revision.unwrap_or(0)),
            Self::History { limit } => Ask::History(limit),
            Self::Rollback { revision, skip_unresponsive, allow_degraded } => {
                Ask::Rollback(RollbackRequest { actor: None, revision, skip_unresponsive, allow_degraded })
            }
            Self::Diff { before, after } => {
                Ask::Diff(ConfigDiffRequest { before: Some(diff::side(&before)?), after: Some(diff::side(&after)?) })
            }
            Self::Plan { file, days } => {
                let text = std::fs::read_to_string(&file)
                    .map_err(|error| Fault::Usage(format!("{}: {error}", file.display())))?;
                Ask::Plan(ConfigPlanRequest { file: file.display().to_string(), text, days })
            }
            // Answered before: it asks nobody.
            Self::Import(_) => return Err(Fault::Usage("config import does not ask the control plane".to_owned())),
        })
    }
}

/// Errors: `Usage` for problems of a file, `Refused` for a rollback that is not applied everywhere.
pub async fn run(client: &mut Client, world: &World, ask: Ask, output: &mut Output) -> Result<(), Fault> {
    match ask {
        Ask::Check(request) => {
            let reply = client.config_check(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
            checked(&reply, output)
        }
        Ask::Plan(request) => Box::pin(plan::run(client, request, output)).await,
        Ask::Diff(request) => Box::pin(diff::run(client, request, output)).await,
        Ask::Show(revision) => {
            let reply = client
                .config_show(ConfigShowRequest { revision })
                .await
                .map_err(|status| Fault::of_status(&status))?
                .into_inner();
            let shown = reply.revision.unwrap_or_default();
            let mut value = revision_json(&shown);
            if let Value::Object(members) = &mut value {
                members.insert("text".to_owned(), Value::from(reply.text.as_str()));
            }
            output.json(&value);
            output.note(&format!(
                "revision {} of {} by {}",
                shown.revision,
                clock::rfc3339_ms(shown.at_unix_ms),
                shown.by
            ));
            output.verbatim(reply.text.trim_end());
            Ok(())
        }
        Ask::History(limit) => {
            let reply = client
                .config_history(ConfigHistoryRequest { limit })
                .await
                .map_err(|status| Fault::of_status(&status))?
                .into_inner();
            output.json(&reply.revisions.iter().map(revision_json).collect());
            let mut rows = Rows::new(&["REVISION", "AT", "BY", "DIGEST", "NOTE"]);
            for revision in &reply.revisions {
                let number = (
                    format!("{}{}", revision.revision, if revision.current { " *" } else { "" }),
                    if revision.current { Tone::Good } else { Tone::Plain },
                );
                let digest: String = revision.digest.chars().take(12).collect();
                rows.push([
                    number,
                    plain(clock::rfc3339_ms(revision.at_unix_ms)),
                    plain(&revision.by),
                    plain(digest),
                    plain(&revision.note),
                ]);
            }
            output.table(rows, "Nothing was published yet.");
            Ok(())
        }
        Ask::Rollback(request) => {
            let request = RollbackRequest { actor: Some(world.actor()), ..request };
            let reply = client.rollback(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
            reload::report(&reply, false, output)
        }
    }
}

fn checked(reply: &ConfigCheckReply, output: &mut Output) -> Result<(), Fault> {
    output.json(&json!({
        "good": reply.problems.is_empty(), "digest": reply.digest,
        "problems": reply.problems.iter().map(reload::problem_json).collect::<Vec<_>>(),
        "warnings": reply.warnings.iter().map(reload::problem_json).collect::<Vec<_>>(),
    }));
    for warning in &reply.warnings {
        output.note(&format!("{} (warning)", reload::line_of(warning)));
    }
    for problem in &reply.problems {
        output.problem(&reload::line_of(problem));
    }
    match reply.problems.len() {
        0 => {
            output.line("good");
            Ok(())
        }
        count => Err(Fault::Usage(format!("{count} {}", if count == 1 { "problem" } else { "problems" }))),
    }
}

fn revision_json(revision: &Revision) -> Value {
    json!({
        "revision": revision.revision, "digest": revision.digest, "at": clock::rfc3339_ms(revision.at_unix_ms),
        "by": revision.by, "note": revision.note, "current": revision.current,
    })
}
