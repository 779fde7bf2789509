//! `config plan` against what then really happens: the calls of a day are made again under the new file, and each ends as
//! it was said. Every call has a client of its own, so that the plan's groups are single calls.

use std::collections::BTreeMap;

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::token::{AUTH, SECRET, claims, signed};
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

/// Calls of one day.
const CALLS: usize = 96;

/// One call: who makes it, and what.
struct Call {
    client: String,
    roles: Vec<&'static str>,
    tool: &'static str,
    arguments: Value,
}

/// How a call ended: the kind of its audit row where it was refused.
type Ends = BTreeMap<String, Option<String>>;

/// The same numbers each time; spread enough that every role meets every tool.
fn numbers(seed: u64) -> impl Iterator<Item = usize> {
    let step = |last: &u64| Some(last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(seed), step).skip(1).map(|number| usize::try_from(number >> 40).unwrap())
}

/// A day of calls; `day` begins the names of its clients.
fn day(day: &str, seed: u64) -> Vec<Call> {
    const ROLES: [&[&str]; 7] =
        [&["operator"], &["analyst"], &["reader"], &["analyst", "reader"], &["reader", "stranger"], &["stranger"], &[]];
    const TOOLS: [&str; 8] = [
        "example__echo",
        "example__add",
        "example__slow",
        "example__counter",
        "other__echo",
        "other__add",
        "nowhere__x",
        "echo",
    ];
    let mut numbers = numbers(seed);
    let mut next = |below: usize| numbers.next().unwrap() % below;
    let call = |number: usize| {
        let tool = TOOLS[next(TOOLS.len())];
        let arguments = match tool.rsplit("__").next().unwrap() {
            "echo" => {
                let text = ["a", "b", "secret plan"][next(3)];
                json!({ "text": text })
            }
            "add" => {
                let (a, b) = (next(30), next(2000));
                json!({ "a": a, "b": b })
            }
            "slow" => json!({ "ms": 1 }),
            _ => json!({}),
        };
        Call { client: format!("{day}-{number}"), roles: ROLES[next(ROLES.len())].to_vec(), tool, arguments }
    };
    (0..CALLS).map(call).collect()
}

async fn made(fleet: &Fleet, calls: &[Call]) -> Ends {
    let mut ends = Ends::new();
    let mut ids = Vec::new();
    for call in calls {
        let mut claims = claims(&call.client, "");
        claims["roles"] = json!(call.roles);
        let client = Client::connected(&fleet.planes[0].url(), &signed(&claims)).await;
        let reply = client.call(call.tool, call.arguments.clone()).await;
        ids.push((call.client.clone(), reply.request_id()));
    }
    // A plane's rows arrive in their order: with the last one all are there.
    let _rows = fleet.audit_rows(&ids.last().unwrap().1).await;
    let rows = fleet.ctl(&format!("audit list --limit {} --output json", 4 * CALLS)).await.json();
    let rows: BTreeMap<&str, &Value> =
        rows.as_array().unwrap().iter().map(|row| (row["request_id"].as_str().unwrap(), row)).collect();
    for (client, id) in ids {
        let row = rows[id.as_str()];
        let refused = (row["status"] == "denied").then(|| row["kind"].as_str().unwrap().to_owned());
        ends.insert(client, refused);
    }
    ends
}

async fn in_force(fleet: &Fleet, setup: &Setup, tools: &[&str]) {
    fleet.write(setup);
    let _published = fleet.ctl("reload").await.exits(0);
    until("its tools are known, and no others", async || {
        let listed = fleet.ctl("tool list --output json").await;
        let known = ["example__echo", "example__add", "other__echo", "moved__echo"]
            .iter()
            .all(|name| listed.stdout.contains(&format!("\"{name}\"")) == tools.contains(name));
        if known { Ok(()) } else { Err(listed) }
    })
    .await;
}

