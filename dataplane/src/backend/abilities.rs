//! What an MCP server says that it can, in the `capabilities` of its handshake: the same for both eras.

use serde_json::{Map, Value};

use crate::{call::Kind, upcall::feature::has_tasks};

/// One thing that a server may be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Ability {
    Tools = 1,
    Prompts = 1 << 1,
    Resources = 1 << 2,
    /// `resources.subscribe`
    Subscriptions = 1 << 3,
    Completions = 1 << 4,
    /// Its log notes have a level that can be set.
    Logging = 1 << 5,
    /// Calls of its tools may go on as tasks: the modern era's extension.
    Tasks = 1 << 6,
    /// The same where the client asks for it: `tasks.requests.tools.call` of revision 2025-11-25.
    CoreTasks = 1 << 7,
    /// `tasks.cancel` of that revision.
    CoreTaskCancels = 1 << 8,
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities(u16);

impl Abilities {
    /// From the `capabilities` of `initialize` or `server/discover`.
    pub fn read(capabilities: &Map<String, Value>) -> Self {
        let subscribes = capabilities.get("resources").and_then(|resources| resources.get("subscribe"));
        let mut all = Self::default();
        for (ability, said) in [
            (Ability::Tools, capabilities.contains_key("tools")),
            (Ability::Prompts, capabilities.contains_key("prompts")),
            (Ability::Resources, capabilities.contains_key("resources")),
            (Ability::Subscriptions, subscribes == Some(&Value::Bool(true))),
            (Ability::Completions, capabilities.contains_key("completions")),
            (Ability::Logging, capabilities.contains_key("logging")),
        ] {
            if said {
                all.add(ability);
            }
        }
        all
    }

    /// The same of a modern server, which may have extensions.
    pub fn of_modern(capabilities: &Map<String, Value>) -> Self {
        let mut all = Self::read(capabilities);
        if has_tasks(capabilities) {
            all.add(Ability::Tasks);
        }
        all
    }

    /// The same of a server of revision 2025-11-25, which may have tasks.
    pub fn of_newest_legacy(capabilities: &Map<String, Value>) -> Self {
        let mut all = Self::read(capabilities);
        let tasks = capabilities.get("tasks");
        let is = |path| tasks.and_then(|tasks| tasks.pointer(path)).is_some_and(Value::is_object);
        if is("/requests/tools/call") {
            all.add(Ability::CoreTasks);
            if is("/cancel") {
                all.add(Ability::CoreTaskCancels);
            }
        }
        all
    }

    pub const fn add(&mut self, ability: Ability) {
        self.0 |= ability as u16;
    }

    pub const fn can(self, ability: Ability) -> bool {
        self.0 & ability as u16 != 0
    }

    /// Whether there is a list of this kind.
    pub const fn has(self, kind: Kind) -> bool {
        self.can(match kind {
            Kind::Tool => Ability::Tools,
            Kind::Prompt => Ability::Prompts,
            Kind::Resource | Kind::Template => Ability::Resources,
        })
    }

    /// Without what is about kinds that are not `shown`.
    #[must_use]
    pub fn only(self, shown: impl Fn(Kind) -> bool) -> Self {
        let resources = shown(Kind::Resource) || shown(Kind::Template);
        let mut all = Self::default();
        for (ability, stays) in [
            (Ability::Tools, shown(Kind::Tool)),
            (Ability::Prompts, shown(Kind::Prompt)),
            (Ability::Resources, resources),
            (Ability::Subscriptions, resources),
            (Ability::Completions, shown(Kind::Prompt) || resources),
            (Ability::Tasks, shown(Kind::Tool)),
            (Ability::CoreTasks, shown(Kind::Tool)),
            (Ability::CoreTaskCancels, shown(Kind::Tool)),
            (Ability::Logging, shown(Kind::Tool) || shown(Kind::Prompt) || resources),
        ] {
            if stays && self.can(ability) {
                all.add(ability);
            }
        }
        all
    }

    /// The lists that there are.
    pub fn lists(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_what_it_can() {
        let said = serde_json::json!({"prompts": {}, "resources": {"subscribe": true, "listChanged": true}});
        let Value::Object(said) = said else { panic!("an object") };
        let abilities = Abilities::read(&said);
        assert_eq!(abilities.lists().collect::<Vec<_>>(), [Kind::Prompt, Kind::Resource, Kind::Template]);
        assert!(abilities.can(Ability::Subscriptions));
        assert!(!abilities.can(Ability::Tools) && !abilities.can(Ability::Completions));
    }

    #[test]
    fn a_server_has_tasks_where_its_tools_can_be_called_as_some() {
        for (said, has, cancels) in [
            (serde_json::json!({"tasks": {"requests": {"tools": {"call": {}}}, "cancel": {}, "list": {}}}), true, true),
            (serde_json::json!({"tasks": {"requests": {"tools": {"call": {}}}}}), true, false),
            (serde_json::json!({"tasks": {"requests": {"sampling": {}}, "cancel": {}}}), false, false),
            (serde_json::json!({"tasks": true}), false, false),
        ] {
            let Value::Object(said) = said else { panic!("an object") };
            let abilities = Abilities::of_newest_legacy(&said);
            assert_eq!((abilities.can(Ability::CoreTasks), abilities.can(Ability::CoreTaskCancels)), (has, cancels));
            assert!(!Abilities::read(&said).can(Ability::CoreTasks) && !abilities.can(Ability::Tasks));
        }
    }
}
