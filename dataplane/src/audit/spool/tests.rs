//! The spool against a disk that fails and a process that dies: what was acknowledged is there afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU32;

use super::segment::SegmentFile;
use super::*;

const PLANE: Uuid = Uuid::from_u128(7);

fn small() -> Limits {
    Limits { bytes: 64 << 20, records: 10_000, held_back: 1 << 16, segment_bytes: 2048 }
}

fn open_at(dir: &Path, epoch: u64) -> Opened {
    Spool::open(dir, PLANE, epoch, small(), &Clock::system()).unwrap()
}

fn put(spool: &Spool, event: &str) -> Result<Recorded, AppendError> {
    spool.append(spool.reserve().unwrap(), event.as_bytes())
}

/// All that is there from the first unacked record on, with the chain checked inside each epoch.
fn all(spool: &Spool) -> Vec<(u64, u64, String)> {
    let mut found = Vec::new();
    let mut from = spool.first_unacked();
    while let Some(batch) = spool.next_batch(from).unwrap() {
        let chain = Chain::new(PLANE, batch.epoch);
        let mut head: Option<Hash> = None;
        for record in &batch.records {
            assert!(head.is_none_or(|head| head == *record.prev_hash));
            head = Some(chain.next(record.prev_hash[..].try_into().unwrap(), record.seq, &record.event));
            found.push((batch.epoch, record.seq, String::from_utf8(record.event.to_vec()).unwrap()));
        }
        assert_eq!(head, Some(batch.last.hash));
        from = batch.last.next;
    }
    found
}

fn calls(spool: &Spool) -> Vec<String> {
    all(spool).into_iter().map(|(_, _, event)| event).filter(|event| !event.contains("plane/")).collect()
}

#[test]
fn records_are_numbered_chained_across_segments_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_at(dir.path(), 5);
    let spool = opened.spool;
    for n in 0..100 {
        assert_eq!(put(&spool, &format!("{{\"n\":{n}}}")).unwrap().seq(), n + 2);
    }
    let found = all(&spool);
    assert_eq!(found.len(), 101);
    assert!(found.iter().zip(1..).all(|((epoch, seq, _), n)| (*epoch, *seq) == (5, n)));
    assert!(segment::list(dir.path()).unwrap().len() > 2);
    assert_eq!(spool.backlog().records, 101);
}

#[test]
fn the_first_record_names_the_epoch_before_and_its_last_hash() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_at(dir.path(), 5).spool;
    put(&spool, "{}").unwrap();
    let (_, head) = spool.head();
    drop(spool);
    let opened = open_at(dir.path(), 6);
    assert_eq!((opened.recovered, opened.torn_bytes), (2, 0));
    assert_eq!(opened.previous.map(|mark| (mark.epoch, mark.hash)), Some((5, head)));
    let start = all(&opened.spool).pop().unwrap().2;
    let hash = crate::audit::event::hex(&head);
    assert!(start.contains(&format!(r#""detail":{{"previous_epoch":5,"previous_hash":"{hash}"}}"#)), "{start}");
}

#[test]
fn acked_segments_are_deleted_and_the_chain_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_at(dir.path(), 5).spool;
    for n in 0..100 {
        put(&spool, &format!("{{\"n\":{n}}}")).unwrap();
    }
    let batch = spool.next_batch(spool.first_unacked()).unwrap().unwrap();
    let many = segment::list(dir.path()).unwrap().len();
    let mut last = batch.last;
    spool.acked(&last).unwrap();
    spool.acked(&last).unwrap();
    while let Some(batch) = spool.next_batch(last.next).unwrap() {
        last = batch.last;
        spool.acked(&last).unwrap();
    }
    assert_eq!(spool.backlog().records, 0);
    assert!(segment::list(dir.path()).unwrap().len() < many);
    spool.close().unwrap();
    drop(spool);
    let opened = open_at(dir.path(), 6);
    assert_eq!(opened.recovered, 0);
    assert_eq!(opened.previous.map(|mark| (mark.seq, mark.hash)), Some((101, last.hash)));
    assert_eq!(all(&opened.spool).len(), 1);
}

#[test]
fn cut_at_every_byte_the_last_segment_gives_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_at(dir.path(), 5).spool;
    let events: Vec<String> = (0..6).map(|n| format!("{{\"n\":{n}}}")).collect();
    for event in &events {
        put(&spool, event).unwrap();
    }
    drop(spool);
    let path = segment::path_of(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    for end in 0..=whole.len() {
        let copy = tempfile::tempdir().unwrap();
        fs::write(segment::path_of(copy.path(), 1), &whole[..end]).unwrap();
        let opened = open_at(copy.path(), 6);
        let found = calls(&opened.spool);
        assert_eq!(found, events[..found.len()], "cut at {end}");
        assert!(opened.set_aside.is_empty());
        assert_eq!(
            opened.torn_bytes == 0,
            end == 0
                || opened.recovered > 0 && {
                    let kept = fs::metadata(segment::path_of(copy.path(), 1)).unwrap().len();
                    kept == end as u64
                }
        );
    }
}

#[test]
fn a_flipped_bit_costs_one_record_and_the_segment_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_at(dir.path(), 5).spool;
    for n in 0..100 {
        put(&spool, &format!("{{\"n\":{n}}}")).unwrap();
    }
    drop(spool);
    let path = segment::path_of(dir.path(), 2);
    let mut bytes = fs::read(&path).unwrap();
    bytes[70] ^= 4;
    fs::write(&path, bytes).unwrap();
    let opened = open_at(dir.path(), 6);
    assert_eq!(opened.set_aside, [path.with_extension("corrupt")]);
    assert!(opened.set_aside[0].exists());
    assert_eq!(calls(&opened.spool).len(), 99);
    assert!(all(&opened.spool).iter().any(|(_, _, event)| event.contains("plane/gap")));
}

