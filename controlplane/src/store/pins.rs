//! Pins: which definition of a tool is trusted, under a counter of their own, raised in the transaction that writes them.
//!
//! Per tool (backend, its own name) there is one; nothing here ever removes one. Sending is not done here.

use sentinel_proto::v1::{Pin, PinSet};

use super::engine::{Arg, Row, Statement};
use super::error::StoreError;
use super::switches::HIGHEST_EPOCH;
use super::{Store, first};

const NEXT_EPOCH: &str = "UPDATE counters SET value = value + 1 WHERE name = 'pins' RETURNING value";
const RAISE_EPOCH: &str = "UPDATE counters SET value = $1 WHERE name = 'pins' AND value < $1 RETURNING value";

const FIRST: &str = "INSERT INTO pins \
    (backend, own, exposed, hash, definition, is_held, is_settled, reason, made_by, since_unix_ms, epoch) \
    SELECT $1, $2, $3, $4, COALESCE($5, ''), $6, $7, $8, $9, $10, value FROM counters WHERE name = 'pins' \
    ON CONFLICT (backend, own) DO NOTHING RETURNING *";
const DECIDED: &str = "INSERT INTO pins \
    (backend, own, exposed, hash, definition, is_held, is_settled, reason, made_by, since_unix_ms, epoch) \
    SELECT $1, $2, $3, $4, COALESCE($5, ''), $6, $7, $8, $9, $10, value FROM counters WHERE name = 'pins' \
    ON CONFLICT (backend, own) DO UPDATE SET exposed = excluded.exposed, hash = excluded.hash, \
    definition = CASE WHEN $5 IS NULL THEN pins.definition ELSE excluded.definition END, \
    is_held = excluded.is_held, is_settled = excluded.is_settled, reason = excluded.reason, \
    made_by = excluded.made_by, since_unix_ms = excluded.since_unix_ms, epoch = excluded.epoch RETURNING *";
const MERGED: &str = "INSERT INTO pins \
    (backend, own, exposed, hash, definition, is_held, is_settled, reason, made_by, since_unix_ms, epoch) \
    VALUES ($1, $2, $3, $4, COALESCE($5, ''), $6, $7, $8, $9, $10, $11) \
    ON CONFLICT (backend, own) DO UPDATE SET exposed = excluded.exposed, hash = excluded.hash, \
    definition = CASE WHEN pins.hash = excluded.hash THEN pins.definition ELSE '' END, \
    is_held = excluded.is_held, is_settled = excluded.is_settled, reason = excluded.reason, \
    made_by = excluded.made_by, since_unix_ms = excluded.since_unix_ms, epoch = excluded.epoch \
    WHERE excluded.epoch > pins.epoch OR (excluded.epoch = pins.epoch AND excluded.is_held AND NOT pins.is_held) \
    RETURNING *";

/// A pin, and the definition that it trusts as canonical JSON; none: the one that is stored stays.
#[derive(Clone, Debug)]
pub struct Pinned {
    pub pin: Pin,
    pub definition: Option<String>,
}

impl Store {
    /// All there is, in the order of their epochs; without the definitions.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn pins(&self) -> Result<PinSet, StoreError> {
        let epoch = self.counter("pins").await?;
        let all = Statement::new("SELECT * FROM pins ORDER BY epoch, backend, own", []);
        let rows = self.engine.read("list the pins", all).await?;
        Ok(PinSet { whole: true, epoch, pins: rows.iter().map(pin).collect::<Result<_, _>>()? })
    }

    /// The definition that is trusted, canonical JSON; empty: none is stored.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn pinned_definition(&self, backend: &str, own: &str) -> Result<String, StoreError> {
        let statement = Statement::new(
            "SELECT definition FROM pins WHERE backend = $1 AND own = $2",
            [Arg::from(backend), Arg::from(own)],
        );
        let rows = self.engine.read("read a pinned definition", statement).await?;
        rows.first().map_or_else(|| Ok(String::new()), |row| row.value("definition"))
    }

    /// Pins tools that have no pin yet, at the next epoch; gives those. Durable when it returns.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn pin_first(&self, seen: &[Pinned]) -> Result<PinSet, StoreError> {
        self.put("pin what is seen first", FIRST, seen).await
    }

    /// Puts these pins in the place of what was there, at the next epoch; gives them with it. Durable when it returns.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn decide_pins(&self, decided: &[Pinned]) -> Result<PinSet, StoreError> {
        self.put("write what is decided of tools", DECIDED, decided).await
    }

    async fn put(&self, what: &'static str, sql: &'static str, pins: &[Pinned]) -> Result<PinSet, StoreError> {
        let each = pins.iter().map(|pinned| Statement::new(sql, args(pinned)));
        let statements = std::iter::once(Statement::new(NEXT_EPOCH, [])).chain(each).collect();
        let rows = self.engine.write(what, statements).await?;
        let epoch = first(rows.first(), what)?.count("value")?;
        let pins = rows.iter().skip(1).flatten().map(pin).collect::<Result<_, _>>()?;
        Ok(PinSet { whole: false, epoch, pins })
    }

    /// Merges what a plane holds, and raises the counter above all of it, in one transaction; gives what was news.
    /// The higher epoch stays; a definition that is stored for the same hash stays as well.
    ///
    /// # Errors
    /// `OutOfRange`, and then nothing is merged, when an epoch is too high; those of the database.
    pub async fn adopt_pins(&self, pins: &[Pin]) -> Result<PinSet, StoreError> {
        let highest = pins.iter().map(|pin| pin.epoch).max().unwrap_or(0);
        let mut statements = vec![Statement::new(RAISE_EPOCH, [bounded(highest)?])];
        for pin in pins {
            let mut args = args(&Pinned { pin: pin.clone(), definition: None });
            args.push(bounded(pin.epoch)?);
            statements.push(Statement::new(MERGED, args));
        }
        let rows = self.engine.write("adopt a plane's pins", statements).await?;
        let pins = rows.iter().skip(1).flatten().map(pin).collect::<Result<_, _>>()?;
        Ok(PinSet { whole: false, epoch: self.counter("pins").await?, pins })
    }
}

fn bounded(epoch: u64) -> Result<Arg, StoreError> {
    if epoch > HIGHEST_EPOCH {
        return Err(StoreError::OutOfRange { what: "the epoch of a pin", value: epoch });
    }
    Arg::count("the epoch of a pin", epoch)
}

fn args(Pinned { pin, definition }: &Pinned) -> Vec<Arg> {
    vec![
        Arg::from(pin.backend.as_str()),
        Arg::from(pin.own.as_str()),
        Arg::from(pin.exposed.as_str()),
        Arg::from(pin.hash.as_slice()),
        Arg::Text(definition.clone()),
        Arg::from(pin.held),
        Arg::from(pin.settled),
        Arg::from(pin.reason.as_str()),
        Arg::from(pin.by.as_str()),
        Arg::from(pin.since_unix_ms),
    ]
}

fn pin(row: &Row) -> Result<Pin, StoreError> {
    Ok(Pin {
        backend: row.value("backend")?,
        own: row.value("own")?,
        exposed: row.value("exposed")?,
        hash: row.value("hash")?,
        held: row.value("is_held")?,
        settled: row.value("is_settled")?,
        reason: row.value("reason")?,
        by: row.value("made_by")?,
        since_unix_ms: row.value("since_unix_ms")?,
        epoch: row.count("epoch")?,
    })
}
