//! Tasks that this plane has told a client of and that may still run: so that a kill reaches their servers as well. What
//! is asked of a task is judged without it; it is a plane's memory, bounded, and gone with the plane. Then a kill refuses
//! all that is asked of a task, and its server keeps it as long as it says.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Task;
use crate::{
    audit::event::{Event, Status, session_text},
    backend::{isolation::Owner, registry::Backend},
    call::{Ask, Principal, RequestId},
    catalogue::Target,
    denial::Disabled,
    in_flight::LegKey,
    kill::gate::{Gate, Killed},
    plane::Plane,
    seal::{self, Mark},
};

/// Of one plane; past it the oldest is forgotten.
const MOST: usize = 10_000;
/// For each server to take a task back, and how many are asked at once.
const WITHIN: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 16;

/// One of them.
#[derive(Clone, Debug)]
pub struct Begun {
    pub principal: Arc<Principal>,
    /// The session that asked for it.
    pub leg: LegKey,
    pub target: Arc<Target>,
    pub task: Arc<Task>,
    /// Where it runs: if that is gone, so is the task.
    pub backend: Weak<Backend>,
    /// Whose that is: a server's own ids are unique within one process or session of it alone.
    pub owner: Owner,
}

#[derive(Debug, Default)]
pub struct Running {
    held: Mutex<Held>,
    /// One was told of whose switch stood already.
    late: Notify,
}

#[derive(Debug, Default)]
struct Held {
    last: u64,
    /// In the order in which they were told of first.
    all: BTreeMap<u64, (Mark, Begun)>,
    numbers: HashMap<Mark, u64>,
}

impl Begun {
    fn name(&self) -> Mark {
        name(&self.target.backend_name, &self.owner, &self.task.own)
    }
}

fn name(backend: &str, of: &Owner, own: &str) -> Mark {
    match of {
        Owner::Shared => seal::mark(&[backend, own]),
        Owner::Client(principal) => seal::mark(&[backend, own, &principal.issuer, &principal.client]),
        Owner::Session { leg, .. } => seal::mark(&[backend, own, &session_text(leg.key())]),
    }
}

impl Running {
    /// It may still run. `gate`: a switch that stands already stops it; one to come finds it.
    pub fn hold(&self, begun: Begun, gate: &Gate) {
        let (principal, target) = (Arc::clone(&begun.principal), Arc::clone(&begun.target));
        self.remember(begun);
        if gate.judges(&principal, &target).is_some() {
            self.late.notify_one();
        }
    }

    fn remember(&self, begun: Begun) {
        let (name, mut held) = (begun.name(), self.lock());
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
    pub fn let_go(&self, backend: &str, of: &Owner, own: &str) {
        let mut held = self.lock();
        if let Some(number) = held.numbers.remove(&name(backend, of, own)) {
            held.all.remove(&number);
        }
    }

    /// The task that this server calls so.
    pub fn find(&self, backend: &str, of: &Owner, own: &str) -> Option<Begun> {
        let held = self.lock();
        let number = held.numbers.get(&name(backend, of, own))?;
        held.all.get(number).map(|(_, begun)| begun.clone())
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
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes tasks back at their servers that a switch stops, until `stop`.
pub async fn keep(plane: Arc<Plane>, stop: CancellationToken) {
    let running = &plane.tasks.running;
    let mut swaps = plane.gate.swaps();
    let (mut kills, mut judged) = (plane.gate.load_full(), 0);
    loop {
        let now = plane.gate.load_full();
        if !Arc::ptr_eq(&kills, &now) {
            (kills, judged) = (now, 0);
        }
        let killed = running.killed(&mut judged, &kills);
        if !killed.is_empty() {
            let (here, stop) = (Arc::clone(&plane), stop.clone());
            plane.tracker.spawn(stop.run_until_cancelled_owned(async move {
                let here = &here;
                stream::iter(killed).for_each_concurrent(AT_ONCE, |(begun, by)| take_back(here, begun, by)).await;
            }));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            // The plane's own gate outlives this.
            _swapped = swaps.changed() => {}
            () = running.late.notified() => {}
        }
    }
}

/// Tells its server, and leaves a row.
async fn take_back(plane: &Plane, begun: Begun, by: Disabled) {
    let Some(backend) = begun.backend.upgrade() else { return };
    let taken = backend.link.cancel_task(&begun.task, WITHIN).await;
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
    use futures_util::FutureExt as _;
    use sentinel_proto::v1;

    use super::*;
    use crate::{
        backend::era::Era,
        tasks::id::{
            New, TaskIds,
            tests::{principal, tool},
        },
    };

    fn begun(client: &str, own: &str) -> Begun {
        let (target, principal) = (Arc::new(tool("web", "slow")), Arc::new(principal(client)));
        let ids = TaskIds::new(&[7; 32]).unwrap();
        let new = New { first: RequestId::fresh(), own, era: Era::Modern, session: None };
        let task = ids.give(&principal, &target, new).unwrap();
        Begun {
            principal,
            leg: LegKey([7; 16]),
            owner: Owner::Shared,
            task: Arc::new(task),
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
            running.remember(begun(client, own));
        }
        running.let_go("web", &Owner::Shared, "1");
        let mut judged = 0;
        assert_eq!(taken(&running, &mut judged, &kills("a")), ["3"]);
        assert!(taken(&running, &mut judged, &kills("a")).is_empty());
        running.remember(begun("a", "4"));
        assert_eq!(taken(&running, &mut judged, &kills("a")), ["4"], "one that came after the switch");
        assert_eq!(taken(&running, &mut 0, &kills("b")), ["2"], "under another switch all are judged anew");
    }

    #[test]
    fn there_are_so_many_and_the_oldest_goes() {
        let running = Running::default();
        (0..=MOST).for_each(|number| running.remember(begun("a", &number.to_string())));
        let all = taken(&running, &mut 0, &kills("a"));
        assert_eq!((all.len(), &*all[0]), (MOST, "1"));
        assert!(running.lock().numbers.is_empty());
    }

    #[test]
    fn one_that_is_told_of_after_its_switch_is_looked_at_as_well() {
        let (running, gate) = (Running::default(), Gate::of(kills("a")));
        running.hold(begun("b", "1"), &gate);
        assert!(running.late.notified().now_or_never().is_none());
        running.hold(begun("a", "2"), &gate);
        assert!(running.late.notified().now_or_never().is_some());
    }
}
