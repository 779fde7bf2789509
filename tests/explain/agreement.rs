//! What is said before the fact is what happens: random clients, roles, tools, arguments, rules, limits and switches are
//! asked about, then called, then looked up in the audit.
//!
//! `SENTINEL_EXPLAIN_CASES` (500) and `SENTINEL_EXPLAIN_SEED` (random; printed) say how many and which.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures_util::StreamExt as _;
use sentinel_proto::v1::{ExplainAsk, Foretold, Scope};
use sentinel_tests::harness::client::whole;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::ModernClient;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::token;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

use crate::rpc::Rpc;

/// Each is asked about once a round: so no call of a round changes what the next one meets.
const CLIENTS: usize = 100;
const ROLES: usize = 5;
/// Rounds between two configurations.
const ROUNDS: usize = 3;
const TOOLS: [&str; 6] = ["echo", "add", "counter", "env", "fail", "no_such"];
const PATTERNS: [&str; 9] = ["*", "a__*", "b__*", "*__echo", "*__add", "a__c*", "?__fail", "prompt:*", "b__no_such"];
const RULES: [&str; 4] = [
    "{ properties = { a = { maximum = 10 } } }",
    "{ required = [\"text\"] }",
    "{ properties = { text = { pattern = \"^x\" } } }",
    "{ maxProperties = 1 }",
];
const ARGUMENTS: [&str; 11] = [
    "{}",
    r#"{"text":"x1"}"#,
    r#"{"text":"y"}"#,
    r#"{"text":1}"#,
    r#"{"a":1,"b":2}"#,
    r#"{"a":11,"b":2}"#,
    r#"{"a":"1","b":2}"#,
    r#"{"a":1,"a":11,"b":2}"#,
    r#"{"a":1,"b":123456789012345678901234567890}"#,
    r#"{"message":"no","text":"x"}"#,
    r#"{"text":"\ud800"}"#,
];

