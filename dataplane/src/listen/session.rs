//! Legacy sessions as sealed ids: what does not change is in the id itself, so any restart keeps them all.
//!
//! AES-256-GCM under a key on the plane's disk. An id is good for 30 days, and for nothing without a valid token of
//! the same client on the same request, at the endpoint where it was begun. Ended ids are kept as long as they were good.

use std::{
    collections::HashMap,
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest, rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::time::Instant;

use super::{ClientLeg, revision::Revision};
use crate::{call::Principal, clock::Clock, in_flight::LegKey, upcall::feature::Features};

/// Seconds for which an id is good.
const GOOD_FOR: u64 = 30 * 86_400;
const NONCE: usize = 12;
/// version, key, who, revision, born, features
const SEALED: usize = 1 + 16 + 16 + 1 + 8 + 1;
const TAG: usize = 16;
const VERSION: u8 = 2;
/// Ids of planes that asked no client anything: without the last byte, and good as long as they are.
const WITHOUT_FEATURES: u8 = 1;
/// Ended ids that are remembered; past it the oldest go.
const MOST_ENDED: usize = 100_000;
/// Sessions with something that changes (a log level): per plane, and how long unused.
const MOST_ENTRIES: usize = 10_000;
const MOST_OF_A_CLIENT: usize = 64;
const ENTRY_IDLE: Duration = Duration::from_secs(30 * 60);

pub struct Sessions {
    seal: LessSafeKey,
    clock: Clock,
    ended: Mutex<Ended>,
    entries: Mutex<HashMap<LegKey, Entry>>,
    /// There is an entry: where nobody ever set a level, no call looks for one.
    any: AtomicBool,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

struct Ended {
    /// By key: born (Unix seconds).
    ids: HashMap<[u8; 16], u64>,
    path: PathBuf,
    file: Option<File>,
}

#[derive(Debug)]
struct Entry {
    who: [u8; 16],
    level: Level,
    used: Instant,
}

/// RFC 5424 severities, as `logging/setLevel` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    /// The least severe first.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];
    /// What who did not ask may be told.
    pub const UNASKED: Self = Self::Info;

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    #[error("the session key has {0} bytes where 32 are needed; move seal.key away and start again (sessions end)")]
    Key(usize),
    #[error("can't read {path}: {source}; check its owner and mode")]
    Ended { path: PathBuf, source: io::Error },
}

impl Sessions {
    /// `key`: 32 bytes of `seal.key`. `ended`: the file of ended ids, made when needed.
    pub fn open(key: &[u8], ended: &Path, clock: Clock) -> Result<Self, SessionsError> {
        let unbound = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SessionsError::Key(key.len()))?;
        let now = clock.now_secs();
        let ids = read_ended(ended, now).map_err(|source| SessionsError::Ended { path: ended.to_owned(), source })?;
        Ok(Self {
            seal: LessSafeKey::new(unbound),
            clock,
            ended: Mutex::new(Ended { ids, path: ended.to_owned(), file: None }),
            entries: Mutex::default(),
            any: AtomicBool::new(false),
        })
    }

    /// A new session of this principal at this endpoint (none: `/mcp`): its leg, and the id that its client has of it.
    pub fn begin(
        &self,
        principal: &Principal,
        endpoint: Option<&str>,
        revision: Revision,
        features: Features,
    ) -> Option<(ClientLeg, String)> {
        let mut key = [0; 16];
        rand::fill(&mut key).ok()?;
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = Vec::with_capacity(NONCE + SEALED + TAG);
        sealed.push(VERSION);
        sealed.extend_from_slice(&key);
        sealed.extend_from_slice(&who(principal));
        sealed.push(revision.number());
        sealed.extend_from_slice(&self.clock.now_secs().to_be_bytes());
        sealed.push(features.bits());
        let aad = Aad::from(endpoint.unwrap_or_default());
        self.seal.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        let mut id = nonce.to_vec();
        id.extend_from_slice(&sealed);
        Some((ClientLeg::new(LegKey(key), revision, features), URL_SAFE_NO_PAD.encode(id)))
    }

    /// `None`: forged, foreign, another's, of another endpoint, too old or ended; nothing says which.
    pub fn open_id(&self, id: &[u8], principal: &Principal, endpoint: Option<&str>) -> Option<ClientLeg> {
        let (leg, born) = self.unseal(id, principal, endpoint)?;
        let now = self.clock.now_secs();
        if born.saturating_add(GOOD_FOR) <= now {
            return None;
        }
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        (!ended.ids.contains_key(&leg.key().0)).then_some(leg)
    }

    /// Ends it, for as long as it would have been good. Errors: it can't be written down, and goes on.
    pub fn end(&self, id: &[u8], principal: &Principal, endpoint: Option<&str>) -> io::Result<bool> {
        let Some((leg, born)) = self.unseal(id, principal, endpoint) else { return Ok(false) };
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.ids.contains_key(&leg.key().0) {
            return Ok(false);
        }
        ended.write(leg.key().0, born)?;
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(&leg.key());
        Ok(true)
    }

    fn unseal(&self, id: &[u8], principal: &Principal, endpoint: Option<&str>) -> Option<(ClientLeg, u64)> {
        let mut buffer = [0; NONCE + SEALED + TAG];
        let length = URL_SAFE_NO_PAD.decode_slice(id, &mut buffer).ok()?;
        let (nonce, sealed) = buffer.get_mut(..length)?.split_first_chunk_mut::<NONCE>()?;
        // Not in what is sealed, and proved with it: the id of one endpoint is a forged one at another.
        let aad = Aad::from(endpoint.unwrap_or_default());
        let plain = self.seal.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, sealed).ok()?;
        let (version, rest) = plain.split_first()?;
        let (key, rest) = rest.split_first_chunk::<16>()?;
        let (owner, rest) = rest.split_first_chunk::<16>()?;
        let (revision, rest) = rest.split_first()?;
        let (born, rest) = rest.split_first_chunk::<8>()?;
        let features = match (*version, rest) {
            (VERSION, [features]) => Features::from_bits(*features),
            (WITHOUT_FEATURES, []) => Features::NONE,
            _ => return None,
        };
        if *owner != who(principal) {
            return None;
        }
        let leg = ClientLeg::new(LegKey(*key), Revision::from_number(*revision)?, features);
        Some((leg, u64::from_be_bytes(*born)))
    }

    /// False: this client has too many sessions with a level of their own.
    pub fn set_level(&self, leg: &ClientLeg, principal: &Principal, level: Level) -> bool {
        let who = who(principal);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.contains_key(&leg.key());
        if !known {
            let own = entries.values().filter(|entry| entry.who == who).count();
            if own >= MOST_OF_A_CLIENT || entries.len() >= MOST_ENTRIES {
                let oldest = entries.iter().filter(|(_, entry)| own < MOST_OF_A_CLIENT || entry.who == who);
                let oldest = oldest.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
                match oldest {
                    Some(key) => drop(entries.remove(&key)),
                    None => return false,
                }
            }
        }
        entries.insert(leg.key(), Entry { who, level, used: Instant::now() });
        self.any.store(true, Relaxed);
        true
    }

    /// What this session asked to hear; none: it said nothing.
    pub fn level(&self, key: LegKey) -> Option<Level> {
        if !self.any.load(Relaxed) {
            return None;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get_mut(&key).map(|entry| {
            entry.used = Instant::now();
            entry.level
        })
    }

    /// The least severe that any session asked for.
    pub fn lowest_level(&self) -> Option<Level> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.values().map(|entry| entry.level).min()
    }

    /// The same of one client's sessions.
    pub fn lowest_level_of(&self, principal: &Principal) -> Option<Level> {
        let who = who(principal);
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.values().filter(|entry| entry.who == who).map(|entry| entry.level).min()
    }

    /// A session that ends by itself asks for nothing any more.
    pub fn forget_level(&self, key: LegKey) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// Forgets what was not used for half an hour; no session ends by it.
    pub fn sweep(&self) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, entry| entry.used.elapsed() < ENTRY_IDLE);
    }
}