/// A disk that fails: the nth operation, in one of several ways.
#[derive(Debug)]
struct Failing {
    countdown: Arc<AtomicU32>,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Eio,
    /// Until the room held back is let go.
    Full,
    Short,
    Sync,
    /// The process ends in the middle of a write: half a frame is there, and nothing works afterwards.
    Crash,
}

#[derive(Debug)]
struct FailingFile {
    inner: Arc<dyn SegmentFile>,
    countdown: Arc<AtomicU32>,
    how: How,
    held_back: PathBuf,
}

/// Whether it is this operation's turn to fail; a crash goes on for ever.
fn turn(countdown: &AtomicU32, how: How) -> bool {
    let left = countdown.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    match how {
        How::Crash => left.is_err(),
        How::Eio | How::Full | How::Short | How::Sync => left == Ok(1),
    }
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl SegmentFile for FailingFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.how {
            How::Full if self.countdown.load(Ordering::SeqCst) == 0 && self.held_back.exists() => {
                return Err(errno(nix::libc::ENOSPC));
            }
            How::Full => {
                turn(&self.countdown, self.how);
            }
            How::Sync => {}
            How::Eio | How::Short | How::Crash if !turn(&self.countdown, self.how) => {}
            How::Short => return self.inner.append(&bytes[..bytes.len() / 2]),
            How::Crash => {
                let first =
                    self.countdown.swap(0, Ordering::SeqCst) == 0 && !self.held_back.with_extension("crashed").exists();
                if first {
                    fs::write(self.held_back.with_extension("crashed"), "").unwrap();
                    self.inner.append(&bytes[..bytes.len() / 2])?;
                }
                return Err(errno(nix::libc::EIO));
            }
            How::Eio => return Err(errno(nix::libc::EIO)),
        }
        self.inner.append(bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        match self.how {
            How::Crash => Err(errno(nix::libc::EIO)),
            How::Eio | How::Full | How::Short | How::Sync => self.inner.truncate(length),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match self.how {
            How::Sync if turn(&self.countdown, self.how) => Err(errno(nix::libc::EIO)),
            _ => self.inner.sync(),
        }
    }
}

impl Segments for Failing {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        let held_back = path.with_file_name("held-back");
        if matches!(self.how, How::Crash) && held_back.with_extension("crashed").exists() {
            return Err(errno(nix::libc::EIO));
        }
        let (inner, countdown, how) = (OnDisk.create(path)?, Arc::clone(&self.countdown), self.how);
        Ok(Arc::new(FailingFile { inner, countdown, how, held_back }))
    }

    fn room(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 15)
    }

    fn hold_back(&self, path: &Path, bytes: u64) -> io::Result<()> {
        OnDisk.hold_back(path, bytes)
    }
}

fn failing(dir: &Path, after: u32, how: How) -> Result<Opened, SpoolError> {
    let files = Failing { countdown: Arc::new(AtomicU32::new(after)), how };
    Spool::open_with(dir, PLANE, 5, small(), &Clock::system(), Arc::new(files))
}

