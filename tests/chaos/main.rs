//! Load, random faults for a time, and a judge of what everybody saw: `make chaos`, and a short run with every test.
//!
//! `CHAOS_SEED` replays a run's draws (the seed is the first thing that a run prints), `CHAOS_SECS` is how long faults
//! go on. `CHAOS_PLANTED=permit-leak|double-send|orphan`, with `CHAOS_PLANE` naming a data plane that was built with its
//! planted bugs, expects the judge to find that bug and fails if it does not: `make chaos-planted`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "helpers of tests are tests"
)]

mod load;
mod monkey;
mod rest;
mod scene;

use std::path::PathBuf;
use std::time::Duration;

use sentinel_tests::harness::random::Random;
use sentinel_tests::history::Rule;

use scene::Scene;

/// Of faults, in a run that nobody asked for.
const SHORT: Duration = Duration::from_secs(8);

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A bug that was planted: its name, and the rule by which it must be found.
fn planted() -> Option<(String, Rule, PathBuf)> {
    let name = variable("CHAOS_PLANTED")?;
    let rule = match name.as_str() {
        "permit-leak" => Rule::NotGivenBack,
        "double-send" => Rule::SentTwice,
        "orphan" => Rule::Orphan,
        other => panic!("CHAOS_PLANTED={other}: permit-leak, double-send or orphan"),
    };
    let plane = variable("CHAOS_PLANE").expect("CHAOS_PLANE names a data plane with planted bugs");
    Some((name, rule, plane.into()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_random_faults_nothing_is_lost_repeated_swapped_leaked_or_orphaned() {
    let seed = variable("CHAOS_SEED").map_or_else(
        || u64::from(std::process::id()) ^ sentinel_tests::harness::token::now(),
        |seed| seed.parse().expect("CHAOS_SEED is a number"),
    );
    let time = variable("CHAOS_SECS").map_or(SHORT, |secs| Duration::from_secs(secs.parse().expect("CHAOS_SECS")));
    let planted = planted();
    println!("chaos: CHAOS_SEED={seed} CHAOS_SECS={} planted: {planted:?}", time.as_secs());

    let mut random = Random::of(seed);
    let mut scene = Scene::set(planted.as_ref().map(|(name, _, plane)| (&**name, plane.as_path()))).await;
    let load = load::Load::start(&scene, &mut random).await;
    load.goes_on_for(100).await;
    let before = rest::levels(&scene);
    let done = monkey::rages(&mut scene, &load, &mut random, time).await;
    let mut history = rest::after(&mut scene, load, before).await;
    history.deaths = scene.deaths;
    for (action, times) in &done {
        println!("chaos: {times:>4} × {action}");
    }
    println!("chaos: {}", history.summary());

    let violations = history.violations();
    for violation in violations.iter().take(20) {
        println!("chaos: {violation:?}");
    }
    println!("chaos: CHAOS_SEED={seed}: {} violations", violations.len());
    match planted {
        None => assert!(violations.is_empty(), "{} violations; replay with CHAOS_SEED={seed}", violations.len()),
        Some((name, rule, _)) => assert!(
            violations.iter().any(|violation| violation.rule == rule),
            "the planted {name} was not found by {rule:?}: {violations:?}"
        ),
    }
}
