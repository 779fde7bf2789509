//! Who is a plane: its secret, its lease, its numbers; and what it carries out and ships.

use sentinel_proto::v1::audit_service_client::AuditServiceClient;
use sentinel_proto::v1::config_service_client::ConfigServiceClient;
use sentinel_proto::v1::plane_hears::Hears;
use sentinel_proto::v1::plane_says::Says;
use sentinel_proto::v1::{
    AuditBatch, AuditListRequest, AuditRecord, BackendRestartRequest, BackendStderrRequest, CommandDone, Hello,
    PlaneSays, Report, TokenMintRequest,
};
use tonic::Code;

use super::fake_plane::{FakePlane, hello};
use super::{NOW_MS, Rig, channel, with_token};
use crate::secrets::hex;

#[tokio::test]
async fn another_secret_is_refused_also_after_a_restart() {
    let rig = Rig::start().await;
    drop(FakePlane::ready(&rig, hello(1)).await);
    let rig = Rig::on(rig.stop().await).await;
    let mut thief = FakePlane::open(&rig, Hello { secret: vec![9; 32], ..hello(1) }).await;
    assert_eq!(thief.hear().await.unwrap_err().code(), Code::PermissionDenied);
    FakePlane::ready(&rig, hello(1)).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_plane_that_is_turned_away_is_named_until_it_is_let_in() {
    let mut rig = Rig::start().await;
    let mut client = ConfigServiceClient::new(channel(&rig.home).await);
    let mut request = tonic::Request::new(tokio_stream::iter([PlaneSays { says: Some(Says::Hello(hello(1))) }]));
    request.metadata_mut().insert("authorization", "Bearer not-the-token".parse().unwrap());
    assert_eq!(client.watch(request).await.unwrap_err().code(), Code::Unauthenticated);
    let warnings = rig.status().await.warnings.join("\n");
    assert!(warnings.contains("turned away") && warnings.contains("SENTINEL_PLANE_TOKEN"), "{warnings}");

    let _plane = FakePlane::ready(&rig, hello(1)).await;
    let warnings = rig.status().await.warnings.join("\n");
    assert!(!warnings.contains("turned away"), "{warnings}");
    let mut thief = FakePlane::open(&rig, Hello { secret: vec![9; 32], ..hello(1) }).await;
    assert_eq!(thief.hear().await.unwrap_err().code(), Code::PermissionDenied);
    let warnings = rig.status().await.warnings.join("\n");
    assert!(warnings.contains("turned away") && warnings.contains("another secret"), "{warnings}");
    rig.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_set_wrong_is_named_with_its_distance() {
    let mut rig = Rig::start().await;
    let plane = FakePlane::ready(&rig, hello(1)).await;
    for (ahead_ms, said) in [(3_600_000, "plane-1: its clock is 3600 s ahead of"), (-3_600_000, "3600 s behind")] {
        plane.say(Says::Report(Report { clock_unix_ms: NOW_MS + ahead_ms, ..Report::default() })).await;
        rig.until(|status| status.warnings.iter().any(|warning| warning.contains(said))).await;
    }
    plane.say(Says::Report(Report { clock_unix_ms: NOW_MS + 4_000, ..Report::default() })).await;
    rig.until(|status| !status.warnings.iter().any(|warning| warning.contains("clock"))).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_second_process_with_one_identity_is_refused_while_the_first_lives() {
    let mut rig = Rig::start().await;
    let first = FakePlane::ready(&rig, hello(1)).await;
    let mut second = FakePlane::open(&rig, Hello { boot: 7, ..hello(1) }).await;
    assert_eq!(second.hear().await.unwrap_err().code(), Code::AlreadyExists);
    assert!(rig.status().await.planes[0].problem.contains("second process"));

    let again = FakePlane::ready(&rig, hello(1)).await;
    drop(first);
    again.leave().await;
    rig.until(|status| status.planes[0].state == "stopped").await;
    FakePlane::ready(&rig, Hello { boot: 7, ..hello(1) }).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_plane_with_a_higher_revision_makes_the_current_one_numbered_above_it() {
    let mut rig = Rig::start().await;
    let held = Hello { revision: 30, digest: vec![1; 32], ..hello(1) };
    let mut plane = FakePlane::open(&rig, held).await;
    plane.take_kills().await;
    assert_eq!(plane.take_revision().await, 31);
    rig.until(|status| status.revision == 31 && status.planes[0].revision == 31).await;
    rig.stop().await;
}

#[tokio::test]
async fn commands_reach_the_planes_and_their_words_come_back() {
    let mut rig = Rig::start().await;
    let mut plane = FakePlane::ready(&rig, hello(1)).await;
    let request = rig.bearer(BackendRestartRequest { name: "echo".to_owned(), ..BackendRestartRequest::default() });
    let obey = async {
        let Ok(Hears::Command(command)) = plane.hear().await else { panic!("a command") };
        plane.say(Says::CommandDone(CommandDone { id: command.id, ok: true, ..CommandDone::default() })).await;
    };
    let (reply, ()) = tokio::join!(rig.admin.backend_restart(request), obey);
    assert_eq!(reply.unwrap().into_inner().planes[0].outcome, "applied");

    let request = rig.bearer(BackendStderrRequest { name: "echo".to_owned() });
    let tell = async {
        let Ok(Hears::Command(command)) = plane.hear().await else { panic!("a command") };
        let lines = vec!["a line".to_owned()];
        plane.say(Says::CommandDone(CommandDone { id: command.id, ok: true, lines, ..CommandDone::default() })).await;
    };
    let (reply, ()) = tokio::join!(rig.admin.backend_stderr(request), tell);
    assert_eq!(reply.unwrap().into_inner().planes[0].lines, ["a line"]);
    let request = rig.bearer(BackendStderrRequest { name: "ecco".to_owned() });
    assert_eq!(rig.admin.backend_stderr(request).await.unwrap_err().code(), Code::InvalidArgument);
    rig.stop().await;
}

#[tokio::test]
async fn records_are_taken_for_the_plane_that_is_proved_and_found_again() {
    let mut rig = Rig::start().await;
    let _plane = FakePlane::ready(&rig, hello(1)).await;
    let id = "01920000-0000-7000-8000-000000000001";
    let event = format!(
        r#"{{"v":1,"id":"{id}","ts":1800000000000000,"method":"tools/call","client":"claude","tool":"echo__x","status":"ok","count":1,"revision":1}}"#
    );
    let record = AuditRecord { seq: 1, prev_hash: vec![0; 32], event: event.into_bytes() };
    let batch = AuditBatch { epoch: 1001, records: vec![record] };
    let ship = |secret: u8| {
        let mut request = with_token(&rig.home.plane_token(), tokio_stream::iter([batch.clone(), batch.clone()]));
        let metadata = request.metadata_mut();
        metadata.insert("sentinel-plane-id", hello(1).plane_id.parse().unwrap());
        metadata.insert("sentinel-plane-secret", hex(&[secret; 32]).parse().unwrap());
        request
    };
    let mut client = AuditServiceClient::new(channel(&rig.home).await);
    assert_eq!(client.ingest(ship(2)).await.unwrap_err().code(), Code::PermissionDenied);
    let mut acks = client.ingest(ship(1)).await.unwrap().into_inner();
    for _ in 0..2 {
        let ack = acks.message().await.unwrap().unwrap();
        assert_eq!((ack.epoch, ack.seq, ack.quarantined), (1001, 1, 0));
    }
    let request = rig.bearer(AuditListRequest { request_id: id.to_owned(), ..AuditListRequest::default() });
    let rows = rig.admin.audit_list(request).await.unwrap().into_inner().rows;
    assert_eq!(rows.iter().map(|row| row.client.as_str()).collect::<Vec<_>>(), ["claude"]);
    drop((client, acks));
    rig.stop().await;
}

#[tokio::test]
async fn commands_are_kept_with_who_asked_and_what_came_of_it() {
    let mut rig = Rig::start().await;
    let actor = sentinel_proto::v1::Actor { user: "ada".to_owned(), host: "desk".to_owned() };
    let asked = TokenMintRequest {
        actor: Some(actor),
        client: "claude".to_owned(),
        roles: vec!["operator".to_owned(), "nobody".to_owned()],
        ttl_secs: 60,
    };
    let request = rig.bearer(asked);
    let minted = rig.admin.token_mint(request).await.unwrap().into_inner();
    assert!(minted.warning.contains("nobody") && minted.token.split('.').count() == 3);

    let store = rig.core.keeper.store().unwrap();
    let kept = store.actions(10).await.unwrap();
    assert_eq!((kept[0].user.as_str(), kept[0].verb.as_str()), ("ada", "token.mint"));
    assert!(kept[0].outcome.contains(&minted.jti) && !kept[0].outcome.contains(&minted.token));

    rig.core.keeper.failed("a test took it away");
    let request = rig.bearer(TokenMintRequest { client: "claude".to_owned(), ..TokenMintRequest::default() });
    let refused = rig.admin.token_mint(request).await.unwrap_err();
    assert!(refused.code() == Code::Internal && refused.message().contains("a test took it away"), "{refused}");
    assert!(rig.status().await.store_state.starts_with("away since"));
    rig.core.keeper.opened(store);
    rig.stop().await;
}
