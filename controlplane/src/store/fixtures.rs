//! Databases for tests: a SQLite file in a folder of its own, a Postgres database in a throw-away cluster.
//!
//! `SENTINEL_TEST_POSTGRES_URL` names a cluster that stands already; else one is made, once a test process, and ended
//! by a keeper that watches our end of a pipe: however the tests end, server and folder go. No Postgres: the test fails.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;
use std::sync::OnceLock;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tokio::time::Instant;

use super::error::StoreError;
use super::{Place, Store};

/// 2026-11-23 12:00 UTC.
pub(crate) const NOW_MS: i64 = 1_795_435_200_000;
pub(crate) const NOW_US: i64 = NOW_MS * 1000;

const KEEPER: &str = r#"
bin=$1 dir=$2
"$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
"$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off -c max_connections=200 >>"$dir/log" 2>&1 </dev/null &
server=$!
echo started
cat >/dev/null
kill -INT $server
wait $server
rm -rf "$dir"
"#;

/// An empty database and what keeps it.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) place: Place,
    _folder: Option<tempfile::TempDir>,
}

impl Ground {
    pub(crate) async fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.place, NOW_MS).await
    }

    /// Runs `sql` as somebody else would, on a connection of its own.
    pub(crate) async fn run(&self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match &self.place {
            Place::Postgres(url) => {
                let mut other = Box::pin(PgConnection::connect(url.expose_secret())).await.unwrap();
                sql.execute(&mut other).await.unwrap();
                other.close().await.unwrap();
            }
            Place::Sqlite(path) => {
                let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
                let mut other = SqliteConnection::connect_with(&options).await.unwrap();
                sql.execute(&mut other).await.unwrap();
                other.close().await.unwrap();
            }
        }
    }
}

#[expect(clippy::unused_async, reason = "the contract awaits either ground")]
pub(crate) async fn sqlite() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    Ground { place: Place::Sqlite(folder.path().join("sentinel.db")), _folder: Some(folder) }
}

pub(crate) async fn postgres() -> Ground {
    let base = match std::env::var("SENTINEL_TEST_POSTGRES_URL") {
        Ok(url) => url,
        Err(_) => cluster().url.clone(),
    };
    let mut server = connected(&base).await;
    let name = format!("t_{}", uuid::Uuid::new_v4().simple());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut server).await.unwrap();
    server.close().await.unwrap();
    let (address, parameters) = base.split_once('?').map_or((base.as_str(), ""), |(a, p)| (a, p));
    let server = address.rsplit_once('/').map_or(address, |(server, _)| server);
    Ground { place: Place::Postgres(SecretString::from(format!("{server}/{name}?{parameters}"))), _folder: None }
}

/// Waits until the server takes connections, at most a minute.
async fn connected(url: &str) -> PgConnection {
    let options = PgConnectOptions::from_str(url).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match PgConnection::connect_with(&options).await {
            Ok(connection) => return connection,
            Err(error) if Instant::now() > deadline => panic!("Postgres does not answer: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

struct Cluster {
    url: String,
    /// Its stdin is the pipe that the keeper watches; ours closes when this process ends.
    _keeper: Child,
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| start().unwrap_or_else(|problem| panic!("Postgres could not be started: {problem}")))
}

fn start() -> Result<Cluster, String> {
    let programs = programs().ok_or(
        "no initdb and postgres in PATH or /usr/lib/postgresql/*/bin; install postgresql, or name a cluster in \
         SENTINEL_TEST_POSTGRES_URL",
    )?;
    let folder = tempfile::Builder::new().prefix("sentinel-pg-").tempdir_in("/tmp").map_err(|e| e.to_string())?;
    // the keeper removes it, after the server
    let folder = folder.keep();
    let mut keeper = Command::new("sh");
    keeper.arg("-c").arg(KEEPER).arg("keeper").arg(&programs).arg(&folder).current_dir("/");
    keeper.stdin(Stdio::piped()).stdout(Stdio::piped());
    if nix::unistd::geteuid().is_root() {
        // Postgres refuses root
        let user = ["postgres", "nobody"].iter().find_map(|name| nix::unistd::User::from_name(name).ok().flatten());
        let user = user.ok_or("running as root, and there is no user postgres or nobody to become")?;
        chown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(|e| e.to_string())?;
        keeper.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).map_err(|e| e.to_string())?;
    // ctrl-C ends us, and then it: not both at once, in any order
    keeper.process_group(0);
    let mut keeper = keeper.spawn().map_err(|e| e.to_string())?;
    let mut said = String::new();
    let mut out = BufReader::new(keeper.stdout.take().ok_or("the keeper has no output")?);
    while out.read_line(&mut said).map_err(|e| e.to_string())? > 0 {
        if said.ends_with("started\n") {
            let url = format!("postgres://postgres@localhost:5432/postgres?host={}", folder.display());
            return Ok(Cluster { url, _keeper: keeper });
        }
    }
    Err(said)
}

fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let has = |folder: &Path, program: &str| folder.join(program).is_file();
    folders.into_iter().find(|folder| has(folder, "initdb") && has(folder, "postgres"))
}
