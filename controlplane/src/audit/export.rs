//! `audit export`: every row that fits, oldest first, page by page, and the heads of all chains after the last one.
//!
//! Nothing is held but one page: a reader that is slow makes the next one wait.

use sentinel_proto::v1::{AuditExportPiece, AuditExportRequest, ChainHead};
use tokio::sync::mpsc;
use tonic::Status;

use super::query::{QueryError, fits, judged};
use super::verify::hash;
use crate::refusal::Refusal;
use crate::store::Store;
use crate::store::exporting::{PAGE, Place};

/// What to export, and from where on.
#[derive(Debug)]
pub struct Export {
    store: Store,
    asked: AuditExportRequest,
    after: Place,
    until_unix_us: i64,
}

impl Export {
    /// # Errors
    /// Of what was asked.
    pub fn new(store: Store, asked: AuditExportRequest, now_unix_ms: i64) -> Result<Self, QueryError> {
        let filter = judged(&asked.filter.clone().unwrap_or_default())?;
        let since = filter.since_unix_ms.saturating_mul(1000);
        let start = Place { ts_unix_us: since, plane_id: NIL.to_owned(), epoch: 0, seq: 0 };
        let after = if asked.after.is_empty() {
            start
        } else {
            place(&asked.after).ok_or_else(|| QueryError::Cursor(asked.after.escape_debug().take(128).collect()))?
        };
        let until = if filter.until_unix_ms == 0 { now_unix_ms.saturating_add(1) } else { filter.until_unix_ms };
        let asked = AuditExportRequest { filter: Some(filter), ..asked };
        Ok(Self { store, asked, after, until_unix_us: until.saturating_mul(1000) })
    }

    /// Sends it all, as fast as it is read; ends when nobody reads any more.
    pub async fn run(self, out: mpsc::Sender<Result<AuditExportPiece, Status>>) {
        if let Err(why) = self.pages(&out).await {
            out.send(Err(Refusal::from(why).into())).await.ok();
        }
    }

    async fn pages(mut self, out: &mpsc::Sender<Result<AuditExportPiece, Status>>) -> Result<(), QueryError> {
        let filter = self.asked.filter.take().unwrap_or_default();
        loop {
            let page = self.store.export_page(&filter, &self.after, self.until_unix_us).await?;
            let is_last = page.len() < PAGE as usize;
            if let Some(last) = page.last().and_then(|last| place(&last.cursor)) {
                self.after = last;
            }
            let fitting = page.into_iter().filter(|stored| stored.row.as_ref().is_some_and(|row| fits(&filter, row)));
            let piece = AuditExportPiece { rows: fitting.collect(), heads: Vec::new() };
            if !piece.rows.is_empty() && out.send(Ok(piece)).await.is_err() {
                return Ok(());
            }
            if is_last {
                break;
            }
        }
        for chain in self.store.chains().await? {
            let Some((seq, before, event)) = self.store.chain_end(&chain).await? else { continue };
            let hash = hash(&before, &chain, seq, &event).to_vec();
            let head = ChainHead { plane_id: chain.plane_id, epoch: chain.epoch, seq, hash };
            if out.send(Ok(AuditExportPiece { rows: Vec::new(), heads: vec![head] })).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// A cursor, as rows carry it.
fn place(cursor: &str) -> Option<Place> {
    let mut parts = cursor.trim().split('/');
    let place = Place {
        ts_unix_us: parts.next()?.parse().ok()?,
        plane_id: uuid::Uuid::parse_str(parts.next()?).ok()?.to_string(),
        epoch: parts.next()?.parse().ok()?,
        seq: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let at = Place { ts_unix_us: 5, plane_id: NIL.to_owned(), epoch: 7, seq: 9 };
        assert_eq!(place(&at.to_string()), Some(at));
        for bad in ["", "5", "5/x/7/9", "5/00000000-0000-0000-0000-000000000000/7/9/1", "a/b/c/d"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