/// What the plan says of the calls of this day: newly refused with their kinds, newly allowed.
fn predicted(told: &Value, day: &str) -> (Ends, Ends) {
    let of = |which: &str| {
        let groups = told[which].as_array().unwrap().iter();
        let ours = groups.filter(|group| group["client"].as_str().unwrap().starts_with(&format!("{day}-")));
        ours.map(|group| {
            assert_eq!(group["calls"], 1, "{group}");
            (group["client"].as_str().unwrap().to_owned(), group["kind"].as_str().map(str::to_owned))
        })
        .collect()
    };
    (of("refused"), of("allowed"))
}

#[tokio::test]
async fn call_by_call_the_plan_says_what_the_new_file_then_does() {
    let roles = "[roles.operator]\nallow = [\"*\"]\n[roles.analyst]\nallow = [\"*__echo\", \"*__add\"]\n\
        [[roles.analyst.rules]]\ntool = \"*__add\"\narguments = { properties = { b = { maximum = 1000 } } }\n\
        [roles.reader]\nallow = [\"other__*\"]\ndeny = [\"*__add\"]\n";
    let base = Setup::example()
        .backend("other")
        .auth(AUTH)
        .env("SENTINEL_TEST_JWT", SECRET)
        .roles(roles)
        .toml("[audit]\narguments = \"full\"");
    let fleet = Fleet::start(base.clone()).await;
    let known = ["example__echo", "example__add", "other__echo"];
    let stricter = base.clone().roles(
        "[roles.operator]\nallow = [\"*\"]\ndeny = [\"*__slow\", \"other__*\"]\n\
         [roles.analyst]\nallow = [\"*__echo\", \"*__counter\", \"*__add\"]\n\
         [[roles.analyst.rules]]\ntool = \"*__add\"\narguments = { properties = { a = { maximum = 10 } } }\n\
         [[roles.analyst.rules]]\ntool = \"example__echo\"\narguments = { properties = { text = { enum = [\"a\", \"b\"] } } }\n\
         [roles.stranger]\nallow = [\"*__slow\"]\n",
    );
    let stopped = base.clone().toml(
        "[kill_switch]\ntools = [\"example__add\"]\nbackends = [\"other\"]\nroles = [\"reader\"]\nclients = [\"b-3\", \"b-5\"]",
    );
    let moved = Setup::example()
        .backend_with("other", "prefix = \"moved\"")
        .auth(AUTH)
        .env("SENTINEL_TEST_JWT", SECRET)
        .roles(&roles.replace("other__*", "*"))
        .toml("[audit]\narguments = \"full\"");
    for (name, seed, next, tools) in [
        ("a", 11, stricter, &known[..]),
        ("b", 22, stopped, &known[..]),
        ("c", 33, moved, &["example__echo", "example__add", "moved__echo"][..]),
    ] {
        in_force(&fleet, &base, &known).await;
        let calls = day(name, seed);
        let before = made(&fleet, &calls).await;
        std::fs::write(fleet.folder().join("next.toml"), next.text(fleet.folder())).unwrap();

        let told = fleet.ctl("config plan next.toml --days 1 --output json").await.json();

        let (refused, allowed) = predicted(&told, name);
        in_force(&fleet, &next, tools).await;
        let after = made(&fleet, &calls).await;
        assert_eq!((&told["unjudged"], &told["truncated"]), (&json!(0), &json!(false)), "{told}");
        assert!(refused.len() > 5, "a day on which something changes: {told}");
        for call in &calls {
            let (was, is) = (&before[&call.client], &after[&call.client]);
            let what =
                format!("{} {:?} {} {}: {was:?} then {is:?}", call.client, call.roles, call.tool, call.arguments);
            let becomes_refused = was.is_none() && is.is_some();
            let becomes_allowed = was.is_some() && is.is_none();
            assert_eq!(refused.contains_key(&call.client), becomes_refused, "{what}; {told}");
            assert_eq!(allowed.contains_key(&call.client), becomes_allowed, "{what}; {told}");
            if becomes_refused {
                assert_eq!(&refused[&call.client], is, "{what}; the kind");
            }
        }
    }
}
