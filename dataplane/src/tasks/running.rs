//! Tasks that this plane has told a client of and that may still run: so that a kill reaches their servers as well. What
//! is asked of a task is judged without it; it is a plane's memory, bounded, and gone with the plane. Then a kill refuses
//! all that is asked of a task, and its server keeps it as long as it says.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Task;
use crate::{
    audit::event::{Event, Status},
    backend::registry::Backend,
    call::{Ask, Principal, RequestId},
    catalogue::Target,
    denial::Disabled,
    kill::gate::Killed,
    plane::Plane,
    seal::{self, Mark},
};

/// Of one plane; past it the oldest is forgotten.
const MOST: usize = 10_000;
/// How often it is looked whether another switch stands.
const LOOK: Duration = Duration::from_millis(200);
/// For each server to take a task back, and how many are asked at once.
const WITHIN: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 16;

/// One of them.
#[derive(Clone, Debug)]
pub struct Begun {
    pub principal: Arc<Principal>,
    pub target: Arc<Target>,
    pub task: Arc<Task>,
    /// Where it runs: if that is gone, so is the task.
    pub backend: Weak<Backend>,
}

#[derive(Debug, Default)]
pub struct Running(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    last: u64,
    /// In the order in which they were told of first.
    all: BTreeMap<u64, (Mark, Begun)>,
    numbers: HashMap<Mark, u64>,
}

fn name(begun: &Begun) -> Mark {
    seal::mark(&[&begun.target.backend_name, &begun.task.own])
}

impl Running {
    /// It may still run.
    pub fn hold(&self, begun: Begun) {
        let (name, mut held) = (name(&begun), self.lock());
        if held.numbers.contains_key(&name) {
            return;
        }
        if held.all.len() >= MOST
            && let Some((_, (oldest, _))) = held.all.pop_first()
        {
            held.numbers.remove(&oldest);
        }
        held.last += 1;
        let number = held.last;
        held.numbers.insert(name, number);
        held.all.insert(number, (name, begun));
    }

    /// It has ended.
    pub fn let_go(&self, begun: &Begun) {
        let mut held = self.lock();
        if let Some(number) = held.numbers.remove(&name(begun)) {
            held.all.remove(&number);
        }
    }

    /// Takes out what `kills` stops, of those that came after `judged`, which is moved on.
    fn killed(&self, judged: &mut u64, kills: &Killed) -> Vec<(Begun, Disabled)> {
        let mut held = self.lock();
        let later = held.all.range(*judged + 1..);
        let stopped = |begun: &Begun| kills.judges(&begun.principal, &begun.target).cloned();
        let killed: Vec<_> = later
            .filter_map(|(number, (name, begun))| Some((*number, *name, begun.clone(), stopped(begun)?)))
            .collect();
        *judged = held.last;
        let mut taken = Vec::with_capacity(killed.len());
        for (number, name, begun, by) in killed {
            held.all.remove(&number);
            held.numbers.remove(&name);
            taken.push((begun, by));
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes tasks back at their servers that a switch stops, until `stop`.
pub async fn keep(plane: Arc<Plane>, stop: CancellationToken) {
    let (mut kills, mut judged) = (plane.gate.load_full(), 0);
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = plane.gate.load_full();
        if !Arc::ptr_eq(&kills, &now) {
            (kills, judged) = (now, 0);
        }
        let killed = plane.tasks.running.killed(&mut judged, &kills);
        if !killed.is_empty() {
            let (here, stop) = (Arc::clone(&plane), stop.clone());
            plane.tracker.spawn(stop.run_until_cancelled_owned(async move {
                let here = &here;
                stream::iter(killed).for_each_concurrent(AT_ONCE, |(begun, by)| take_back(here, begun, by)).await;
            }));
        }
    }
}

/// Tells its server, and leaves a row.
async fn take_back(plane: &Plane, begun: Begun, by: Disabled) {
    let Some(backend) = begun.backend.upgrade() else { return };
    let taken = backend.link.cancel_task(&begun.task.own, WITHIN).await;
    let Begun { principal, target, task, .. } = begun;
    let id = RequestId::fresh();
    let told = taken.err().map(|failure| (failure.row().recorded, failure.told(&id.to_string())));
    let (status, kind) = told.as_ref().map_or((Status::Cancelled, "disabled"), |(kind, _)| (Status::Error, *kind));
    let because = serde_json::json!({ "scope": by.scope.as_str(), "reason": &*by.reason }).to_string();
    let roles: Vec<&str> = principal.roles.iter().map(|role| &**role).collect();
    let event = Event {
        client: &principal.client,
        issuer: &principal.issuer,
        roles: &roles,
        tool: &target.exposed,
        backend: &target.backend_name,
        kind,
        revision: plane.views.load_full().map_or(0, |view| view.stamp.revision),
        sent: Some(true),
        message: told.as_ref().map_or("", |(_, told)| &told.message),
        parent: Some(task.first.uuid()),
        detail: because.as_bytes(),
        ..Event::new(id.uuid(), plane.clock.now_micros(), Ask::CancelTask.method(), status)
    };
    let kept = plane.audit.spool.reserve().ok().and_then(|room| plane.audit.append(room, &event));
    if kept.is_none() {
        tracing::error!(backend = &*target.backend_name, "a task that was taken back leaves no audit record");
    }
}

#[cfg(test)]
mod tests {
    use sentinel_proto::v1;

    use super::*;
    use crate::tasks::id::tests::{principal, tool};

    fn begun(client: &str, own: &str) -> Begun {
        let target = Arc::new(tool("web", "slow"));
        Begun {
            principal: Arc::new(principal(client)),
            task: Arc::new(Task::new(&target, RequestId::fresh(), own)),
            target,
            backend: Weak::new(),
        }
    }

    fn kills(client: &str) -> Killed {
        let scope = v1::Scope::Client.into();
        Killed::of([&v1::KillEntry { scope, name: client.into(), ..v1::KillEntry::default() }])
    }

    fn taken(running: &Running, judged: &mut u64, kills: &Killed) -> Vec<String> {
        running.killed(judged, kills).into_iter().map(|(begun, _)| begun.task.own.to_string()).collect()
    }

    #[test]
    fn what_a_switch_stops_is_taken_out_once_and_what_has_ended_is_not_there() {
        let running = Running::default();
        for (client, own) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "3")] {
            running.hold(begun(client, own));
        }
        running.let_go(&begun("a", "1"));
        let mut judged = 0;
        assert_eq!(taken(&running, &mut judged, &kills("a")), ["3"]);
        assert!(taken(&running, &mut judged, &kills("a")).is_empty());
        running.hold(begun("a", "4"));
        assert_eq!(taken(&running, &mut judged, &kills("a")), ["4"], "one that came after the switch");
        assert_eq!(taken(&running, &mut 0, &kills("b")), ["2"], "under another switch all are judged anew");
    }

    #[test]
    fn there_are_so_many_and_the_oldest_goes() {
        let running = Running::default();
        (0..=MOST).for_each(|number| running.hold(begun("a", &number.to_string())));
        let all = taken(&running, &mut 0, &kills("a"));
        assert_eq!((all.len(), &*all[0]), (MOST, "1"));
        assert!(running.lock().numbers.is_empty());
    }
}
