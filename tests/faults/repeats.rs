//! F54 and the rule of section 4.3: what may be sent again, how often, and what never.

use futures_util::future::join_all;
use serde_json::json;

use crate::stdio::beside_rough;
use crate::{PATIENT, beside_wild, row_of, serves};

#[tokio::test]
async fn f54_what_only_reads_is_sent_once_more_and_what_may_change_something_never() {
    let (fleet, wild, client) = beside_wild("retry = { attempts = 3 }", PATIENT).await;
    // Few enough that the breaker does not see half of twenty calls fail.
    for how in ["close", "status 503 Later", "cut_head", "events_empty"] {
        let call = |tool: &str, nonce: &str| {
            let arguments = json!({ "nonce": nonce, "fails_first": how });
            let tool = format!("wild__{tool}");
            let client = &client;
            async move { client.call(&tool, arguments).await }
        };
        let reads = call("look", &format!("look {how}")).await;
        let changes = call("once", &format!("once {how}")).await;

        assert_eq!(reads.content(), format!("look {how}"));
        assert_eq!(row_of(&fleet, &reads).await["detail"]["attempts"], 2, "{how}");
        let _id = changes.is_refused("backend_error", -31502);
        let row = row_of(&fleet, &changes).await;
        assert_eq!((&row["detail"]["attempts"], &row["detail"]["sent"]), (&json!(1), &json!(true)), "{how}");
    }
    assert_eq!((wild.received().calls("look").len(), wild.received().calls("once").len()), (8, 4));

    // Once, whatever `attempts` says: what fails again has failed.
    let reply = client.call("wild__look", json!({ "nonce": "n" })).await;
    assert_eq!(reply.content(), "n");
    wild.manner("status 503 Later");
    let reply = client.call("wild__look", json!({ "nonce": "m" })).await;
    let _id = reply.is_refused("backend_error", -31502);
    assert_eq!(row_of(&fleet, &reply).await["detail"]["attempts"], 2);
}

#[tokio::test]
async fn f54_a_stdio_call_that_was_written_is_never_sent_again_whatever_its_tool_says() {
    let (fleet, client) = beside_rough("retry = { attempts = 3 }").await;

    let died = client.call("rough__look", json!({ "nonce": "n", "fails_first": "die" })).await;

    let _id = died.is_refused("backend_error", -31502);
    serves(&client, "rough").await;
    assert_eq!(fleet.received("rough").calls("look").len(), 1);
}

#[tokio::test]
async fn f54_repeats_never_become_the_load() {
    // Fewer than the breaker needs to see that half of what it saw has failed.
    const CALLS: usize = 16;
    let (_fleet, wild, client) = beside_wild("retry = { attempts = 2 }\ntimeout_secs = 20", PATIENT).await;
    let calls = (0..CALLS).map(|number| {
        let nonce = number.to_string();
        client.call("wild__look", json!({ "nonce": nonce, "fails_first": "close" }))
    });

    let replies = join_all(calls).await;

    let good = replies.iter().filter(|reply| reply.message["result"].is_object()).count();
    assert!((1..CALLS).contains(&good), "{good} of {CALLS} were repeated at once");
    let again = wild.received().calls("look").len() - CALLS;
    assert_eq!(again, good, "each repeat is a good answer, and there is no other");
}
