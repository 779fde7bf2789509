//! Draws faults and lets them happen, one after the other, each for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use sentinel_tests::harness::process::pid_of;
use sentinel_tests::harness::proxy::{Act, Fault};
use sentinel_tests::harness::random::Random;
use tokio::time::Instant;

use crate::load::Load;
use crate::scene::Scene;

/// Faults of the two ways; what holds everything is short, or nothing else would happen.
const FAULTS: [Fault; 5] = [
    Fault::Delay(Duration::from_millis(40)),
    Fault::Drip(40, Duration::from_millis(2)),
    Fault::Hold,
    Fault::Refuse,
    Fault::Overtake,
];
const ACTS: [Act; 3] = [Act::Cut, Act::HalfClose, Act::Reset];
const MANNERS: [&str; 5] = ["hang", "reset", "status 503 Unavailable", "flood", "sse"];
const OLD_MANNERS: [&str; 5] = ["hang", "reset", "status 503 Unavailable", "mute", "endpoint never"];

/// All that may happen; what is rare stands once, what is usual more often.
const ACTIONS: [&str; 22] = [
    "front fault",
    "front fault",
    "front act",
    "back fault",
    "back fault",
    "back fault",
    "back act",
    "back act",
    "manner of the http server",
    "manner of the http server",
    "manner of the old http server",
    "http server killed",
    "old http server killed",
    "stdio server killed",
    "stdio server killed",
    "stdio server frozen",
    "good server killed",
    "stdio server restarted",
    "reload",
    "plane killed",
    "plane stopped",
    "control plane killed",
];

/// For so long; gives how often what happened.
pub(crate) async fn rages(
    scene: &mut Scene,
    load: &Load,
    random: &mut Random,
    time: Duration,
) -> BTreeMap<&'static str, usize> {
    let end = Instant::now() + time;
    let mut done = BTreeMap::new();
    while Instant::now() < end {
        let action = *random.pick(&ACTIONS);
        let lasts = Duration::from_millis(random.between(200, 1200));
        *done.entry(action).or_default() += 1;
        act(scene, action, lasts, random).await;
        scene.heal();
        scene.revive().await;
        // Some calls go by between two faults, so that what one has broken is met before the next.
        load.goes_on_for(20).await;
    }
    done
}

/// A fault lasts for a while of the clock: this is the one wait of the tests that is for nothing but time.
async fn while_it_lasts(lasts: Duration) {
    tokio::time::sleep(lasts).await;
}

async fn act(scene: &mut Scene, action: &str, lasts: Duration, random: &mut Random) {
    match action {
        "front fault" => scene.front.set(*random.pick(&FAULTS)),
        "front act" => scene.front.act(*random.pick(&ACTS)),
        "back fault" => random.pick(&scene.back).set(*random.pick(&FAULTS)),
        "back act" => random.pick(&scene.back).act(*random.pick(&ACTS)),
        "manner of the http server" => scene.wild.manner(random.pick::<&str>(&MANNERS)),
        "manner of the old http server" => scene.worn.manner(random.pick::<&str>(&OLD_MANNERS)),
        "http server killed" => return scene.wild.comes_back().await,
        "old http server killed" => return scene.worn.comes_back().await,
        "stdio server killed" => return signal(scene, "rough", Signal::SIGKILL),
        "good server killed" => return signal(scene, "good", Signal::SIGKILL),
        "stdio server frozen" => {
            let child = scene.child("rough");
            signal(scene, "rough", Signal::SIGSTOP);
            while_it_lasts(lasts).await;
            if child == scene.child("rough") {
                signal(scene, "rough", Signal::SIGCONT);
            }
            return;
        }
        "stdio server restarted" => {
            let _ran = scene.fleet.ctl("backend restart rough").await;
            return;
        }
        "reload" => return scene.reload().await,
        "plane killed" => return scene.kill_plane().await,
        "plane stopped" => {
            // What it counts of calls begins anew with the next.
            scene.deaths += 1;
            scene.fleet.planes[0].process.signal(Signal::SIGTERM);
            scene.fleet.planes[0].process.restart().await;
            return;
        }
        "control plane killed" => return scene.fleet.kill_and_restart_control_plane().await,
        other => panic!("nobody knows how to do {other}"),
    }
    while_it_lasts(lasts).await;
}

fn signal(scene: &Scene, backend: &str, signal: Signal) {
    if let Some(pid) = scene.child(backend) {
        // Ended between the look and this: that is as good.
        let _gone = kill(pid_of(pid), signal).is_err();
    }
}
