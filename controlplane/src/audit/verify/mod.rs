//! `audit verify`: walks each chain from the stored `event` bytes and names the first bad place of each.
//!
//! A chain proves its own order and content. That nothing is missing at its end is proved by the run that came after
//! it, or by what the plane last said of itself, and so is the content of its last record; that nothing is missing at its beginning, by record 1, unless
//! retention took it: then the proof begins where the rows begin, and that is said.

mod place;
mod runs;
mod same_json;

use std::collections::BTreeMap;

use sentinel_proto::v1::{AuditVerifyPiece, ChainVerdict};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tonic::Status;

use self::place::{Around, judge};
use super::ingest::UNHELD;
use crate::refusal::Refusal;
use crate::secrets::{hex, sha256, unhex};
use crate::store::Store;
use crate::store::chains::{Chain, Link, PAGE};
use crate::store::error::StoreError;

/// A call may last so long: what retention took had a record before it that is at most so much younger.
const LONGEST_CALL_US: i64 = 3_600_000_000;
/// Rows between two words of progress.
const PROGRESS: u64 = 5000;

pub type Hash = [u8; 32];

/// What a plane said of its run: so many records of it were stored, or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub epoch: u64,
    pub stored: u64,
    /// The last record of it that was stored, and the chain's head after it; none: not told.
    pub head: Option<(u64, Hash)>,
    /// Since when the plane is known (ms): what is younger than the retention's edge was never forgotten.
    pub first_seen_ms: i64,
}

impl Said {
    /// So many records of the run were stored for certain.
    fn known(&self) -> u64 {
        self.stored.max(self.head.map_or(0, |(seq, _)| seq))
    }
}

/// `hash[n]` of docs/audit.md.
pub fn hash(before: &[u8], chain: &Chain, seq: u64, event: &[u8]) -> Hash {
    sha256(&[before, chain.plane_id.as_bytes(), &chain.epoch.to_be_bytes(), &seq.to_be_bytes(), event].concat())
}

/// `hash[0]` of docs/audit.md.
fn root(chain: &Chain, before: &[u8]) -> Hash {
    sha256(&[chain.plane_id.as_bytes(), &chain.epoch.to_be_bytes(), before].concat())
}

/// The first bad place of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bad {
    problem: &'static str,
    at: u64,
    message: String,
}

/// What a walk found.
#[derive(Clone, Debug, Default)]
struct Walked {
    from: u64,
    to: u64,
    rows: u64,
    head: Hash,
    /// The head after the record of which the plane has told it.
    told: Option<Hash>,
    /// Epoch and last hash of the run before, as record 1 names them.
    previous: Option<(u64, Vec<u8>)>,
    bad: Option<Bad>,
    note: String,
}

/// Walks everything and tells `out`; ends when nobody listens. `said` by plane.
pub async fn run(store: Store, said: BTreeMap<String, Said>, out: mpsc::Sender<Result<AuditVerifyPiece, Status>>) {
    let told = match all(&store, &said, &out).await {
        Ok((rows, chains)) => Ok((rows, chains)),
        Err(why) => Err(Status::from(Refusal::from(why))),
    };
    match told {
        Ok((rows, chains)) => {
            // Pieces, for a message has a bound.
            for piece in chains.chunks(500) {
                if out.send(Ok(AuditVerifyPiece { rows, chains: piece.to_vec() })).await.is_err() {
                    return;
                }
            }
        }
        Err(status) => {
            out.send(Err(status)).await.ok();
        }
    }
}

async fn all(
    store: &Store,
    said: &BTreeMap<String, Said>,
    out: &mpsc::Sender<Result<AuditVerifyPiece, Status>>,
) -> Result<(u64, Vec<ChainVerdict>), StoreError> {
    let kept_from = store.kept_from().await?;
    let mut walked = BTreeMap::new();
    let mut rows = 0;
    for chain in store.chains().await? {
        let may_forget =
            said.get(&chain.plane_id).is_none_or(|said| said.first_seen_ms.saturating_mul(1000) < kept_from);
        let told = said.get(&chain.plane_id).filter(|said| said.epoch == chain.epoch).and_then(|said| said.head);
        let mut walk = Walk::new(&chain, if may_forget { kept_from } else { 0 }, told.map(|(seq, _)| seq));
        let mut pages = Pages::new(store, &chain).await?;
        while let Some(link) = pages.next().await? {
            rows += 1;
            if !walk.take(link) {
                break;
            }
            if rows % PROGRESS == 0 && out.send(Ok(AuditVerifyPiece { rows, chains: Vec::new() })).await.is_err() {
                return Ok((rows, Vec::new()));
            }
        }
        walked.insert(chain.clone(), walk.end());
    }
    runs::join(&mut walked, said, kept_from);
    Ok((rows, walked.into_iter().map(|(chain, walked)| verdict(chain, walked)).collect()))
}

