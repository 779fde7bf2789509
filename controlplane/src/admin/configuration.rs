//! reload, rollback, and looking at configurations.

use sentinel_proto::v1::{
    ConfigCheckReply, ConfigCheckRequest, ConfigHistoryReply, ConfigShowReply, PublishReply, ReloadRequest, Revision,
    RollbackRequest,
};

use crate::config;
use crate::core::{By, Core};
use crate::refusal::Refusal;
use crate::revisions::{Options, told};
use crate::secrets::hex;
use crate::store::revisions::Revision as Stored;

/// Revisions that `config history` shows unless asked for more or fewer.
const SHOWN: u32 = 50;

pub(super) async fn reload(core: &Core, asked: ReloadRequest) -> Result<PublishReply, Refusal> {
    let by = By::claimed(asked.actor.as_ref());
    reload_by(core, &by, asked).await
}

/// Publishes the file; also for SIGHUP.
pub async fn reload_by(core: &Core, by: &By, asked: ReloadRequest) -> Result<PublishReply, Refusal> {
    let options = Options {
        by: by.word(),
        dry_run: asked.dry_run,
        skip_unresponsive: asked.skip_unresponsive,
        allow_degraded: asked.allow_degraded,
        from_file: asked.from_file,
    };
    let revisions = core.revisions.clone();
    if asked.dry_run {
        return Box::pin(revisions.reload(&options)).await;
    }
    let file = core.revisions.path().display().to_string();
    core.act(
        by,
        "config.reload",
        file,
        "",
        Box::pin(async move { Box::pin(revisions.reload(&options)).await }),
        outcome,
    )
    .await
}

pub(super) async fn rollback(core: &Core, asked: RollbackRequest) -> Result<PublishReply, Refusal> {
    let by = By::claimed(asked.actor.as_ref());
    let options = Options {
        by: by.word(),
        skip_unresponsive: asked.skip_unresponsive,
        allow_degraded: asked.allow_degraded,
        ..Options::default()
    };
    let revisions = core.revisions.clone();
    let target = format!("revision {}", asked.revision);
    let deed = Box::pin(async move { revisions.rollback(asked.revision, &options).await });
    core.act(&by, "config.rollback", target, "", deed, outcome).await
}

/// What `audit_actions` keeps of a publish: what came of it, and why where nothing did.
fn outcome(reply: &PublishReply) -> String {
    if reply.published || reply.unchanged {
        return format!("done: {}", reply.note);
    }
    let mut text = format!("rejected: {}", reply.note);
    for problem in &reply.problems {
        text.push('\n');
        text.push_str(&crate::revisions::sentence(problem));
    }
    for plane in &reply.planes {
        for problem in &plane.problems {
            text.push_str(&format!("\n{}: {} {}: {}", plane.name, problem.backend, problem.key, problem.message));
        }
    }
    text
}

pub(super) fn check(core: &Core, asked: &ConfigCheckRequest) -> ConfigCheckReply {
    let file = if asked.file.is_empty() { "sentinel.toml" } else { &asked.file };
    match config::load(file, &asked.text, core.revisions.built_in()) {
        Ok(loaded) => {
            ConfigCheckReply { problems: Vec::new(), warnings: told(&loaded.warnings), digest: hex(&loaded.digest) }
        }
        Err(problems) => ConfigCheckReply { problems: told(&problems.0), ..ConfigCheckReply::default() },
    }
}

pub(super) async fn show(core: &Core, number: u64) -> Result<ConfigShowReply, Refusal> {
    let store = core.keeper.store()?;
    let found = if number == 0 { store.current_revision().await? } else { store.revision(number).await? };
    let found = found.ok_or_else(|| {
        Refusal::invalid(match number {
            0 => "no revision is in force yet".to_owned(),
            _ => format!("there is no revision {number}; `sentinelctl config history` shows what there is"),
        })
    })?;
    Ok(ConfigShowReply { revision: Some(shown(found.revision)), text: found.text })
}

pub(super) async fn history(core: &Core, limit: u32) -> Result<ConfigHistoryReply, Refusal> {
    let limit = if limit == 0 { SHOWN } else { limit.min(10_000) };
    let revisions = core.keeper.store()?.revision_history(limit).await?;
    Ok(ConfigHistoryReply { revisions: revisions.into_iter().map(shown).collect() })
}

fn shown(stored: Stored) -> Revision {
    Revision {
        revision: stored.number,
        digest: hex(&stored.digest),
        at_unix_ms: stored.at_unix_ms,
        by: stored.by,
        note: stored.note,
        current: stored.current,
    }
}
