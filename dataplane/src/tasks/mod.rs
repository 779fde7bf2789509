//! Calls that go on as tasks, where both ends have the extension `io.modelcontextprotocol/tasks` (`protocol.md` 3.10). A
//! server makes a task of a call; its client asks for what becomes of it, answers what it needs, or takes it back.
//!
//! Nothing has to be kept here: an id as clients have it says whose task it is, of which tool, and how its server calls it
//! (`id.rs`). So each request about a task goes the whole way of a call, its target is the tool, and whatever stands
//! against the tool stands against the task. What is remembered all the same is for kills (`running.rs`). What servers say
//! of tasks is put for their clients in `told.rs`; it sits behind the lease, as `input/` does.

pub mod id;
pub mod running;
mod told;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

pub use self::{id::Task, told::answered};
use self::{id::TaskIds, running::Running};
use crate::{
    backend::abilities::Ability,
    call::{Ask, Caller},
    denial::Denial,
    input::Input,
    plane::Plane,
    stages::rules::Ruled,
    upcall::feature::Features,
    wire::scan::Scanned,
};

/// What is wrong with a server that makes a task of any call.
pub const NOT_DECLARED: &str = "it makes a task of a call whose client did not say that it can follow one";

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

/// Errors: `MethodNotFound` where nothing that the caller sees has tasks, `MissingCapability` for a client that does not
/// declare the extension, `InvalidParams`. That there is no such task is for the pipeline to say, as of all names.
pub fn read(plane: &Plane, caller: &Caller, ask: Ask, body: &Bytes, scanned: &Scanned) -> Result<About, Denial> {
    if !caller.view().abilities(caller.principal()).can(Ability::Tasks) {
        return Err(Denial::MethodNotFound);
    }
    if !caller.leg().features().has(Features::TASKS) {
        return Err(Denial::MissingCapability);
    }
    let invalid = |what: Cow<'static, str>| Denial::InvalidParams { what };
    let id = scanned.task_id.and_then(|id| id.text(body));
    let id = id.ok_or_else(|| invalid(format!("{} needs params.taskId, a string", ask.method()).into()))?;
    // A name that means another tool by now, or another server's, has none of its tasks.
    let is_there = |(name, task): &(Arc<str>, Task)| {
        caller.view().catalogue.target(ask, name).is_some_and(|target| task.is_of(target))
    };
    let (name, task) = match plane.tasks.ids.open(&id, caller.principal()).filter(is_there) {
        Some((name, task)) => (name, Some(Arc::new(task))),
        None => ("".into(), None),
    };
    let input = Input::read(plane, caller, (ask, &name), body, scanned)?;
    if ask == Ask::UpdateTask && input.is_none() {
        return Err(invalid("tasks/update needs params.inputResponses, an object".into()));
    }
    Ok(About { name, task, input })
}

/// Whether its client can follow a task, and its server makes some.
pub fn can_be(call: &Ruled) -> bool {
    let (asked, caller) = (call.call(), call.caller());
    (asked.ask == Ask::CallTool || asked.ask.is_of_task())
        && caller.leg().features().has(Features::TASKS)
        && caller.view().catalogue.can(&call.target().backend_name, Ability::Tasks)
}