impl Ended {
    fn write(&mut self, key: [u8; 16], born: u64) -> io::Result<()> {
        if self.ids.len() >= MOST_ENDED
            && let Some(oldest) = self.ids.iter().min_by_key(|(_, born)| **born).map(|(key, _)| *key)
        {
            self.ids.remove(&oldest);
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?),
        };
        let mut record = [0; 24];
        record[..16].copy_from_slice(&key);
        record[16..].copy_from_slice(&born.to_be_bytes());
        file.write_all(&record)?;
        file.sync_data()?;
        self.ids.insert(key, born);
        Ok(())
    }
}

/// Reads the ended ids that would still be good; a torn last record is left out.
fn read_ended(path: &Path, now: u64) -> io::Result<HashMap<[u8; 16], u64>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(fault) => return Err(fault),
    };
    let mut ids = HashMap::new();
    for record in bytes.chunks_exact(24) {
        if let (Some(key), Some(born)) = (record.first_chunk::<16>(), record.last_chunk::<8>()) {
            let born = u64::from_be_bytes(*born);
            if born.saturating_add(GOOD_FOR) > now {
                ids.insert(*key, born);
            }
        }
    }
    Ok(ids)
}

/// Issuer and client, in 16 bytes.
pub fn who(principal: &Principal) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(principal.issuer.as_bytes());
    context.update(&[0]);
    context.update(principal.client.as_bytes());
    let mut who = [0; 16];
    who.copy_from_slice(context.finish().as_ref().split_at(16).0);
    who
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(client: &str) -> Principal {
        Principal {
            issuer: "sentinel".into(),
            client: client.into(),
            roles: Box::default(),
            jti: None,
            until: i64::MAX,
        }
    }

    fn sessions(dir: &tempfile::TempDir, clock: Clock) -> Sessions {
        Sessions::open(&[7; 32], &dir.path().join("sessions.ended"), clock).expect("opens")
    }

    #[test]
    fn an_id_is_good_for_its_own_client_alone_and_survives_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let (leg, id) = sessions(&dir, Clock::system())
            .begin(&principal("a"), None, Revision::R2025_06_18, Features::FORM)
            .expect("begins");
        let restarted = sessions(&dir, Clock::system());
        let opened = restarted.open_id(id.as_bytes(), &principal("a"), None).expect("its own");
        assert_eq!((opened.key(), opened.revision()), (leg.key(), Some(Revision::R2025_06_18)));
        assert_eq!(opened.features(), Features::FORM);
        assert!(restarted.open_id(id.as_bytes(), &principal("b"), None).is_none(), "stolen");
        assert!(restarted.open_id(b"forged", &principal("a"), None).is_none());
        let mut forged = id.into_bytes();
        *forged.last_mut().expect("not empty") ^= 1;
        assert!(restarted.open_id(&forged, &principal("a"), None).is_none());
    }

    #[test]
    fn an_id_of_one_endpoint_is_good_at_no_other() {
        let dir = tempfile::tempdir().expect("a folder");
        let sessions = sessions(&dir, Clock::system());
        let who = principal("a");
        let begin = |endpoint| sessions.begin(&who, endpoint, Revision::NEWEST, Features::NONE).expect("begins").1;
        let (main, research) = (begin(None), begin(Some("research")));
        let opens = |id: &str, endpoint| sessions.open_id(id.as_bytes(), &who, endpoint).is_some();
        assert!(opens(&main, None) && opens(&research, Some("research")));
        assert!(!opens(&main, Some("research")) && !opens(&research, None) && !opens(&research, Some("other")));
        assert!(!sessions.end(research.as_bytes(), &who, None).expect("no fault"));
        assert!(opens(&research, Some("research")), "it can't be ended from elsewhere");
    }

    #[test]
    fn an_ended_session_stays_ended_after_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = sessions(&dir, Clock::system());
        let (_, id) = first.begin(&principal("a"), None, Revision::NEWEST, Features::NONE).expect("begins");
        assert!(!first.end(id.as_bytes(), &principal("b"), None).expect("no fault"), "another's can't be ended");
        assert!(first.end(id.as_bytes(), &principal("a"), None).expect("written"));
        assert!(first.open_id(id.as_bytes(), &principal("a"), None).is_none());
        assert!(sessions(&dir, Clock::system()).open_id(id.as_bytes(), &principal("a"), None).is_none());
    }

    #[test]
    fn an_id_ends_after_thirty_days() {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = Clock::standing_at(1_000_000_000_000);
        let sessions = sessions(&dir, clock.clone());
        let (_, id) = sessions.begin(&principal("a"), None, Revision::NEWEST, Features::NONE).expect("begins");
        clock.turn(GOOD_FOR * 1_000_000);
        assert!(sessions.open_id(id.as_bytes(), &principal("a"), None).is_none());
    }
}
