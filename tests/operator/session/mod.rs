//! Every command of `sentinelctl`, as a person meets it: on terminals of 60 and 160 columns, as a table and as JSON, among
//! names that others chose to mislead. Which commands there are, the program itself says: one without a line here fails.
//!
//! `make session` writes what was shown into `target/session/`, for people.

mod lines;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::port::Port;
use sentinel_tests::harness::process::{Start, program};
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::terminal::{Shown, shown};
use sentinel_tests::harness::token::{AUTH, SECRET, claims, signed};
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

use lines::{End, LINES, Line};

/// A name that would colour, turn and ring, and set what comes after it.
const HOSTILE: &str = "eve\u{1b}[31m\u{202e}\u{7}\u{9b}x";
/// Planes take no control characters in a client's name; these they take.
const HOSTILE_CLIENT: &str = "eve\u{202e}\u{200b}x";

/// An installation with a history: calls, refusals, hostile names, a change of the file.
struct Scene {
    fleet: Fleet,
    request_id: String,
    /// For `up`.
    ports: [Port; 3],
}

impl Scene {
    async fn set() -> Self {
        let setup = Setup::example().auth(AUTH).env("SENTINEL_TEST_JWT", SECRET);
        let loud = format!(
            "[[backends]]\nname = \"loud\"\ncommand = \"sh\"\nargs = [\"-c\", '''printf '\\033[31mred\\033[0m \\007\\302\\233\\n' >&2; \
             exec '{}' --log /dev/null''']\n",
            program("sentinel-example-server").display()
        );
        let fleet = Fleet::start(setup.toml(&loud)).await;
        std::fs::write(fleet.folder().join("bad.toml"), "[auth]\n[gateway]\nlistem = 1\n").unwrap();
        let next = fleet.setup().roles("[roles.operator]\nallow = [\"*\"]\ndeny = [\"*__slow\"]\n");
        std::fs::write(fleet.folder().join("next.toml"), next.text(fleet.folder())).unwrap();
        let servers = json!({ "mcpServers": {
            "github": { "command": "npx", "args": ["-y", "x"], "env": { "GITHUB_TOKEN": "ghp_0123456789abcdef" } },
            "odd \u{202e}name": { "command": "true", "timeout": 5 },
        } });
        std::fs::write(fleet.folder().join("mcp.json"), servers.to_string()).unwrap();
        let token = signed(&claims(HOSTILE_CLIENT, "operator"));
        let eve = Client::connected(&fleet.planes[0].url(), &token).await;
        let answered = eve.call("example__echo", json!({ "text": HOSTILE })).await;
        let request_id = answered.request_id();
        for last in [
            answered.request_id(),
            eve.call(HOSTILE, json!({})).await.request_id(),
            fleet.client("ana", "analyst").await.call("example__add", json!({ "a": 5000, "b": 1 })).await.request_id(),
        ] {
            let _rows = fleet.audit_rows(&last).await;
        }
        Self { fleet, request_id, ports: [Port::free(), Port::free(), Port::free()] }
    }

    /// The words of a line, with what it names put in.
    fn words(&self, line: &Line, pass: &str) -> Vec<String> {
        line.words.split(' ').map(|word| self.named(&word.replace('~', " "), pass)).collect()
    }

