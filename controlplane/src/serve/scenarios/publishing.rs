//! Publishing to planes: all or none, silence named, late ones caught up.

use sentinel_proto::v1::plane_hears::Hears;
use sentinel_proto::v1::{ConfigHistoryRequest, ReloadRequest, RollbackRequest};

use super::fake_plane::{FakePlane, hello, problem};
use super::{Rig, text};

#[tokio::test]
async fn all_planes_ready_is_committed_and_acknowledged() {
    let mut rig = Rig::start().await;
    let mut one = FakePlane::ready(&rig, hello(1)).await;
    let mut two = FakePlane::ready(&rig, hello(2)).await;

    rig.write(&text("other"));
    let asked = ReloadRequest::default();
    let (reply, a, b) = tokio::join!(rig.reload(asked), one.take_revision(), two.take_revision());

    let reply = reply.unwrap();
    assert_eq!((reply.published, reply.revision, a, b), (true, 2, 2, 2));
    let outcomes: Vec<_> = reply.planes.iter().map(|plane| plane.outcome.as_str()).collect();
    assert_eq!(outcomes, ["applied", "applied"]);
    assert_eq!(rig.status().await.revision, 2);
    rig.stop().await;
}

#[tokio::test]
async fn one_refusal_changes_nothing_anywhere() {
    let mut rig = Rig::start().await;
    let mut one = FakePlane::ready(&rig, hello(1)).await;
    let mut two = FakePlane::ready(&rig, hello(2)).await;

    rig.write(&text("other"));
    let planes = async {
        let (a, b) = (one.asked().await, two.asked().await);
        one.answer(&a, Vec::new()).await;
        two.answer(&b, vec![problem()]).await;
        (one.hear().await.unwrap(), two.hear().await.unwrap())
    };
    let (reply, heard) = tokio::join!(rig.reload(ReloadRequest::default()), planes);

    let reply = reply.unwrap();
    assert!(!reply.published && reply.note.contains("plane-2"), "{reply:?}");
    assert_eq!(reply.planes[1].problems, [problem()]);
    assert!(matches!(heard, (Hears::Abort(_), Hears::Abort(_))), "{heard:?}");
    let asked = rig.bearer(ConfigHistoryRequest::default());
    let history = rig.admin.config_history(asked).await.unwrap().into_inner().revisions;
    assert_eq!(history.iter().map(|known| (known.revision, known.current)).collect::<Vec<_>>(), [(1, true)]);
    rig.stop().await;
}

#[tokio::test]
async fn a_silent_plane_is_named_and_may_be_skipped_and_then_catches_up() {
    let mut rig = Rig::start().await;
    let mut one = FakePlane::ready(&rig, hello(1)).await;
    let mut two = FakePlane::ready(&rig, hello(2)).await;
    rig.write(&text("other"));

    let planes = async {
        let (a, _) = (one.asked().await, two.asked().await);
        one.answer(&a, Vec::new()).await;
        (one.hear().await.unwrap(), two.hear().await.unwrap())
    };
    let (reply, _) = tokio::join!(rig.reload(ReloadRequest::default()), planes);
    let reply = reply.unwrap();
    assert!(!reply.published && reply.note.contains("plane-2 did not answer"), "{reply:?}");

    let skipping = ReloadRequest { skip_unresponsive: true, ..ReloadRequest::default() };
    let planes = async {
        two.asked().await;
        one.take_revision().await
    };
    let (reply, applied) = tokio::join!(rig.reload(skipping), planes);
    let reply = reply.unwrap();
    let outcomes: Vec<_> = reply.planes.iter().map(|plane| plane.outcome.as_str()).collect();
    assert_eq!((reply.published, reply.revision, outcomes), (true, applied, vec!["applied", "skipped"]));

    assert!(matches!(two.hear().await.unwrap(), Hears::Abort(_)));
    assert_eq!(two.take_revision().await, applied);
    rig.until(|status| status.planes.iter().all(|plane| plane.revision == applied)).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_broken_file_names_its_problems_and_a_trial_changes_nothing() {
    let mut rig = Rig::start().await;
    rig.write(&format!("[nonsense]\n{}", text("echo")));
    let reply = rig.reload(ReloadRequest::default()).await.unwrap();
    assert!(!reply.published && reply.problems.iter().any(|problem| problem.line == 1), "{reply:?}");
    assert!(rig.status().await.config_state.contains("nonsense"));

    rig.write(&text("other"));
    let trial = ReloadRequest { dry_run: true, ..ReloadRequest::default() };
    let reply = rig.reload(trial).await.unwrap();
    assert!(!reply.published && reply.note.contains("would become revision 2"), "{reply:?}");
    assert_eq!(rig.status().await.revision, 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_rollback_is_a_new_revision_and_survives_a_restart_until_the_file_is_asked_for() {
    let mut rig = Rig::start().await;
    rig.write(&text("other"));
    rig.reload(ReloadRequest::default()).await.unwrap();
    let request = rig.bearer(RollbackRequest { revision: 1, ..RollbackRequest::default() });
    let reply = rig.admin.rollback(request).await.unwrap().into_inner();
    assert_eq!((reply.published, reply.revision), (true, 3));

    let mut rig = Rig::on(rig.stop().await).await;
    let status = rig.status().await;
    assert_eq!(status.revision, 3);
    assert_eq!(status.config_state, "revision 3 is a rollback to 1; sentinel.toml differs");
    assert_eq!(rig.reload(ReloadRequest::default()).await.unwrap_err().code(), tonic::Code::FailedPrecondition);
    let again = ReloadRequest { from_file: true, ..ReloadRequest::default() };
    assert_eq!(rig.reload(again).await.unwrap().revision, 4);
    rig.stop().await;
}

#[tokio::test]
async fn a_late_plane_that_cannot_is_shown_with_its_reason() {
    let mut rig = Rig::start().await;
    let mut late = FakePlane::open(&rig, hello(1)).await;
    late.take_kills().await;
    let prepare = late.asked().await;
    assert!(prepare.allow_degraded, "a plane without any revision may switch backends off");
    late.answer(&prepare, vec![problem()]).await;
    assert!(matches!(late.hear().await.unwrap(), Hears::Abort(_)));
    rig.until(|status| status.planes.iter().any(|plane| plane.problem.contains("env.API_KEY"))).await;
    rig.stop().await;
}
