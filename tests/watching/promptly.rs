//! How soon a changed list reaches those who see the change: in less than 800 ms, in both eras, from servers of both; and
//! nobody else hears of it.

use std::time::Duration;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::{Setup, http_example, modern_http_example};
use sentinel_tests::harness::sse::Messages;
use serde_json::{Value, json};
use tokio::time::Instant;

const SOON: Duration = Duration::from_millis(800);
/// Of so many changes the one in the middle counts: the machine may be busy with other tests for a moment.
const TIMES: usize = 5;

const ROLES: &str = "[roles.operator]\nallow = [\"*\"]\n[roles.blind]\nallow = [\"*__echo\"]\n";

async fn next_method(notes: &mut Messages) -> Value {
    notes.next_json().await.expect("the stream has ended")["method"].clone()
}

async fn is_quiet(notes: &mut Messages) -> bool {
    tokio::time::timeout(Duration::from_millis(300), notes.next_json()).await.is_err()
}

#[tokio::test]
async fn a_changed_list_reaches_those_who_see_it_and_nobody_else_in_less_than_800_ms() {
    let (legacy, modern) = (http_example(false), modern_http_example(false));
    let http = format!(
        "[[backends]]\nname = \"c\"\nurl = \"{}\"\n[[backends]]\nname = \"d\"\nurl = \"{}\"\n",
        legacy.url, modern.url
    );
    let fleet = Fleet::start(Setup::one_plane().backend("a").modern_backend("b", "").toml(&http).roles(ROLES)).await;
    let filter = json!({ "toolsListChanged": true });
    let boss = fleet.client("boss", "operator").await;
    let mut entitled =
        [boss.listen().await, fleet.modern_client("b", "operator").await.listen(json!(1), filter.clone()).await.1];
    let blind = fleet.client("blind", "blind").await;
    let mut others = [blind.listen().await, fleet.modern_client("b2", "blind").await.listen(json!(1), filter).await.1];

    for backend in ["a", "b", "c", "d"] {
        let mut took = Vec::new();
        for _ in 0..TIMES {
            let since = Instant::now();
            let _grown = boss.call(&format!("{backend}__grow"), json!({})).await;
            for notes in &mut entitled {
                assert_eq!(next_method(notes).await, "notifications/tools/list_changed", "{backend}");
            }
            took.push(since.elapsed());
        }
        took.sort();
        println!("{backend}: {took:?}");
        assert!(took[TIMES / 2] < SOON, "{backend}: {took:?}");
    }
    for notes in &mut others {
        assert!(is_quiet(notes).await);
    }
}

#[tokio::test]
async fn a_changed_list_of_a_process_that_is_not_shared_reaches_whose_it_is_as_soon_and_nobody_else() {
    let isolated = "isolation = \"per-session\"";
    let fleet = Fleet::start(Setup::one_plane().backend_with("a", isolated).modern_backend("b", isolated)).await;
    let filter = json!({ "toolsListChanged": true });
    let (boss, modern) = (fleet.client("boss", "operator").await, fleet.modern_client("modern", "operator").await);
    let (mut to_boss, (_first, mut to_modern)) = (boss.listen().await, modern.listen(json!(1), filter.clone()).await);
    let another = fleet.client("boss", "operator").await;
    let mut others =
        [another.listen().await, fleet.modern_client("m2", "operator").await.listen(json!(1), filter).await.1];

    for backend in ["a", "b"] {
        let grow = format!("{backend}__grow");
        let mut took = Vec::new();
        for turn in 0..=TIMES {
            let since = Instant::now();
            let _grown = boss.call(&grow, json!({})).await;
            assert_eq!(next_method(&mut to_boss).await, "notifications/tools/list_changed", "{backend}");
            let _grown = modern.call(&grow, json!({})).await;
            assert_eq!(next_method(&mut to_modern).await, "notifications/tools/list_changed", "{backend}");
            // Its first call starts a process.
            took.extend((turn > 0).then(|| since.elapsed() / 2));
        }
        took.sort();
        println!("{backend}: {took:?}");
        assert!(took[TIMES / 2] < SOON, "{backend}: {took:?}");
    }
    for notes in &mut others {
        assert!(is_quiet(notes).await);
    }
}

#[tokio::test]
async fn a_reload_that_changes_what_a_role_sees_is_told_to_that_role_as_soon() {
    let fleet = Fleet::start(Setup::example().roles(ROLES)).await;
    let filter = json!({ "toolsListChanged": true });
    let mut boss = fleet.client("boss", "operator").await.listen().await;
    let mut entitled = [
        fleet.client("blind", "blind").await.listen().await,
        fleet.modern_client("b2", "blind").await.listen(json!(1), filter).await.1,
    ];
    let mut took = Vec::new();
    for more in ["\"*__add\"", "\"*__fail\"", "\"*__slow\"", "\"*__raw\"", "\"*__big\""] {
        fleet.write(&fleet.setup().roles(&ROLES.replace("\"*__echo\"", &format!("\"*__echo\", {more}"))));
        let reloaded = fleet.ctl("reload").await;
        assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
        // From the moment when the operator is told that it is in force.
        let since = Instant::now();
        for notes in &mut entitled {
            assert_eq!(next_method(notes).await, "notifications/tools/list_changed");
        }
        took.push(since.elapsed());
    }
    took.sort();
    assert!(took[TIMES / 2] < SOON, "{took:?}");
    assert!(is_quiet(&mut boss).await, "its role sees what it saw");
}