    fn named(&self, text: &str, pass: &str) -> String {
        let [listen, ops, control_ops] = self.ports.each_ref().map(Port::address);
        let named = [
            ("{pass}", pass),
            ("{id}", &self.request_id),
            ("{gateway}", &self.fleet.planes[0].url()),
            ("{listen}", &listen),
            ("{ops}", &ops),
            ("{control-ops}", &control_ops),
            ("{hostile}", &json!(HOSTILE).to_string()),
        ];
        named.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    fn start(&self, words: Vec<String>, columns: u16) -> Start {
        let data_dir = self.fleet.folder().join("control").display().to_string();
        let mut env = std::collections::BTreeMap::from([("SENTINEL_TEST_JWT".to_owned(), SECRET.to_owned())]);
        env.insert("HOME".to_owned(), self.fleet.folder().display().to_string());
        env.insert("SENTINEL_NO_WATCH".to_owned(), "true".to_owned());
        if !is_coloured(columns) {
            env.insert("NO_COLOR".to_owned(), "1".to_owned());
        }
        if !words.iter().any(|word| word == "--data-dir") {
            env.insert("SENTINEL_DATA_DIR".to_owned(), data_dir);
        }
        let folder = self.fleet.folder().to_owned();
        Start { name: "ctl".into(), program: program("sentinelctl"), args: words, env, folder }
    }

    /// A restarted backend is waited for, so that the next line does not meet it half way.
    async fn settled(&self) {
        self.fleet.planes[0].until_ready(true).await;
        until("its tools are known again", async || {
            let listed = self.fleet.ctl("tool list --output json").await;
            let all = listed.stdout.contains("example__echo") && listed.stdout.contains("loud__echo");
            if all && !listed.stdout.contains("stale") { Ok(()) } else { Err(listed) }
        })
        .await;
    }
}

/// Every command that the program names, each with the words that lead to it, from its own help at 60 columns.
fn commands(scene: &Scene) -> BTreeSet<String> {
    let mut leaves = BTreeSet::new();
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let mut words: Vec<String> = path.clone();
        words.push("--help".into());
        let help = shown(&scene.start(words, 60), 60, None);
        assert_eq!(help.code, Some(0), "{path:?}: {help:?}");
        let help = Shown { out: plain(&format!("{path:?} --help"), &help.out, 60), ..help };
        fits(&format!("{path:?} --help"), &help.out, 60);
        let listed = help.out.split("Commands:\n").nth(1).map(|rest| rest.split("\n\n").next().unwrap_or_default());
        let Some(listed) = listed else {
            leaves.insert(path.join(" "));
            continue;
        };
        let named = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for name in named.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
            open.push(path.iter().cloned().chain([name.to_owned()]).collect());
        }
    }
    leaves
}

/// On the narrow terminal; on the wide one `NO_COLOR` is set, so that an escape there is somebody else's.
fn is_coloured(columns: u16) -> bool {
    columns == 60
}

/// The text without colours. Panics at any other control character, and at marks that mislead a reader.
fn plain(what: &str, text: &str, columns: u16) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            let misleads =
                matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
            assert!(!misleads && (!c.is_control() || matches!(c, '\n' | '\t')), "{what}: {c:?} in {text:?}");
            plain.push(c);
            continue;
        }
        assert!(is_coloured(columns), "{what}: {text:?}");
        let code: String = rest.by_ref().take_while(|c| !c.is_ascii_alphabetic()).collect();
        assert!(
            code.starts_with('[') && code.chars().skip(1).all(|c| c.is_ascii_digit() || c == ';'),
            "{what}: {text:?}"
        );
    }
    plain
}

/// No line is wider than the terminal, but one that is a single word (a path, a digest, a token) and a command's usage,
/// which clap breaks nowhere.
fn fits(what: &str, text: &str, columns: usize) {
    for line in text.lines() {
        let wide = line.chars().count();
        let is_word = !line.trim().contains(' ') || line.starts_with("Usage: ");
        assert!(wide <= columns || is_word, "{what}: {wide} columns of {columns}: {line}\n{text}");
    }
}

fn judged(what: &str, line: &Line, seen: &Shown, columns: u16, json: bool) {
    match line.end {
        End::Code(code) => assert_eq!(seen.code, Some(code), "{what}: {seen:?}"),
        End::OneOf(codes) => assert!(seen.code.is_some_and(|code| codes.contains(&code)), "{what}: {seen:?}"),
        // By its own handler, or by the signal: either is quiet.
        End::CtrlC(_) => assert!(matches!(seen.code, None | Some(0 | 130)), "{what}: {seen:?}"),
    }
    let (out, err) = (plain(what, &clears_apart(&seen.out), columns), plain(what, &seen.err, columns));
    for text in [&out, &err] {
        assert!(!text.contains("panicked at") && !text.contains("RUST_BACKTRACE"), "{what}: {seen:?}");
    }
    if json {
        let whole = out.trim().trim_end_matches("^C");
        for value in if line.is_stream { whole.lines().collect() } else { vec![whole] } {
            let value = value.trim_end_matches("^C");
            let read = serde_json::from_str::<Value>(value);
            let nothing = value.is_empty() && seen.code != Some(0);
            assert!(read.is_ok() || nothing || line.is_text, "{what}: {read:?} {seen:?}");
        }
    } else if !line.is_copied {
        fits(what, &out, columns.into());
    }
    if !line.is_copied {
        fits(what, &err, columns.into());
    }
}

