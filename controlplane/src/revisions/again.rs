//! Old content under a new number: a rollback, and numbering above what a plane holds.

use sentinel_proto::v1::PublishReply;

use super::{Current, Draft, FileState, Options, Revisions, file, told};
use crate::config;
use crate::refusal::Refusal;
use crate::store::revisions::{NewRevision, Revision, StoredRevision};

impl Revisions {
    /// Publishes the content of an earlier revision as a new one.
    ///
    /// Errors: `Refusal`, and then nothing was changed.
    pub async fn rollback(&self, number: u64, options: &Options) -> Result<PublishReply, Refusal> {
        let _turn = self.0.turn.lock().await;
        let store = self.0.keeper.store()?;
        let old: StoredRevision = store.revision(number).await?.ok_or_else(|| {
            Refusal::invalid(format!("there is no revision {number}; `sentinelctl config history` shows what there is"))
        })?;
        let loaded = match config::load(&format!("revision {number}"), &old.text, &self.0.built_in) {
            Ok(loaded) => loaded,
            Err(problems) => {
                let problems = told(&problems.0);
                let note = format!("nothing was changed: this version can't read revision {number} any more");
                return Ok(PublishReply { problems, note, ..PublishReply::default() });
            }
        };
        let away_from = self.current().map(|current| current.revision.away_from.unwrap_or(current.revision.digest));
        let away_from = away_from.filter(|digest| *digest != loaded.digest);
        let note = format!("rollback to {number}");
        let reply = self.publish(Draft { text: old.text, loaded, note, away_from }, options).await?;
        if reply.published {
            self.judge_file().await;
        }
        Ok(reply)
    }

    /// Numbers the current content anew, above `taken`: a plane holds that number, or a higher one, with other
    /// content (the store is older than the plane). Errors: the store's.
    pub async fn renumber_above(&self, taken: u64, plane: &str) -> Result<(), Refusal> {
        let _turn = self.0.turn.lock().await;
        let Some(current) = self.current().filter(|current| current.revision.number <= taken) else {
            return Ok(());
        };
        let store = self.0.keeper.store()?;
        let Some(kept) = store.revision(current.revision.number).await? else {
            return Ok(());
        };
        store.raise_revision_to(taken).await?;
        let note = format!("same as {}, numbered above what plane {plane} holds", current.revision.number);
        let new = NewRevision {
            text: kept.text,
            snapshot: kept.snapshot,
            digest: kept.revision.digest,
            by: "sentinel-controlplane".to_owned(),
            note,
            at_unix_ms: self.0.clock.unix_ms(),
            away_from: kept.revision.away_from,
        };
        let number = store.append_revision(new.clone()).await?;
        store.make_current(current.revision.number, number).await?;
        tracing::warn!(
            plane,
            taken,
            number,
            "this plane holds a higher revision than the store; numbered anew above it"
        );
        let revision = Revision { number, note: new.note, by: new.by, at_unix_ms: new.at_unix_ms, ..kept.revision };
        self.put(Current {
            revision: Revision { current: true, ..revision },
            snapshot: current.snapshot.clone(),
            kills: current.kills.clone(),
            warnings: current.warnings.clone(),
            retention_days: current.retention_days,
            bytes: current.bytes.clone(),
            allow_degraded: current.allow_degraded,
        });
        self.catch_up();
        Ok(())
    }

    /// Says anew what is to be said of the file, against what is in force.
    async fn judge_file(&self) {
        let state = match (file::read(&self.0.path, &self.0.built_in).await, self.current()) {
            (Err(problems), _) => FileState::Bad(problems),
            (Ok((_, loaded)), Some(current)) if current.revision.digest != loaded.digest => {
                FileState::Differs(self.differs(&current))
            }
            (Ok(_), _) => FileState::Good,
        };
        self.now(|now| now.file = state);
    }
}
