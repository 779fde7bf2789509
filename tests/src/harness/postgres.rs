//! A throw-away Postgres, reached by a Unix socket, that a test can stop and start.
//!
//! A shell keeps it and watches our end of a pipe: however the tests end, server and folder go.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::until::until;

const KEEPER: &str = r#"
bin=$1 dir=$2
"$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
server=
stop() { [ -z "$server" ] || { kill -INT $server; wait $server; server=; }; }
echo done
while read -r order; do
  case $order in
    start) "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off >>"$dir/log" 2>&1 </dev/null & server=$!;;
    stop) stop;;
  esac
  echo done
done
stop
rm -rf "$dir"
"#;

/// One server, with an empty database.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Ends with our end of its pipe.
    _keeper: Child,
}

impl Postgres {
    /// Started. Panics where there is no Postgres, with advice.
    pub async fn start() -> Self {
        let programs = programs()
            .expect("no initdb and postgres in PATH or /usr/lib/postgresql/*/bin; install the package postgresql");
        let folder = tempfile::Builder::new().prefix("sentinel-pg-").tempdir_in("/tmp").unwrap().keep();
        let mut keeper = Command::new("sh");
        keeper.arg("-c").arg(KEEPER).arg("keeper").arg(&programs).arg(&folder).current_dir("/");
        keeper.stdin(Stdio::piped()).stdout(Stdio::piped());
        if nix::unistd::geteuid().is_root() {
            // Postgres refuses root.
            let user = ["postgres", "nobody"].iter().find_map(|name| nix::unistd::User::from_name(name).ok().flatten());
            let user = user.expect("running as root, and there is no user postgres or nobody to become");
            chown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
            keeper.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut keeper = keeper.process_group(0).spawn().unwrap();
        let orders = keeper.stdin.take().unwrap();
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let mut server = Self { folder, orders, answers, _keeper: keeper };
        server.done();
        Box::pin(server.resume()).await;
        server
    }

    /// For `SENTINEL_DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@localhost:5432/postgres?host={}", self.folder.display())
    }

    /// Stops the server; connections are cut.
    pub fn stop(&mut self) {
        self.orders.write_all(b"stop\n").unwrap();
        self.done();
    }

    /// Starts it again and waits until it answers.
    pub async fn resume(&mut self) {
        self.orders.write_all(b"start\n").unwrap();
        self.done();
        let url = self.url();
        until("Postgres answers", async || Box::pin(PgConnection::connect(&url)).await.map(drop)).await;
    }

    /// The one number that a query gives.
    pub async fn number(&self, query: &str) -> i64 {
        let mut connection = Box::pin(PgConnection::connect(&self.url())).await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.unwrap()
    }

    /// The one column of texts that a query gives.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        let mut connection = Box::pin(PgConnection::connect(&self.url())).await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_all(&mut connection).await.unwrap()
    }

    fn done(&mut self) {
        let mut said = String::new();
        while self.answers.read_line(&mut said).unwrap() > 0 {
            if said.ends_with("done\n") {
                return;
            }
        }
        panic!("Postgres could not be started: {said}");
    }
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