fn verdict(chain: Chain, walked: Walked) -> ChainVerdict {
    let Walked { from, to, rows, head, bad, note, .. } = walked;
    let (problem, at_seq, message) = bad.map_or_else(|| ("", 0, note), |bad| (bad.problem, bad.at, bad.message));
    ChainVerdict {
        plane_id: chain.plane_id,
        epoch: chain.epoch,
        from_seq: from,
        to_seq: to,
        rows,
        head: head.to_vec(),
        problem: problem.to_owned(),
        at_seq,
        message,
    }
}

/// One chain, record by record; the last one is held back until its follower has spoken for it.
struct Walk<'a> {
    chain: &'a Chain,
    kept_from: i64,
    /// The record of which the plane has told the head.
    told: Option<u64>,
    walked: Walked,
    /// The hash before `last`, the last record, and its hash.
    before: Hash,
    last: Option<(Link, Hash)>,
    /// A record that does not follow: judged when the one after it is there.
    odd: Option<Link>,
}

impl<'a> Walk<'a> {
    fn new(chain: &'a Chain, kept_from: i64, told: Option<u64>) -> Self {
        Self { chain, kept_from, told, walked: Walked::default(), before: [0; 32], last: None, odd: None }
    }

    /// False: a bad place was found, and nothing after it can be judged.
    fn take(&mut self, link: Link) -> bool {
        self.walked.rows += 1;
        if let Some(odd) = self.odd.take() {
            self.judge(&odd, Some(&link));
            return false;
        }
        if self.last.as_ref().is_some_and(|(last, _)| last.seq == link.seq) {
            let message = format!("there are two records {}; one of them was added", link.seq);
            return self.bad(Bad { problem: "inserted", at: link.seq, message });
        }
        if let Err(bad) = place::says_the_same(self.chain, &link) {
            return self.bad(bad);
        }
        let Some((last, head)) = self.last.take() else {
            return self.begin(link);
        };
        if link.seq > last.seq.saturating_add(1) {
            let (from, to) = (last.seq.saturating_add(1), link.seq - 1);
            if last.ts_unix_us < self.kept_from.saturating_add(LONGEST_CALL_US) {
                self.walked.note = format!("retention took records up to {to}; proven from {} on", link.seq);
                return self.begin_anew(link);
            }
            let what = if from == to { format!("record {from} is") } else { format!("records {from} to {to} are") };
            return self.bad(Bad { problem: "hole", at: from, message: format!("{what} missing") });
        }
        self.last = Some((last, head));
        if link.prev_hash != head {
            self.odd = Some(link);
            return true;
        }
        self.before = head;
        self.accept(link, head);
        true
    }

    /// The first record that there is.
    fn begin(&mut self, link: Link) -> bool {
        if link.seq != 1 {
            if self.kept_from == 0 {
                let to = link.seq - 1;
                let message = format!("the chain begins with record {}: what was before is missing", link.seq);
                return self.bad(Bad { problem: "hole", at: to.min(1), message });
            }
            self.walked.note = format!("retention took what was before record {}; proven from there on", link.seq);
            return self.begin_anew(link);
        }
        let previous = previous(&link.event);
        let expected = root(self.chain, previous.as_ref().map_or(&[0; 32][..], |(_, hash)| hash));
        if link.prev_hash != expected {
            let message = "record 1 is not the beginning of this run: it was changed, or is another chain's".to_owned();
            return self.bad(Bad { problem: "changed", at: 1, message });
        }
        self.walked.previous = previous;
        self.walked.from = 1;
        self.accept(link, expected);
        true
    }

    fn begin_anew(&mut self, link: Link) -> bool {
        let Ok(before) = Hash::try_from(link.prev_hash.as_slice()) else {
            let message = format!("record {} has no hash of the one before", link.seq);
            return self.bad(Bad { problem: "changed", at: link.seq, message });
        };
        self.walked.from = link.seq;
        self.accept(link, before);
        true
    }