/// Numbers that a seed gives (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most as u64).unwrap()
    }

    fn one_in(&mut self, most: usize) -> bool {
        self.below(most) == 0
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

fn setup(dice: &mut Dice) -> Setup {
    let mut roles = String::new();
    for role in 0..ROLES {
        let mut list = |most: usize| {
            let all: Vec<String> = (0..1 + dice.below(most)).map(|_| format!("{:?}", dice.of(&PATTERNS))).collect();
            all.join(", ")
        };
        let (allow, deny) = (list(4), if role % 2 == 0 { list(2) } else { String::new() });
        writeln!(roles, "[roles.r{role}]\nallow = [{allow}]\ndeny = [{deny}]").unwrap();
        for _ in 0..1 + dice.below(3) {
            let tool = dice.of(&PATTERNS[..7]);
            writeln!(roles, "[[roles.r{role}.rules]]\ntool = {tool:?}\narguments = {}", dice.of(&RULES)).unwrap();
        }
    }
    // Nothing comes back within the test: what a bucket has left does not depend on the time between asking and calling.
    let mut quota = |most: usize| format!("{{ requests = 1, per_secs = 86400, burst = {} }}", 1 + dice.below(most));
    let limits = format!(
        "[rate_limit]\ndefault = {}\nper_client = {}\n[rate_limit.tools]\n\"*__add\" = {}\n",
        quota(9),
        quota(30),
        quota(4)
    );
    let killed = if dice.one_in(2) { "" } else { "\"a__env\"" };
    let mode = dice.of(&["enforce", "enforce", "warn", "off"]);
    Setup::one_plane()
        .backend("a")
        .backend("b")
        .env("SENTINEL_TEST_JWT", token::SECRET)
        .auth(token::AUTH)
        .roles(&roles)
        .limits(&limits)
        .toml(&format!("[kill_switch]\ntools = [{killed}]\n[schema]\narguments = \"{mode}\""))
}

struct Caller {
    name: String,
    roles: Vec<String>,
    client: ModernClient,
}

fn callers(fleet: &Fleet, dice: &mut Dice) -> Vec<Caller> {
    let each = (0..CLIENTS).map(|number| {
        let name = format!("c{number}");
        // One role more than the file knows.
        let roles: Vec<String> = (0..dice.below(3)).map(|_| format!("r{}", dice.below(ROLES + 1))).collect();
        let mut claims = token::claims(&name, "");
        claims["roles"] = json!(roles);
        let client = ModernClient::new(&fleet.planes[0].url(), &token::signed(&claims));
        Caller { name, roles, client }
    });
    each.collect()
}

/// A random switch is thrown, and one that stands lifted.
async fn switch(rpc: &mut Rpc, dice: &mut Dice, thrown: &mut Vec<(Scope, String)>) {
    if thrown.len() > 2 || !thrown.is_empty() && dice.one_in(2) {
        let (scope, name) = thrown.swap_remove(dice.below(thrown.len()));
        rpc.switch(scope, &name, true).await;
    }
    let (scope, name) = match dice.below(8) {
        0 | 1 => (Scope::Tool, format!("{}__{}", dice.of(&["a", "b"]), dice.of(&TOOLS))),
        2 => (Scope::Role, format!("r{}", dice.below(ROLES))),
        3 => (Scope::Backend, dice.of(&["a", "b"]).to_owned()),
        _ => (Scope::Client, format!("c{}", dice.below(CLIENTS))),
    };
    if !thrown.contains(&(scope, name.clone())) {
        rpc.switch(scope, &name, false).await;
        thrown.push((scope, name));
    }
}

/// The call that was asked about, byte for byte.
async fn call(caller: &Caller, ask: &ExplainAsk) -> Reply {
    let message = caller.client.message("tools/call", json!({ "name": ask.tool, "arguments": "@" }));
    let body = message.to_string().replace("\"@\"", &ask.arguments);
    whole(caller.client.post(&message).body(body).send().await.unwrap()).await
}

/// One case: what was asked, what was said, what came.
struct Case {
    ask: ExplainAsk,
    told: Foretold,
    reply: Reply,
}

#[tokio::test]
async fn what_is_said_before_the_fact_is_what_happens() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let wanted = usize::try_from(number("SENTINEL_EXPLAIN_CASES").unwrap_or(500)).unwrap();
    let seed = number("SENTINEL_EXPLAIN_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    eprintln!("SENTINEL_EXPLAIN_SEED={seed} SENTINEL_EXPLAIN_CASES={wanted}");
    let mut dice = Dice(seed);
    let fleet = Fleet::start(setup(&mut dice)).await;
    let callers = callers(&fleet, &mut dice);
    let mut rpc = Rpc::of(&fleet).await;
    let (mut cases, mut thrown) = (Vec::new(), Vec::new());

    for round in 0..wanted.div_ceil(CLIENTS) {
        if round > 0 && round % ROUNDS == 0 {
            fleet.write(&setup(&mut dice));
            let _published = fleet.ctl("reload").await.exits(0);
        }
        switch(&mut rpc, &mut dice, &mut thrown).await;
        let asks: Vec<ExplainAsk> = callers
            .iter()
            .map(|caller| ExplainAsk {
                client: caller.name.clone(),
                // None would stand for those of its last call.
                roles: if caller.roles.is_empty() { vec!["none".into()] } else { caller.roles.clone() },
                tool: format!("{}__{}", dice.of(&["a", "b"]), dice.of(&TOOLS)),
                arguments: dice.of(&ARGUMENTS).to_owned(),
                issuer: "https://id.test".into(),
                server: String::new(),
            })
            .collect();
        let told = rpc.explain(asks.clone()).await;
        let calls = callers.iter().zip(&asks).map(|(caller, ask)| call(caller, ask));
        let replies: Vec<Reply> = futures_util::stream::iter(calls).buffered(16).collect().await;
        for ((ask, told), reply) in asks.into_iter().zip(told).zip(replies) {
            cases.push(Case { ask, told: told.planes[0].clone(), reply });
        }
    }

    let rows = rows(&fleet, cases.len()).await;
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &cases {
        let row = &rows[&case.reply.request_id()];
        agree(case, row);
        *kinds.entry(&case.told.kind).or_default() += 1;
    }
    eprintln!("{} cases agree: {kinds:?}", cases.len());
    // Of few cases not every kind is to be expected.
    let all = ["", "disabled", "forbidden", "hidden_tool", "invalid_arguments", "rate_limited", "unknown_tool"];
    let seen = all.iter().filter(|kind| kinds.contains_key(*kind)).count();
    assert!(seen >= if wanted < 5_000 { 4 } else { all.len() }, "too few kinds of cases: {kinds:?}");
}

fn agree(Case { ask, told, reply }: &Case, row: &Value) {
    assert_eq!(told.problem, "", "{ask:?}");
    assert_eq!(row["kind"], told.kind, "{ask:?}\n{told:?}\n{reply:?}\n{row}");
    let passes = told.kind.is_empty();
    let went = ["ok", "tool_error"].contains(&row["status"].as_str().unwrap());
    assert_eq!(went, passes, "{ask:?}\n{told:?}\n{row}");
    let stage = row["detail"]["stage"].as_str().unwrap_or_default();
    let refused = told.stages.iter().find(|stage| stage.verdict == "refused");
    assert_eq!(refused.map_or("", |stage| &stage.stage), stage, "{ask:?}\n{told:?}\n{row}");
    if let Some(error) = &told.error {
        let data: Value = serde_json::from_str(&error.data).unwrap();
        assert_eq!(reply.message["error"]["code"], error.code, "{ask:?}\n{told:?}\n{reply:?}");
        for member in ["scope", "limit", "rule", "problems", "reason"] {
            assert_eq!(reply.data()[member], data[member], "{ask:?}\n{told:?}\n{reply:?}");
        }
    }
}

/// The rows by their request id, once there are so many of calls.
async fn rows(fleet: &Fleet, count: usize) -> BTreeMap<String, Value> {
    until("every call has its row", async || {
        let exported = fleet.ctl("audit export --format jsonl").await;
        let lines = exported.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let calls = lines.filter(|row| row["method"] == "tools/call");
        let rows: BTreeMap<String, Value> =
            calls.map(|row| (row["request_id"].as_str().unwrap().to_owned(), row)).collect();
        if rows.len() == count { Ok(rows) } else { Err(format!("{} of {count}", rows.len())) }
    })
    .await
}