#[test]
fn an_error_or_a_short_write_at_any_write_loses_nothing_acknowledged() {
    for how in [How::Eio, How::Short] {
        for at in 1..40 {
            let dir = tempfile::tempdir().unwrap();
            let spool = failing(dir.path(), at, how).unwrap().spool;
            let events: Vec<String> = (0..35).map(|n| format!("{{\"n\":{n}}}")).collect();
            for event in &events {
                put(&spool, event).unwrap();
            }
            assert_eq!(calls(&spool), events, "{how:?} at {at}");
            drop(spool);
            let opened = open_at(dir.path(), 6);
            assert_eq!(calls(&opened.spool), events, "{how:?} at {at}, opened again");
        }
    }
}

#[test]
fn ended_at_any_write_boundary_all_that_was_acknowledged_is_there_again() {
    for at in 1..40 {
        let dir = tempfile::tempdir().unwrap();
        let spool = failing(dir.path(), at, How::Crash).unwrap().spool;
        let mut told = Vec::new();
        for n in 0..45 {
            let event = format!("{{\"n\":{n}}}");
            let Ok(room) = spool.reserve() else { break };
            if spool.append(room, event.as_bytes()).is_ok() {
                told.push(event);
            }
        }
        assert_eq!(told.len() as u64, u64::from(at - 1));
        drop(spool);
        let opened = open_at(dir.path(), 6);
        assert!(opened.torn_bytes > 0);
        assert_eq!(calls(&opened.spool), told, "at {at}");
    }
}

#[test]
fn a_full_disk_still_takes_the_calls_in_flight_and_admits_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let spool = failing(dir.path(), 3, How::Full).unwrap().spool;
    let rooms: Vec<Room> = (0..10).map(|_| spool.reserve().unwrap()).collect();
    for room in rooms {
        spool.append(room, b"{}").unwrap();
    }
    assert_eq!(spool.reserve().unwrap_err(), Full::Disk);
    assert_eq!(calls(&spool).len(), 10);
    assert_eq!(spool.counters().dropped, 0);
    assert!(spool.counters().last_error.is_some() && spool.counters().disk_full);
}

#[test]
fn a_failed_fsync_is_final_for_its_file_and_its_records_are_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let spool = failing(dir.path(), 1, How::Sync).unwrap().spool;
    put(&spool, "{\"n\":1}").unwrap();
    spool.shared.sync_now();
    put(&spool, "{\"n\":2}").unwrap();
    spool.close().unwrap();
    assert_eq!(calls(&spool), ["{\"n\":1}", "{\"n\":2}"]);
    assert!(spool.counters().last_error.is_some_and(|error| error.contains("fdatasync")));
    assert!(segment::list(dir.path()).unwrap().len() >= 2);
}

#[test]
fn at_the_cap_no_room_is_promised_until_some_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { records: 4, ..small() };
    let spool = Spool::open(dir.path(), PLANE, 5, limits, &Clock::system()).unwrap().spool;
    let rooms: Vec<Room> = (0..3).map(|_| spool.reserve().unwrap()).collect();
    assert_eq!(spool.reserve().unwrap_err(), Full::Cap);
    drop(rooms);
    for _ in 0..3 {
        put(&spool, "{}").unwrap();
    }
    assert_eq!(spool.reserve().unwrap_err(), Full::Cap);
    let batch = spool.next_batch(spool.first_unacked()).unwrap().unwrap();
    spool.acked(&batch.last).unwrap();
    assert!(spool.reserve().is_ok());
}

#[test]
fn many_threads_append_and_no_number_is_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_at(dir.path(), 5).spool;
    let seqs: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..200).map(|_| put(&spool, "{}").unwrap().seq()).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(seqs.iter().copied().collect::<BTreeSet<_>>(), (2..=801).collect());
    assert_eq!(all(&spool).len(), 801);
}

const CHILD: &str = "SENTINEL_TEST_SPOOL_CHILD";

/// The child's side of the next test: does nothing unless started by it.
#[test]
fn a_child_that_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let spool = open_at(Path::new(&dir), 5).spool;
    for n in 0..9_000 {
        put(&spool, &format!("{{\"n\":{n}}}")).unwrap();
        println!("told {n}");
    }
    std::thread::park();
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    for stop_at in [1, 700, 3_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "audit::spool::tests::a_child_that_appends_until_it_is_killed"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told_of = |line: String| line.rsplit_once("told ").and_then(|(_, n)| n.parse::<usize>().ok());
        let mut told = lines.by_ref().map(Result::unwrap).filter_map(told_of).nth(stop_at).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        told = lines.map_while(Result::ok).filter_map(told_of).last().unwrap_or(told).max(told);
        let found = calls(&open_at(dir.path(), 6).spool);
        assert!(found.len() > told, "{} records, {told} told", found.len());
        assert!(found.iter().enumerate().all(|(n, event)| *event == format!("{{\"n\":{n}}}")));
    }
}
