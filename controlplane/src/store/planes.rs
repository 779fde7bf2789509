//! Planes as the store knows them: who said hello, with which secret, and what was last heard. Streams are not here.

use subtle::ConstantTimeEq as _;

use super::Store;
use super::engine::{Arg, Row, Statement};
use super::error::StoreError;

/// What a plane says of itself when it connects.
#[derive(Clone, Debug)]
pub struct PlaneHello {
    /// UUID, as 36 characters.
    pub id: String,
    pub name: String,
    pub version: String,
    /// SHA-256 of the plane's secret.
    pub secret_hash: [u8; 32],
    pub at_unix_ms: i64,
}

/// What was heard of a plane since.
#[derive(Clone, Debug)]
pub struct PlaneSeen {
    pub id: String,
    pub at_unix_ms: i64,
    /// Applied revision and kill epoch; `None` leaves what is stored.
    pub revision: Option<u64>,
    pub epoch: Option<u64>,
}

/// A plane that has said hello at least once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    pub id: String,
    pub name: String,
    pub version: String,
    pub first_seen_unix_ms: i64,
    pub last_seen_unix_ms: i64,
    /// It drained and said goodbye: nobody waits for it.
    pub stopped: bool,
    pub revision: u64,
    pub epoch: u64,
}

impl Store {
    /// Keeps the hash of the first hello, and compares it with every later one before anything is changed.
    ///
    /// # Errors
    /// `WrongPlaneSecret`; those of the database.
    pub async fn plane_hello(&self, hello: &PlaneHello) -> Result<(), StoreError> {
        let statement = Statement::new(
            "INSERT INTO planes (id, name, version, secret_hash, first_seen_unix_ms, last_seen_unix_ms, stopped, \
             revision, epoch) VALUES ($1, $2, $3, $4, $5, $5, $6, 0, 0) ON CONFLICT (id) DO NOTHING RETURNING id",
            [
                Arg::from(hello.id.as_str()),
                Arg::from(hello.name.as_str()),
                Arg::from(hello.version.as_str()),
                Arg::from(&hello.secret_hash[..]),
                Arg::from(hello.at_unix_ms),
                Arg::from(false),
            ],
        );
        let rows = self.engine.write("take a plane's hello", vec![statement]).await?;
        if rows.first().is_some_and(|rows| !rows.is_empty()) {
            return Ok(());
        }
        // a hash is written once: what is compared here is what the update finds
        self.plane_proves(&hello.id, &hello.secret_hash).await?;
        let statement = Statement::new(
            "UPDATE planes SET name = $2, version = $3, last_seen_unix_ms = $4, stopped = $5 WHERE id = $1",
            [
                Arg::from(hello.id.as_str()),
                Arg::from(hello.name.as_str()),
                Arg::from(hello.version.as_str()),
                Arg::from(hello.at_unix_ms),
                Arg::from(false),
            ],
        );
        self.engine.write("take a plane's hello", vec![statement]).await.map(drop)
    }

    /// Whether `secret_hash` is that of plane `id`; changes nothing.
    ///
    /// # Errors
    /// `UnknownPlane` before its first hello; `WrongPlaneSecret`; those of the database.
    pub async fn plane_proves(&self, id: &str, secret_hash: &[u8; 32]) -> Result<(), StoreError> {
        let statement = Statement::new("SELECT secret_hash FROM planes WHERE id = $1", [Arg::from(id)]);
        let rows = self.engine.read("read a plane's secret", statement).await?;
        let Some(row) = rows.first() else {
            return Err(StoreError::UnknownPlane { id: id.to_owned() });
        };
        if bool::from(row.digest("secret_hash")?.ct_eq(secret_hash)) {
            Ok(())
        } else {
            Err(StoreError::WrongPlaneSecret { id: id.to_owned() })
        }
    }

    /// Notes when a plane was last heard, and what it runs.
    ///
    /// # Errors
    /// `UnknownPlane`; those of the database.
    pub async fn plane_seen(&self, seen: &PlaneSeen) -> Result<(), StoreError> {
        let number = |what, value: Option<u64>| value.map_or(Ok(Arg::Int(None)), |value| Arg::count(what, value));
        let statement = Statement::new(
            "UPDATE planes SET last_seen_unix_ms = $2, stopped = $5, revision = COALESCE($3, revision), \
             epoch = COALESCE($4, epoch) WHERE id = $1 RETURNING id",
            [
                Arg::from(seen.id.as_str()),
                Arg::from(seen.at_unix_ms),
                number("a plane's revision", seen.revision)?,
                number("a plane's epoch", seen.epoch)?,
                Arg::from(false),
            ],
        );
        self.change_plane(&seen.id, statement).await
    }

    /// The plane drained and went home: nobody waits for it until its next hello.
    ///
    /// # Errors
    /// `UnknownPlane`; those of the database.
    pub async fn plane_goodbye(&self, id: &str, at_unix_ms: i64) -> Result<(), StoreError> {
        let statement = Statement::new(
            "UPDATE planes SET last_seen_unix_ms = $2, stopped = $3 WHERE id = $1 RETURNING id",
            [Arg::from(id), Arg::from(at_unix_ms), Arg::from(true)],
        );
        self.change_plane(id, statement).await
    }

    /// Every plane that ever said hello, by name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn planes(&self) -> Result<Vec<Plane>, StoreError> {
        let statement = Statement::new("SELECT * FROM planes ORDER BY name, id", []);
        self.engine.read("list the planes", statement).await?.iter().map(plane).collect()
    }

    /// Forgets the plane and the hash of its secret: its next hello is a first one.
    ///
    /// # Errors
    /// `UnknownPlane`; those of the database.
    pub async fn forget_plane(&self, id: &str) -> Result<(), StoreError> {
        let statement = Statement::new("DELETE FROM planes WHERE id = $1 RETURNING id", [Arg::from(id)]);
        self.change_plane(id, statement).await
    }

    async fn change_plane(&self, id: &str, statement: Statement) -> Result<(), StoreError> {
        let rows = self.engine.write("note what a plane does", vec![statement]).await?;
        if rows.first().is_none_or(Vec::is_empty) {
            return Err(StoreError::UnknownPlane { id: id.to_owned() });
        }
        Ok(())
    }
}

fn plane(row: &Row) -> Result<Plane, StoreError> {
    Ok(Plane {
        id: row.value("id")?,
        name: row.value("name")?,
        version: row.value("version")?,
        first_seen_unix_ms: row.value("first_seen_unix_ms")?,
        last_seen_unix_ms: row.value("last_seen_unix_ms")?,
        stopped: row.value("stopped")?,
        revision: row.count("revision")?,
        epoch: row.count("epoch")?,
    })
}
