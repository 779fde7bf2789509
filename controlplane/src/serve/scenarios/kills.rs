//! Kill switches to planes: first, acknowledged, adopted, and who is waited for.

use sentinel_proto::v1::plane_says::Says;
use sentinel_proto::v1::{KillEntry, KillReply, KillRequest, KillSet, Scope, TokenRevokeRequest};
use tonic::{Code, Status};

use super::Rig;
use super::fake_plane::{FakePlane, hello};

fn backend(name: &str) -> KillRequest {
    KillRequest { scope: Scope::Backend.into(), name: name.to_owned(), ..KillRequest::default() }
}

async fn kill(rig: &mut Rig, asked: KillRequest) -> Result<KillReply, Status> {
    let request = rig.bearer(asked);
    rig.admin.kill(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_kill_is_acknowledged_with_its_cut_calls_and_a_lift_too() {
    let mut rig = Rig::start().await;
    let mut plane = FakePlane::ready(&rig, hello(1)).await;

    let (reply, heard) = tokio::join!(kill(&mut rig, backend("echo")), plane.take_kills());
    let reply = reply.unwrap();
    assert!(reply.complete && reply.acks[0].acked && reply.acks[0].cut == 2, "{reply:?}");
    assert_eq!((heard.epoch, heard.whole, heard.entries[0].on), (reply.epoch, false, true));

    let lift = KillRequest { lift: true, ..backend("echo") };
    let (lifted, heard) = tokio::join!(kill(&mut rig, lift.clone()), plane.take_kills());
    assert!(lifted.unwrap().epoch > reply.epoch && !heard.entries[0].on);
    assert_eq!(kill(&mut rig, lift).await.unwrap_err().code(), Code::FailedPrecondition);
    rig.stop().await;
}

#[tokio::test]
async fn a_lift_that_was_meant_for_an_older_switch_lifts_nothing() {
    let mut rig = Rig::start().await;
    let mut plane = FakePlane::ready(&rig, hello(1)).await;
    let (first, _) = tokio::join!(kill(&mut rig, backend("echo")), plane.take_kills());
    let again = KillRequest { reason: "again".to_owned(), ..backend("echo") };
    let (second, _) = tokio::join!(kill(&mut rig, again), plane.take_kills());

    let late = KillRequest { lift: true, lifts: first.unwrap().epoch, ..backend("echo") };
    let refused = kill(&mut rig, late).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("again"), "{refused}");

    let meant = KillRequest { lift: true, lifts: second.unwrap().epoch, ..backend("echo") };
    let (lifted, heard) = tokio::join!(kill(&mut rig, meant), plane.take_kills());
    assert!(lifted.unwrap().complete && !heard.entries[0].on);
    rig.stop().await;
}

#[tokio::test]
async fn a_kill_overtakes_a_publish_that_waits() {
    let mut rig = Rig::start().await;
    let mut plane = FakePlane::ready(&rig, hello(1)).await;
    rig.write(&super::text("other"));
    let publishing = rig.bearer(sentinel_proto::v1::ReloadRequest::default());
    let mut admin = rig.admin.clone();
    let killing = async {
        let prepare = plane.asked().await;
        let (reply, _) = tokio::join!(kill(&mut rig, backend("echo")), plane.take_kills());
        assert!(reply.unwrap().complete);
        plane.answer(&prepare, Vec::new()).await;
        let Ok(sentinel_proto::v1::plane_hears::Hears::Commit(commit)) = plane.hear().await else {
            panic!("a Commit follows")
        };
        let (revision, digest) = (commit.revision, commit.digest);
        plane.say(Says::Applied(sentinel_proto::v1::Applied { revision, digest })).await;
    };
    let (published, ()) = tokio::join!(admin.reload(publishing), killing);
    assert!(published.unwrap().into_inner().published);
    drop(admin);
    rig.stop().await;
}

#[tokio::test]
async fn an_unknown_name_is_refused_with_the_nearest_and_taken_with_force() {
    let mut rig = Rig::start().await;
    let refused = kill(&mut rig, backend("ecco")).await.unwrap_err();
    assert!(refused.message().contains("did you mean echo?"), "{refused}");
    let forced = KillRequest { force: true, ..backend("ecco") };
    assert!(kill(&mut rig, forced).await.unwrap().complete);
    let client = KillRequest { scope: Scope::Client.into(), name: "anybody".to_owned(), ..KillRequest::default() };
    assert!(kill(&mut rig, client).await.unwrap().complete);
    let nothing = KillRequest { scope: Scope::Tool.into(), ..KillRequest::default() };
    assert_eq!(kill(&mut rig, nothing).await.unwrap_err().code(), Code::InvalidArgument);
    rig.stop().await;
}

#[tokio::test]
async fn a_plane_that_said_goodbye_is_not_waited_for_and_one_that_was_lost_is_named() {
    let mut rig = Rig::start().await;
    let home = FakePlane::ready(&rig, hello(1)).await;
    home.leave().await;
    rig.until(|status| status.planes[0].state == "stopped").await;
    let reply = kill(&mut rig, backend("echo")).await.unwrap();
    assert!(reply.complete && reply.acks.is_empty(), "{reply:?}");

    drop(FakePlane::ready(&rig, hello(2)).await);
    rig.until(|status| status.planes.iter().any(|plane| plane.state == "lost")).await;
    let connected = KillRequest { connected_only: true, ..backend("echo") };
    assert!(kill(&mut rig, connected).await.unwrap().complete);
    let reply = kill(&mut rig, backend("echo")).await.unwrap();
    assert!(!reply.complete && reply.note.contains("plane-2 (lost"), "{reply:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_plane_that_knows_more_is_believed_and_the_counter_goes_above_it() {
    let mut rig = Rig::start().await;
    let mut witness = FakePlane::ready(&rig, hello(1)).await;
    let entry = KillEntry {
        scope: Scope::Tool.into(),
        name: "echo__x".to_owned(),
        epoch: 40,
        on: true,
        ..KillEntry::default()
    };
    let held = KillSet { whole: true, epoch: 41, entries: vec![entry], ..KillSet::default() };
    let (mut plane, told) = tokio::join!(
        FakePlane::open(&rig, sentinel_proto::v1::Hello { kill_set: Some(held), ..hello(2) }),
        witness.take_kills(),
    );
    assert_eq!((told.epoch, told.entries[0].name.as_str()), (41, "echo__x"));
    let whole = plane.take_kills().await;
    assert!(whole.whole && whole.epoch == 41 && whole.entries.len() == 1, "{whole:?}");
    plane.take_revision().await;

    let both = async { tokio::join!(witness.take_kills(), plane.take_kills()) };
    let (reply, _) = tokio::join!(kill(&mut rig, backend("echo")), both);
    assert_eq!(reply.unwrap().epoch, 42);
    let mut rig = Rig::on(rig.stop().await).await;
    assert_eq!(rig.status().await.kills.len(), 2, "what was adopted is in the store");
    rig.stop().await;
}

#[tokio::test]
async fn a_revocation_is_an_entry_of_the_same_counter() {
    let mut rig = Rig::start().await;
    let mut plane = FakePlane::ready(&rig, hello(1)).await;
    let request = rig.bearer(TokenRevokeRequest { jti: "abc".to_owned(), ..TokenRevokeRequest::default() });
    let (reply, heard) = tokio::join!(rig.admin.token_revoke(request), plane.take_kills());
    let reply = reply.unwrap().into_inner();
    assert!(reply.complete);
    assert_eq!((heard.epoch, heard.revocations[0].jti.as_str()), (reply.epoch, "abc"));
    rig.stop().await;
}
