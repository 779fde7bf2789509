//! Pins to planes: before any configuration, the first sight for all, and who is waited for.

use sentinel_proto::v1::plane_says::Says;
use sentinel_proto::v1::{CatalogueTool, Report, Sighting, Sightings, ToolApproveRequest, ToolTrustReply};
use tonic::{Code, Status};

use super::Rig;
use super::fake_plane::{FakePlane, hello};

fn sighting(hash: u8, trusted: bool) -> Sighting {
    Sighting {
        backend: "files".to_owned(),
        own: "read".to_owned(),
        exposed: "files__read".to_owned(),
        hash: vec![hash; 32],
        definition: format!("{{\"n\":{hash}}}"),
        trusted,
        held: !trusted,
        why: if trusted { String::new() } else { "definition changed".to_owned() },
        gone: Vec::new(),
        apart: false,
    }
}

/// The plane reports one tool, as it sees it.
async fn sees(plane: &FakePlane, seen: Sighting) {
    let status = if seen.held { "quarantined" } else { "listed" };
    let tool = CatalogueTool {
        exposed: seen.exposed.clone(),
        backend: seen.backend.clone(),
        own: seen.own.clone(),
        status: status.to_owned(),
        ..CatalogueTool::default()
    };
    let catalogue = Some(sentinel_proto::v1::Catalogue { tools: vec![tool] });
    plane.say(Says::Report(Report { catalogue, ..Report::default() })).await;
    plane.say(Says::Sightings(Sightings { tools: vec![seen] })).await;
}

async fn approve(rig: &mut Rig, hash: &str) -> Result<ToolTrustReply, Status> {
    let (name, hash) = ("files__read".to_owned(), hash.to_owned());
    let request = rig.bearer(ToolApproveRequest { name, hash, ..ToolApproveRequest::default() });
    rig.admin.tool_approve(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn the_first_sight_of_one_plane_is_pinned_for_all_and_an_approval_reaches_all() {
    let mut rig = Rig::start().await;
    let mut one = FakePlane::ready(&rig, hello(1)).await;
    let mut two = FakePlane::ready(&rig, hello(2)).await;
    assert!(one.pins[0].whole, "pins come before the configuration");

    sees(&one, sighting(1, true)).await;
    let (pin, same) = (one.take_pin().await, two.take_pin().await);
    assert_eq!((&pin, &*pin.by, &pin.hash), (&same, "first sight on plane-1", &vec![1; 32]));
    // The other plane has another definition: what is pinned stays.
    sees(&two, sighting(2, true)).await;
    sees(&two, sighting(2, false)).await;
    rig.until(|status| status.quarantined == ["files__read"]).await;
    assert_eq!(rig.core.pins.definition(&pin).await.unwrap(), "{\"n\":1}");

    assert_eq!(approve(&mut rig, "ff").await.unwrap_err().code(), Code::FailedPrecondition);
    let (reply, pin, same) = tokio::join!(approve(&mut rig, "0202"), one.take_pin(), two.take_pin());
    let reply = reply.unwrap();
    assert!(reply.complete && reply.acks.iter().all(|ack| ack.acked), "{reply:?}");
    assert_eq!((&pin, &same), (&reply.pins[0], &reply.pins[0]));
    assert_eq!(pin.hash, vec![2; 32]);

    // A plane that comes later is told all of it before anything else.
    let late = FakePlane::ready(&rig, hello(3)).await;
    assert_eq!(late.pins[0].pins, [pin]);
    rig.stop().await;
}

#[tokio::test]
async fn planes_that_hold_different_definitions_are_told_apart_and_a_lost_plane_is_named() {
    let mut rig = Rig::start().await;
    let mut one = FakePlane::ready(&rig, hello(1)).await;
    let mut two = FakePlane::ready(&rig, hello(2)).await;
    sees(&one, sighting(1, true)).await;
    let _pinned = (one.take_pin().await, two.take_pin().await);
    sees(&one, sighting(3, false)).await;
    rig.until(|status| status.quarantined.len() == 1).await;
    sees(&two, sighting(4, false)).await;
    rig.core
        .fleet
        .until(tokio::time::Instant::now() + std::time::Duration::from_secs(10), |all| {
            all.values().all(|plane| plane.sightings.iter().any(|seen| seen.held)).then_some(())
        })
        .await
        .expect("both are known");
    let refused = approve(&mut rig, "").await.unwrap_err();
    assert!(refused.message().contains("030303030303, 040404040404"), "{refused}");

    drop(two);
    rig.until(|status| status.planes.iter().any(|plane| plane.state == "lost")).await;
    let (reply, pin) = tokio::join!(approve(&mut rig, "03"), one.take_pin());
    let reply = reply.unwrap();
    assert!(!reply.complete && reply.note.contains("without: plane-2"), "{reply:?}");
    assert_eq!(pin.hash, vec![3; 32]);
    rig.stop().await;
}