    fn accept(&mut self, link: Link, before: Hash) {
        let head = hash(&before, self.chain, link.seq, &link.event);
        self.before = before;
        self.walked.to = link.seq;
        self.walked.head = head;
        if self.told == Some(link.seq) {
            self.walked.told = Some(head);
        }
        self.last = Some((link, head));
    }

    fn judge(&mut self, odd: &Link, next: Option<&Link>) {
        if let Some((last, head)) = self.last.take() {
            let around = Around { chain: self.chain, before: self.before, last: &last, head, next };
            self.walked.bad = Some(judge(&around, odd));
        }
    }

    fn bad(&mut self, bad: Bad) -> bool {
        self.walked.bad = Some(bad);
        false
    }

    fn end(mut self) -> Walked {
        if let Some(odd) = self.odd.take() {
            self.judge(&odd, None);
        }
        if let Some(bad) = &self.walked.bad {
            self.walked.to = self.walked.to.min(bad.at.saturating_sub(1));
        }
        self.walked
    }
}

/// The run before, as the first record of a run names it.
fn previous(event: &[u8]) -> Option<(u64, Vec<u8>)> {
    #[derive(Deserialize)]
    struct Start {
        detail: Named,
    }
    #[derive(Deserialize)]
    struct Named {
        previous_epoch: u64,
        previous_hash: String,
    }
    let start: Start = serde_json::from_slice(event).ok()?;
    Some((start.detail.previous_epoch, unhex(&start.detail.previous_hash)?))
}

/// A chain's records in their order, rows and quarantine together, a page at a time.
struct Pages<'a> {
    store: &'a Store,
    chain: &'a Chain,
    page: std::vec::IntoIter<Link>,
    is_last: bool,
    at: (u64, i64),
    row: Option<Link>,
    quarantined: Option<Link>,
}

impl<'a> Pages<'a> {
    async fn new(store: &'a Store, chain: &'a Chain) -> Result<Self, StoreError> {
        let quarantined = store.chain_quarantined(chain, 0).await?;
        let page = Vec::new().into_iter();
        Ok(Self { store, chain, page, is_last: false, at: (0, 0), row: None, quarantined })
    }

    async fn next(&mut self) -> Result<Option<Link>, StoreError> {
        if self.row.is_none() {
            self.row = self.next_row().await?;
        }
        let takes_row = match (&self.row, &self.quarantined) {
            (Some(row), Some(quarantined)) => row.seq <= quarantined.seq,
            (row, _) => row.is_some(),
        };
        if takes_row {
            return Ok(self.row.take());
        }
        let Some(link) = self.quarantined.take() else { return Ok(None) };
        self.quarantined = self.store.chain_quarantined(self.chain, link.seq).await?;
        Ok(Some(link))
    }

    async fn next_row(&mut self) -> Result<Option<Link>, StoreError> {
        if let Some(row) = self.page.next() {
            return Ok(Some(row));
        }
        if self.is_last {
            return Ok(None);
        }
        let mut page = self.store.chain_page(self.chain, self.at.0, self.at.1).await?;
        for link in &mut page {
            self.doubt(link).await?;
        }
        self.is_last = page.len() < PAGE;
        if let Some(last) = page.last() {
            self.at = (last.seq, last.ts_unix_us);
        }
        self.page = page.into_iter();
        Ok(self.page.next())
    }
}

impl Pages<'_> {
    /// A row that says that the database could not hold its arguments, where it can, loses that excuse.
    async fn doubt(&self, link: &mut Link) -> Result<(), StoreError> {
        #[derive(Deserialize)]
        struct Sent<'a> {
            #[serde(borrow, default)]
            arguments: Option<&'a RawValue>,
        }
        let Some(columns) = link.columns.as_mut() else { return Ok(()) };
        if columns.arguments.is_some() || !columns.arguments_note.starts_with(UNHELD) {
            return Ok(());
        }
        let sent = serde_json::from_slice::<Sent<'_>>(&link.event).ok().and_then(|sent| sent.arguments);
        if let Some(sent) = sent
            && self.store.holds_arguments(sent.get()).await?
        {
            columns.arguments_note.clear();
        }
        Ok(())
    }
}

/// A hash as people compare it.
fn short(hash: &[u8]) -> String {
    hex(hash).chars().take(12).collect()
}
