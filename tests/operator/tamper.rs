//! A hand in the store beside the control plane: each kind of damage that somebody could do to a chain, and its undoing.

use sentinel_tests::harness::fleet::Fleet;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

/// A way into the store beside the control plane.
pub(crate) enum Store {
    Sqlite(String),
    Postgres(String),
}

/// What is done to one chain, and what `audit verify` must say of it.
pub(crate) struct Damage {
    pub(crate) problem: &'static str,
    pub(crate) at: u64,
    sql: String,
}

impl Store {
    pub(crate) async fn run(&self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(path) => {
                let mut open = SqliteConnection::connect(&format!("sqlite:{path}")).await.unwrap();
                sql.execute(&mut open).await.unwrap();
                open.close().await.unwrap();
            }
            Self::Postgres(url) => {
                let mut open = PgConnection::connect(url).await.unwrap();
                sqlx::raw_sql("SET search_path TO sentinel").execute(&mut open).await.unwrap();
                sql.execute(&mut open).await.unwrap();
                open.close().await.unwrap();
            }
        }
    }

    /// Keeps all rows aside, for `undo`.
    pub(crate) async fn keep(&self) {
        self.run("CREATE TABLE kept AS SELECT * FROM audit_logs").await;
    }

    pub(crate) async fn make(&self, damage: &Damage) {
        self.run(&damage.sql).await;
    }

    /// The chain as it was kept.
    pub(crate) async fn undo(&self, epoch: u64) {
        let of = format!("epoch = {epoch}");
        self.run(&format!("DELETE FROM audit_logs WHERE {of}; INSERT INTO audit_logs SELECT * FROM kept WHERE {of};"))
            .await;
    }

    /// One of each kind, in the chain `epoch` of `end` records: mostly at record `at`, which is not the last but two.
    pub(crate) fn damages(&self, epoch: u64, at: u64, end: u64) -> Vec<Damage> {
        // The event of a record, with another client in it.
        let (forged, later, rubbish) = match self {
            Self::Sqlite(_) => ("CAST(REPLACE(CAST(event AS TEXT), '\"op\"', '\"eve\"') AS BLOB)", "ts + 1", "X'ff00'"),
            Self::Postgres(_) => (
                "convert_to(replace(convert_from(event, 'UTF8'), '\"op\"', '\"eve\"'), 'UTF8')",
                "ts + interval '1 microsecond'",
                "'\\xff00'::bytea",
            ),
        };
        let of = format!("epoch = {epoch}");
        let (next, far) = (at + 1, at + 3);
        let copy = |columns: &str, seq: u64| {
            let kept = "client, roles, session, tool, backend, method, arguments, arguments_note, status, kind, \
                        parent, count, latency_us, backend_latency_us, plane_id, epoch, revision, event, request_id";
            format!(
                "INSERT INTO audit_logs ({kept}, seq, ts, prev_hash) SELECT {kept}, {columns} FROM kept \
                 WHERE {of} AND seq = {seq};"
            )
        };
        let forge = |seq: u64| format!("client = 'eve', event = {forged} WHERE {of} AND seq = {seq}");
        let next_hash = format!("(SELECT prev_hash FROM kept WHERE {of} AND seq = {next})");
        let all = [
            ("hole", at, format!("DELETE FROM audit_logs WHERE {of} AND seq = {at}")),
            ("hole", 1, format!("DELETE FROM audit_logs WHERE {of} AND seq < {at}")),
            ("changed", at, format!("UPDATE audit_logs SET client = 'eve' WHERE {of} AND seq = {at}")),
            ("changed", at, format!("UPDATE audit_logs SET {}", forge(at))),
            ("changed", end, format!("UPDATE audit_logs SET {}", forge(end))),
            (
                "changed",
                at,
                format!("UPDATE audit_logs SET arguments = '{{\"text\":\"eve\"}}' WHERE {of} AND seq = {at}"),
            ),
            ("changed", at, format!("UPDATE audit_logs SET event = {rubbish} WHERE {of} AND seq = {at}")),
            (
                "order",
                at,
                format!("UPDATE audit_logs SET seq = {at} + {next} - seq WHERE {of} AND seq IN ({at}, {next})"),
            ),
            ("inserted", at, copy(&format!("seq, {later}, prev_hash"), at)),
            (
                "inserted",
                next,
                format!(
                    "UPDATE audit_logs SET seq = -seq - 1 WHERE {of} AND seq > {at}; \
                     UPDATE audit_logs SET seq = -seq WHERE {of} AND seq < 0; {}",
                    copy(&format!("{next}, ts, {next_hash}"), at)
                ),
            ),
            (
                "foreign",
                at,
                format!(
                    "DELETE FROM audit_logs WHERE {of} AND seq = {at}; {}",
                    copy(&format!("{at}, ts, prev_hash"), far)
                ),
            ),
            ("truncated", end - 1, format!("DELETE FROM audit_logs WHERE {of} AND seq > {}", end - 2)),
        ];
        all.into_iter().map(|(problem, at, sql)| Damage { problem, at, sql }).collect()
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {} is named after {}", self.problem, self.at, self.sql)
    }
}

/// What `audit verify` says. Panics where its exit code says something else.
pub(crate) async fn verify(fleet: &Fleet) -> Value {
    let ran = fleet.ctl("audit verify --output json").await;
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!(ran.code, Some(i32::from(told["good"] == false)), "{ran:?}");
    told
}

/// Epoch and last record of the run that goes on: its plane tells where it ends, while an older one ends where the next
/// run says.
pub(crate) async fn newest(fleet: &Fleet, told: &Value) -> (u64, u64) {
    let row = fleet.ctl("audit list --limit 1 --output json").await.json()[0].clone();
    let chain = told["chains"].as_array().unwrap().iter().find(|chain| chain["epoch"] == row["epoch"]).unwrap();
    (chain["epoch"].as_u64().unwrap(), chain["to_seq"].as_u64().unwrap())
}

/// Its chains that are not whole.
pub(crate) fn bad(told: &Value) -> Vec<&Value> {
    told["chains"].as_array().unwrap().iter().filter(|chain| chain["problem"] != "").collect()
}

/// Fails with what it says unless it names this damage, of this chain, and no other.
pub(crate) fn names(told: Value, damage: &Damage, epoch: u64) -> Result<(), Value> {
    match bad(&told)[..] {
        [one] if one["problem"] == damage.problem && one["at_seq"] == damage.at && one["epoch"] == epoch => Ok(()),
        _ => Err(told),
    }
}
