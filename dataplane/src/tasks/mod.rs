//! Calls that go on as tasks, where both ends have the extension `io.modelcontextprotocol/tasks` (`protocol.md` 3.10) or
//! both speak 2025-11-25 and have the tasks of that revision, *core tasks* here. A server makes a task of a call, there by
//! its own choice, here where its client asked for one; its client asks for what becomes of it, answers what it needs,
//! waits for its answer, or takes it back.
//!
//! Nothing has to be kept here: an id as clients have it says whose task it is, of which tool, and how its server calls it
//! (`id.rs`). So each request about a task goes the whole way of a call, its target is the tool, and whatever stands
//! against the tool stands against the task. What is remembered all the same is for kills (`running.rs`). What servers say
//! of tasks is put for their clients in `told.rs` and `core.rs`; it sits behind the lease, as `input/` does. What is said of
//! a core task beside its own answers names it as well: `related.rs`.

mod core;
pub mod id;
pub mod related;
pub mod running;
mod told;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

pub use self::{
    core::{stands, tells_of_one},
    id::Task,
    told::answered,
};
use self::{id::TaskIds, running::Running};
use crate::{
    backend::{abilities::Ability, era::Era},
    call::{Ask, Caller},
    catalogue::{CoreTasks, Support, Target},
    denial::Denial,
    input::Input,
    plane::Plane,
    stages::rules::Ruled,
    upcall::feature::Features,
    wire::scan::Scanned,
};

/// What is wrong with a server that makes a task of any call.
pub const NOT_DECLARED: &str = "it makes a task of a call whose client did not say that it can follow one";

/// The same of one of revision 2025-11-25.
const NOT_ASKED_FOR: &str = "it makes a task of a call that did not ask for one";

/// Of one plane.
#[derive(Debug)]
pub struct Tasks {
    pub ids: TaskIds,
    pub running: Running,
}

impl Tasks {
    /// `key`: the 32 bytes of `seal.key`; none: another number of bytes.
    pub fn new(key: &[u8]) -> Option<Self> {
        Some(Self { ids: TaskIds::new(key)?, running: Running::default() })
    }
}

/// What a request about a task is about.
#[derive(Debug)]
pub struct About {
    /// Of the tool; empty where there is no such task for this client: then nothing is there of that name.
    pub name: Arc<str>,
    pub task: Option<Arc<Task>>,
    pub input: Option<Box<Input>>,
}

/// Errors: `MethodNotFound` where nothing that the caller sees has tasks of its era, `MissingCapability` for a modern client
/// that does not declare the extension, `InvalidParams`. That there is no such task is for the pipeline to say, as of all names.
pub fn read(plane: &Plane, caller: &Caller, ask: Ask, body: &Bytes, scanned: &Scanned) -> Result<About, Denial> {
    let is_offered = |ability| caller.view().abilities(caller.principal()).can(ability);
    let (era, ability) = match caller.leg().is_session() {
        true if caller.leg().has_core_tasks() && is_offered(Ability::CoreTasks) => (Era::Legacy, Ability::CoreTasks),
        false if is_offered(Ability::Tasks) => (Era::Modern, Ability::Tasks),
        _ => return Err(Denial::MethodNotFound),
    };
    if era == Era::Modern && !caller.leg().features().has(Features::TASKS) {
        return Err(Denial::MissingCapability);
    }
    let invalid = |what: Cow<'static, str>| Denial::InvalidParams { what };
    let id = scanned.task_id.and_then(|id| id.text(body));
    let id = id.ok_or_else(|| invalid(format!("{} needs params.taskId, a string", ask.method()).into()))?;
    // A name that means another tool by now, or another server's, has none of its tasks; nor has a server that has turned
    // to the other era.
    let catalogue = &caller.view().catalogue;
    let is_there = |(name, task): &(Arc<str>, Task)| {
        let is_its = |target: &Arc<Target>| task.is_of(target) && catalogue.can(&target.backend_name, ability);
        let is_of_here = task.session.is_none_or(|session| session == caller.leg().key());
        is_of_here && catalogue.target(ask, name).is_some_and(is_its)
    };
    let (name, task) = match plane.tasks.ids.open(&id, caller.principal(), era).filter(is_there) {
        Some((name, task)) => (name, Some(Arc::new(task))),
        None => ("".into(), None),
    };
    let input = match era {
        Era::Legacy => None,
        Era::Modern => Input::read(plane, caller, (ask, &name), body, scanned)?,
    };
    if ask == Ask::UpdateTask && input.is_none() {
        return Err(invalid("tasks/update needs params.inputResponses, an object".into()));
    }
    Ok(About { name, task, input })
}

/// Whether it asks for a core task, of a tool that can be one: else its server hears nothing of that.
pub fn is_asked_for(call: &Ruled) -> bool {
    let (asked, caller, target) = (call.call(), call.caller(), call.target());
    let can_be = |tasks: &CoreTasks| matches!(tasks.support, Support::Optional | Support::Required);
    asked.ask == Ask::CallTool
        && asked.scanned.task.is_some()
        && caller.leg().has_core_tasks()
        && target.core_tasks.as_ref().is_some_and(can_be)
}

/// Whether its client can follow a task, and its server makes some.
pub fn can_be(call: &Ruled) -> bool {
    let (asked, caller) = (call.call(), call.caller());
    (asked.ask == Ask::CallTool || asked.ask.is_of_task())
        && caller.leg().features().has(Features::TASKS)
        && caller.view().catalogue.can(&call.target().backend_name, Ability::Tasks)
}
