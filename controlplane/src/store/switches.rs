//! Kill switches and revoked tokens: entries under one epoch counter, raised in the transaction that writes them.
//!
//! Per key the higher epoch wins, at equal epochs `on` wins, then the one that knows its pair; nothing here ever removes a kill. Sending is not done here.

use sentinel_proto::v1::{KillEntry, KillSet, Revocation};

use super::engine::{Arg, Row, Statement};
use super::error::StoreError;
use super::{Store, first};

/// No honest counter comes near; a plane that reports more would stop the counter for ever.
pub const HIGHEST_EPOCH: u64 = 1 << 62;

/// The most that `[auth] leeway_secs` may be: a token lives so long past its end.
const LONGEST_LEEWAY_SECS: i64 = 120;

const NEXT_EPOCH: &str = "UPDATE counters SET value = value + 1 WHERE name = 'epoch' RETURNING value";
const RAISE_EPOCH: &str = "UPDATE counters SET value = $1 WHERE name = 'epoch' AND value < $1 RETURNING value";

const OWN_KILL: &str = "INSERT INTO kill_switches \
    (scope, name, origin, backend, own, epoch, is_on, reason, made_by, since_unix_ms) \
    SELECT $1, $2, $3, $4, $5, value, $6, $7, $8, $9 FROM counters WHERE name = 'epoch' \
    ON CONFLICT (scope, name, origin) DO UPDATE SET backend = excluded.backend, own = excluded.own, \
    epoch = excluded.epoch, is_on = excluded.is_on, reason = excluded.reason, made_by = excluded.made_by, \
    since_unix_ms = excluded.since_unix_ms RETURNING epoch";
const MERGED_KILL: &str = "INSERT INTO kill_switches \
    (scope, name, origin, backend, own, is_on, reason, made_by, since_unix_ms, epoch) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
    ON CONFLICT (scope, name, origin) DO UPDATE SET backend = excluded.backend, own = excluded.own, \
    epoch = excluded.epoch, is_on = excluded.is_on, reason = excluded.reason, made_by = excluded.made_by, \
    since_unix_ms = excluded.since_unix_ms \
    WHERE excluded.epoch > kill_switches.epoch \
    OR (excluded.epoch = kill_switches.epoch AND excluded.is_on AND NOT kill_switches.is_on) \
    OR (excluded.epoch = kill_switches.epoch AND excluded.is_on = kill_switches.is_on \
    AND kill_switches.backend = '' AND excluded.backend <> '') RETURNING epoch";
const OWN_REVOCATION: &str = "INSERT INTO revoked_tokens (jti, issuer, until_unix, made_by, since_unix_ms, epoch) \
    SELECT $1, $2, $3, $4, $5, value FROM counters WHERE name = 'epoch' \
    ON CONFLICT (jti, issuer) DO UPDATE SET epoch = excluded.epoch, until_unix = excluded.until_unix, \
    made_by = excluded.made_by, since_unix_ms = excluded.since_unix_ms RETURNING epoch";
const MERGED_REVOCATION: &str = "INSERT INTO revoked_tokens (jti, issuer, until_unix, made_by, since_unix_ms, epoch) \
    VALUES ($1, $2, $3, $4, $5, $6) \
    ON CONFLICT (jti, issuer) DO UPDATE SET epoch = excluded.epoch, until_unix = excluded.until_unix, \
    made_by = excluded.made_by, since_unix_ms = excluded.since_unix_ms \
    WHERE excluded.epoch > revoked_tokens.epoch RETURNING epoch";

