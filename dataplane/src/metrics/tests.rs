//! The families as Prometheus reads them.

use sentinel_proto::v1::BackendHealth;

use super::*;

fn rendered(metrics: &Metrics, status: &PlaneStatus) -> String {
    String::from_utf8(metrics.render(status, 61_000).unwrap()).unwrap()
}

#[test]
fn a_call_counts_by_tool_status_and_kind() {
    let metrics = Metrics::new().unwrap();
    let tool = metrics.tool("n8n__run");
    tool.ended("ok", None, Duration::from_micros(40));
    tool.ended("denied", Some("disabled"), Duration::from_micros(5));
    tool.rate_limit_hits.inc();
    let text = rendered(&metrics, &PlaneStatus::default());
    for line in [
        r#"sentinel_requests_total{status="ok",tool="n8n__run"} 1"#,
        r#"sentinel_requests_total{status="denied",tool="n8n__run"} 1"#,
        r#"sentinel_errors_total{error_type="disabled",tool="n8n__run"} 1"#,
        r#"sentinel_rate_limit_hits_total{tool="n8n__run"} 1"#,
        r#"sentinel_request_duration_seconds_bucket{tool="n8n__run",le="0.00001"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[test]
fn the_number_of_tools_with_series_is_bounded() {
    let metrics = Metrics::new().unwrap();
    let first = metrics.tool("a");
    metrics.tools.lock().unwrap().extend((0..MOST_TOOLS).map(|n| (n.to_string().into(), Arc::clone(&first))));
    assert!(Arc::ptr_eq(&metrics.tool("one more"), metrics.unknown_tool()));
    assert!(Arc::ptr_eq(&metrics.tool("a"), &first));
}

#[test]
fn a_removed_backend_has_no_series_any_more() {
    let metrics = Metrics::new().unwrap();
    let backend = BackendHealth {
        name: "n8n".into(),
        state: "ready".into(),
        breaker: "closed".into(),
        restarts: 2,
        ..BackendHealth::default()
    };
    let with = PlaneStatus { revision: 4, applied_ms: 1_000, backends: vec![backend], ..PlaneStatus::default() };
    let text = rendered(&metrics, &with);
    for line in [
        r#"sentinel_backend_healthy{backend="n8n"} 1"#,
        r#"sentinel_breaker_state{backend="n8n",state="closed"} 1"#,
        r#"sentinel_breaker_state{backend="n8n",state="open"} 0"#,
        r#"sentinel_backend_restarts_total{backend="n8n"} 2"#,
        "sentinel_snapshot_revision 4",
        "sentinel_snapshot_age_seconds 60",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert!(!rendered(&metrics, &PlaneStatus::default()).contains("n8n"));
}

#[test]
fn what_ready_says_and_what_is_killed_can_be_watched() {
    let metrics = Metrics::new().unwrap();
    let gone = BackendHealth { name: "n8n".into(), state: "gave_up".into(), ..BackendHealth::default() };
    let mut status = PlaneStatus {
        revision: 1,
        backends: vec![gone],
        kills: vec![("tool", 2), ("all", 0)],
        in_flight: 7,
        parked: 2,
        audit_stalls: 3,
        ..PlaneStatus::default()
    };
    let text = rendered(&metrics, &status);
    for line in [
        r#"sentinel_not_ready{reason="no_backend"} 1"#,
        r#"sentinel_not_ready{reason="draining"} 0"#,
        r#"sentinel_backend_gave_up{backend="n8n"} 1"#,
        r#"sentinel_kill_switches{scope="tool"} 2"#,
        r#"sentinel_kill_switches{scope="all"} 0"#,
        "sentinel_in_flight 7",
        "sentinel_audit_append_stall_total 3",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    status.backends.clear();
    assert!(
        !rendered(&metrics, &status).lines().any(|line| line.starts_with("sentinel_not_ready") && line.ends_with('1'))
    );
}

#[test]
fn every_reason_of_ready_is_in_the_closed_set() {
    let applied = PlaneStatus { revision: 3, ..PlaneStatus::default() };
    let down = BackendHealth { name: "n8n".into(), state: "down".into(), ..BackendHealth::default() };
    for status in [
        PlaneStatus::default(),
        PlaneStatus { is_draining: true, ..applied.clone() },
        PlaneStatus { is_starting: true, ..applied.clone() },
        PlaneStatus { is_stale: true, ..applied.clone() },
        PlaneStatus { backends: vec![down], ..applied },
    ] {
        let reason = status.unready().unwrap();
        assert!(PlaneStatus::REASONS.contains(&reason), "{reason}");
    }
}

#[test]
fn every_promised_family_is_there() {
    let metrics = Metrics::new().unwrap();
    metrics.shed(Shed::Origin);
    metrics.stage(Stage::ClientLimits, Duration::from_micros(1));
    drop(metrics.connection(Connection::Idle));
    let text = rendered(&metrics, &PlaneStatus::default());
    for family in [
        "sentinel_requests_total",
        "sentinel_stage_duration_seconds",
        "sentinel_overhead_seconds",
        "sentinel_killswitch_epoch",
        "sentinel_audit_backlog",
        "sentinel_audit_written_total",
        "sentinel_audit_dropped_total",
        "sentinel_build_info",
        r#"sentinel_shed_total{reason="origin"} 1"#,
        r#"sentinel_connections{state="idle"} 0"#,
        "sentinel_panics_total",
    ] {
        assert!(text.contains(family), "{family} is missing in\n{text}");
    }
}
