//! The start: which of file and stored revision is put in force when the store has been opened.

use prost::Message as _;
use sentinel_proto::v1::{ConfigProblem, Snapshot};

use super::{Current, Draft, FileState, Options, Revisions, file};
use crate::config;
use crate::refusal::Refusal;
use crate::store::error::StoreError;
use crate::store::revisions::StoredRevision;

/// How it began.
#[derive(Debug)]
pub enum Start {
    /// A revision is in force.
    Runs,
    /// There is nothing to run on: the file's problems, and nothing is stored.
    Nothing(Vec<ConfigProblem>),
}

impl Revisions {
    /// Puts the stored revision in force, then publishes the file where it is good and says something else.
    ///
    /// Errors: the store's; a stored revision that this version can't read.
    pub async fn start(&self) -> Result<Start, Refusal> {
        let _turn = self.0.turn.lock().await;
        let stored = self.0.keeper.store()?.current_revision().await?;
        if let Some(stored) = &stored {
            self.put(self.restored(stored)?);
        }
        let (text, loaded) = match file::read(&self.0.path, &self.0.built_in).await {
            Ok(read) => read,
            Err(problems) => {
                let Some(stored) = stored else {
                    return Ok(Start::Nothing(problems));
                };
                for problem in &problems {
                    tracing::error!("{}", file::sentence(problem));
                }
                let number = stored.revision.number;
                tracing::error!(revision = number, "the file can't be published; running on the stored revision");
                self.now(|now| now.file = FileState::Bad(problems));
                self.catch_up();
                return Ok(Start::Runs);
            }
        };
        if let Some(sentence) = self.rolled_away(&loaded.digest) {
            tracing::warn!("{sentence}");
            self.now(|now| now.file = FileState::Differs(sentence));
            self.catch_up();
            return Ok(Start::Runs);
        }
        for warning in file::told(&loaded.warnings) {
            tracing::warn!("{}", file::sentence(&warning));
        }
        let same = self.current().is_some_and(|current| current.revision.digest == loaded.digest);
        if same {
            self.catch_up();
            return Ok(Start::Runs);
        }
        // Planes may have connected while the store was away; one that refuses keeps the stored revision in force.
        let options = Options { by: "sentinel-controlplane (start)".to_owned(), ..Options::default() };
        let reply = self.publish(Draft { text, loaded, note: String::new(), away_from: None }, &options).await?;
        if !reply.published {
            tracing::error!("{}", reply.note);
            self.now(|now| now.file = FileState::Differs(reply.note));
        }
        Ok(Start::Runs)
    }

    fn restored(&self, stored: &StoredRevision) -> Result<Current, Refusal> {
        let number = stored.revision.number;
        let snapshot = Snapshot::decode(stored.snapshot.as_slice()).map_err(|why| StoreError::Damaged {
            place: format!("revision {number}"),
            problem: format!("its snapshot can't be decoded ({why})"),
        })?;
        // The text says what is not in the snapshot; a newer version may read it otherwise, the bytes stay.
        let loaded = config::load(&format!("revision {number}"), &stored.text, &self.0.built_in).ok();
        let name = self.0.path.display().to_string();
        let warnings = loaded.as_ref().map_or_else(Vec::new, |loaded| file::told(&loaded.warnings));
        let warnings = warnings.into_iter().map(|warning| ConfigProblem { file: name.clone(), ..warning }).collect();
        Ok(Current {
            revision: stored.revision.clone(),
            snapshot,
            warnings,
            retention_days: loaded.as_ref().map_or(30, |loaded| loaded.ops.audit_retention_days),
            kills: loaded.map(|loaded| loaded.kills).unwrap_or_default(),
            bytes: stored.snapshot.clone(),
            allow_degraded: false,
        })
    }
}