/// `status --watch` clears the screen between its blocks.
fn clears_apart(text: &str) -> String {
    text.replace("\u{1b}[H\u{1b}[2J\u{1b}[3J", "")
}

/// All lines on a terminal of so many columns; what was shown goes to the folder `SENTINEL_SESSION`, where that is set.
async fn session(columns: u16, format: &str) {
    let scene = Scene::set().await;
    let pass = format!("{columns}-{format}");
    let mut session = String::new();
    for line in LINES {
        let mut words = scene.words(line, &pass);
        words.extend(["--output".to_owned(), format.to_owned()]);
        let what = format!("{columns} columns: sentinelctl {}", words.join(" "));
        let until = match line.end {
            End::CtrlC(shown) => Some(scene.named(shown, &pass)),
            End::Code(_) | End::OneOf(_) => None,
        };
        let seen = shown(&scene.start(words, columns), columns, until.as_deref());
        let code = seen.code.map_or_else(|| "Ctrl-C".to_owned(), |code| format!("exit {code}"));
        writeln!(session, "=== {what}\n{}{}--- {code}\n", seen.out, seen.err).unwrap();
        judged(&what, line, &seen, columns, format == "json");
        if line.words.starts_with("backend restart") {
            scene.settled().await;
        }
    }
    if let Some(folder) = std::env::var_os("SENTINEL_SESSION") {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(PathBuf::from(folder).join(format!("{pass}.txt")), session).unwrap();
    }
}

#[tokio::test]
async fn every_command_that_the_program_names_has_a_line_in_the_session() {
    for command in commands(&Scene::set().await) {
        let said = |line: &&Line| line.words == command || line.words.starts_with(&format!("{command} "));
        assert!(LINES.iter().any(|line| said(&line)), "`sentinelctl {command}` has no line in session/lines.rs");
    }
}

#[tokio::test]
async fn every_command_as_a_table_on_a_terminal_of_60_columns() {
    session(60, "table").await;
}

#[tokio::test]
async fn every_command_as_json_on_a_terminal_of_60_columns() {
    session(60, "json").await;
}

#[tokio::test]
async fn every_command_as_a_table_on_a_terminal_of_160_columns() {
    session(160, "table").await;
}

#[tokio::test]
async fn every_command_as_json_on_a_terminal_of_160_columns() {
    session(160, "json").await;
}

#[tokio::test]
async fn every_command_ends_quietly_when_nobody_reads_what_it_prints() {
    let scene = Scene::set().await;
    for format in ["table", "json"] {
        for line in LINES.iter().filter(|line| !matches!(line.end, End::CtrlC(_))) {
            let mut words = scene.words(line, &format!("cut-{format}"));
            words.extend(["--output".to_owned(), format.to_owned()]);
            let what = words.join(" ");
            let (read, write) = std::io::pipe().unwrap();
            drop(read);
            let mut command: Command = scene.start(words, 160).command();
            let ended = command.stdin(Stdio::null()).stdout(write).output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            let code = ended.status.code();
            let as_before = match line.end {
                End::Code(expected) => code == Some(expected),
                End::OneOf(expected) => code.is_some_and(|code| expected.contains(&code)),
                End::CtrlC(_) => true,
            };
            assert!(as_before && !said.contains("panicked"), "{what}: {ended:?}");
            if line.words.starts_with("backend restart") {
                scene.settled().await;
            }
        }
    }
}