impl Store {
    /// The counter's value: every entry here carries at most this.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn epoch(&self) -> Result<u64, StoreError> {
        self.counter("epoch").await
    }

    /// Throws or lifts (`on` false) the switch of `entry`'s key at the next epoch. Gives the entry with its epoch;
    /// the one in `entry` is not read. Durable when it returns.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn set_kill(&self, mut entry: KillEntry) -> Result<KillEntry, StoreError> {
        let statements = vec![Statement::new(NEXT_EPOCH, []), Statement::new(OWN_KILL, kill_args(&entry))];
        let rows = self.engine.write("write a kill switch", statements).await?;
        entry.epoch = first(rows.last(), "write a kill switch")?.count("epoch")?;
        Ok(entry)
    }

    /// Revokes a token at the next epoch, like `set_kill`. An `until_unix` of 0 holds for ever.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn revoke_token(&self, mut entry: Revocation) -> Result<Revocation, StoreError> {
        let statements = vec![Statement::new(NEXT_EPOCH, []), Statement::new(OWN_REVOCATION, revocation_args(&entry))];
        let rows = self.engine.write("revoke a token", statements).await?;
        entry.epoch = first(rows.last(), "revoke a token")?.count("epoch")?;
        Ok(entry)
    }

    /// Lifts the counter to at least `epoch`; it never falls. Gives its value.
    ///
    /// # Errors
    /// `OutOfRange` above [`HIGHEST_EPOCH`]; those of the database.
    pub async fn raise_epoch_to(&self, epoch: u64) -> Result<u64, StoreError> {
        let statement = Statement::new(RAISE_EPOCH, [bounded(epoch)?]);
        let rows = self.engine.write("raise the epoch", vec![statement]).await?;
        match rows.first().and_then(|rows| rows.first()) {
            Some(row) => row.count("value"),
            None => self.epoch().await,
        }
    }

    /// Merges what a plane holds, and raises the counter above all of it, in one transaction.
    /// Gives how many entries were news.
    ///
    /// # Errors
    /// `OutOfRange`, and then nothing is merged, when an epoch is above [`HIGHEST_EPOCH`]; those of the database.
    pub async fn adopt(&self, set: &KillSet) -> Result<usize, StoreError> {
        let epochs = set.entries.iter().map(|e| e.epoch).chain(set.revocations.iter().map(|r| r.epoch));
        let highest = epochs.fold(set.epoch, u64::max);
        let mut statements = vec![Statement::new(RAISE_EPOCH, [bounded(highest)?])];
        for entry in &set.entries {
            let mut args = kill_args(entry);
            args.push(bounded(entry.epoch)?);
            statements.push(Statement::new(MERGED_KILL, args));
        }
        for entry in &set.revocations {
            let mut args = revocation_args(entry);
            args.push(bounded(entry.epoch)?);
            statements.push(Statement::new(MERGED_REVOCATION, args));
        }
        let rows = self.engine.write("adopt a plane's kill set", statements).await?;
        Ok(rows.iter().skip(1).map(Vec::len).sum())
    }

    /// All there is, lifts included, in the order of their epochs.
    ///
    /// The epoch is read first: an entry that comes between is in the set, above its epoch, which does no harm.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn kill_set(&self) -> Result<KillSet, StoreError> {
        let epoch = self.epoch().await?;
        let entries = Statement::new("SELECT * FROM kill_switches ORDER BY epoch, scope, name, origin", []);
        let entries = self.engine.read("list the kill switches", entries).await?;
        let revocations = Statement::new("SELECT * FROM revoked_tokens ORDER BY epoch, jti, issuer", []);
        let revocations = self.engine.read("list the revoked tokens", revocations).await?;
        Ok(KillSet {
            whole: true,
            epoch,
            entries: entries.iter().map(kill).collect::<Result<_, _>>()?,
            revocations: revocations.iter().map(revocation).collect::<Result<_, _>>()?,
        })
    }

    /// Removes revocations of tokens that no plane takes any more at `now_unix` (seconds), whatever leeway it gives
    /// their end. Gives how many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forget_revocations(&self, now_unix: i64) -> Result<usize, StoreError> {
        let statement = Statement::new(
            "DELETE FROM revoked_tokens WHERE until_unix <> 0 AND until_unix < $1 RETURNING epoch",
            [Arg::from(now_unix.saturating_sub(LONGEST_LEEWAY_SECS))],
        );
        let rows = self.engine.write("forget old revocations", vec![statement]).await?;
        Ok(rows.first().map_or(0, Vec::len))
    }
}

fn bounded(epoch: u64) -> Result<Arg, StoreError> {
    if epoch > HIGHEST_EPOCH {
        return Err(StoreError::OutOfRange { what: "the epoch of a kill switch", value: epoch });
    }
    Arg::count("the epoch of a kill switch", epoch)
}

fn kill_args(entry: &KillEntry) -> Vec<Arg> {
    vec![
        Arg::from(i64::from(entry.scope)),
        Arg::from(entry.name.as_str()),
        Arg::from(entry.origin.as_str()),
        Arg::from(entry.backend.as_str()),
        Arg::from(entry.own.as_str()),
        Arg::from(entry.on),
        Arg::from(entry.reason.as_str()),
        Arg::from(entry.by.as_str()),
        Arg::from(entry.since_unix_ms),
    ]
}

fn revocation_args(entry: &Revocation) -> Vec<Arg> {
    vec![
        Arg::from(entry.jti.as_str()),
        Arg::from(entry.issuer.as_str()),
        Arg::from(entry.until_unix),
        Arg::from(entry.by.as_str()),
        Arg::from(entry.since_unix_ms),
    ]
}

fn kill(row: &Row) -> Result<KillEntry, StoreError> {
    Ok(KillEntry {
        scope: i32::try_from(row.value::<i64>("scope")?).unwrap_or_default(),
        name: row.value("name")?,
        backend: row.value("backend")?,
        own: row.value("own")?,
        epoch: row.count("epoch")?,
        on: row.value("is_on")?,
        reason: row.value("reason")?,
        by: row.value("made_by")?,
        since_unix_ms: row.value("since_unix_ms")?,
        origin: row.value("origin")?,
        origin_name: String::new(),
    })
}

fn revocation(row: &Row) -> Result<Revocation, StoreError> {
    Ok(Revocation {
        jti: row.value("jti")?,
        issuer: row.value("issuer")?,
        epoch: row.count("epoch")?,
        until_unix: row.value("until_unix")?,
        by: row.value("made_by")?,
        since_unix_ms: row.value("since_unix_ms")?,
    })
}
