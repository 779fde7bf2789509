//! The watch on the configuration file: settled content is published by itself, once.

use std::path::Path;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::Value;

fn with_drain(secs: u32) -> Setup {
    Setup::one_plane().watched().toml(&format!("[gateway]\ndrain_secs = {secs}"))
}

async fn revision(fleet: &Fleet) -> u64 {
    fleet.ctl("status --output json").await.json()["revision"].as_u64().unwrap()
}

async fn until_revision(fleet: &Fleet, wanted: u64) {
    until("the file is published by itself", async || {
        let now = revision(fleet).await;
        if now == wanted { Ok(()) } else { Err(now) }
    })
    .await;
}

/// As editors save: aside, then renamed over it.
fn rename_over(file: &Path, text: &str) {
    let aside = file.with_extension("swp");
    std::fs::write(&aside, text).unwrap();
    std::fs::rename(&aside, file).unwrap();
}

#[tokio::test]
async fn an_edit_is_published_once_and_an_edit_storm_ends_in_its_last_content() {
    let fleet = Fleet::start(with_drain(3)).await;
    assert_eq!(revision(&fleet).await, 1);

    rename_over(&fleet.file(), &with_drain(4).text(fleet.folder()));
    until_revision(&fleet, 2).await;
    for secs in 5..60 {
        rename_over(&fleet.file(), &with_drain(secs).text(fleet.folder()));
    }
    until("the last content is in force", async || {
        let shown = fleet.ctl("config show --output json").await.json();
        if shown["text"].as_str().unwrap().contains("drain_secs = 59") { Ok(()) } else { Err(shown) }
    })
    .await;

    assert!(revision(&fleet).await <= 5, "not one revision a write");
    let history = fleet.ctl("config history --output json").await.json();
    assert!(history.as_array().unwrap()[0]["by"].as_str().unwrap().contains("file watch"), "{history}");
}

#[tokio::test]
async fn a_broken_edit_changes_nothing_and_is_said_and_mending_it_is_enough() {
    let fleet = Fleet::start(with_drain(3)).await;

    std::fs::write(fleet.file(), "[auth]\n[gateway]\nlistem = 1\n").unwrap();

    until("the status names the mistake", async || {
        let status = fleet.ctl("status --output json").await.json();
        let state = status["config"]["state"].as_str().unwrap().to_owned();
        if state.contains("sentinel.toml:3:1") { Ok(()) } else { Err(status) }
    })
    .await;
    assert_eq!(revision(&fleet).await, 1);
    rename_over(&fleet.file(), &with_drain(3).text(fleet.folder()));
    until("the file is good again", async || {
        let status: Value = fleet.ctl("status --output json").await.json();
        if status["config"]["state"] == "ok" { Ok(()) } else { Err(status) }
    })
    .await;
    assert_eq!(revision(&fleet).await, 1, "the same content is no new revision");
}

#[tokio::test]
async fn a_swapped_link_is_heard() {
    let fleet = Fleet::start(with_drain(3)).await;
    let (real, link) = (fleet.folder().join("real.toml"), fleet.folder().join("link.toml"));
    std::fs::write(&real, with_drain(9).text(fleet.folder())).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();

    std::fs::rename(&link, fleet.file()).unwrap();

    until_revision(&fleet, 2).await;
    std::fs::write(&real, with_drain(10).text(fleet.folder())).unwrap();
    until_revision(&fleet, 3).await;
}
