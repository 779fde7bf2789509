//! What a server may ask of a client, and what a client says of itself that it can be asked (`protocol.md` 6.4). The
//! same in both eras: a legacy client says it in `initialize`, a modern one in each request.

use serde_json::{Map, Value, json};

/// One thing that a server may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    Elicitation,
    Roots,
    Sampling,
}

impl Feature {
    pub const ALL: [Self; 3] = [Self::Elicitation, Self::Roots, Self::Sampling];

    /// The method that asks for it.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Elicitation => "elicitation/create",
            Self::Roots => "roots/list",
            Self::Sampling => "sampling/createMessage",
        }
    }

    /// What `may_ask` calls it, and clients' capabilities.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Elicitation => "elicitation",
            Self::Roots => "roots",
            Self::Sampling => "sampling",
        }
    }

    /// What this method asks for; none: no client is asked by it.
    pub fn asked_by(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.method() == method)
    }
}

/// The extension by which calls become tasks, as both ends of the modern era declare it.
pub const TASKS: &str = "io.modelcontextprotocol/tasks";

/// Whether one end's `capabilities` have it.
pub fn has_tasks(capabilities: &Map<String, Value>) -> bool {
    let extensions = capabilities.get("extensions").and_then(Value::as_object);
    extensions.and_then(|extensions| extensions.get(TASKS)).is_some_and(Value::is_object)
}

/// A set of features with their fine print, as one client declares them or one server is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(u8);

impl Features {
    pub const NONE: Self = Self(0);
    pub const SAMPLING: Self = Self(1);
    /// `sampling.tools`: a question may bring tools along.
    pub const SAMPLING_TOOLS: Self = Self(1 << 1);
    pub const SAMPLING_CONTEXT: Self = Self(1 << 2);
    /// Elicitation by a form.
    pub const FORM: Self = Self(1 << 3);
    /// Elicitation by a URL that the person opens.
    pub const URL: Self = Self(1 << 4);
    pub const ROOTS: Self = Self(1 << 5);
    /// It says when its roots changed.
    pub const ROOTS_CHANGED: Self = Self(1 << 6);
    /// The modern era's extension: a call of its may go on as a task. No question, so nothing that `may_ask` is about.
    pub const TASKS: Self = Self(1 << 7);

    /// All that belongs to one feature.
    pub const fn of(feature: Feature) -> Self {
        match feature {
            Feature::Elicitation => Self(Self::FORM.0 | Self::URL.0),
            Feature::Roots => Self(Self::ROOTS.0 | Self::ROOTS_CHANGED.0),
            Feature::Sampling => Self(Self::SAMPLING.0 | Self::SAMPLING_TOOLS.0 | Self::SAMPLING_CONTEXT.0),
        }
    }

    /// All of these features, whole.
    pub fn all_of(features: impl IntoIterator<Item = Feature>) -> Self {
        features.into_iter().fold(Self::NONE, |all, feature| all.and(Self::of(feature)))
    }

    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// What both have.
    pub const fn within(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// All of these.
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Any way of this feature.
    pub const fn can(self, feature: Feature) -> bool {
        self.0 & Self::of(feature).0 != 0
    }

    /// From a client's `capabilities`; what it says of other things says nothing here.
    pub fn read(capabilities: &Map<String, Value>) -> Self {
        let member = |name: &str| capabilities.get(name).and_then(Value::as_object);
        let mut found = Self::NONE;
        let mut add = |is: bool, one: Self| {
            if is {
                found = found.and(one);
            }
        };
        if let Some(sampling) = member("sampling") {
            add(true, Self::SAMPLING);
            add(sampling.contains_key("tools"), Self::SAMPLING_TOOLS);
            add(sampling.contains_key("context"), Self::SAMPLING_CONTEXT);
        }
        if let Some(elicitation) = member("elicitation") {
            // Without a word on how, it is by a form.
            add(elicitation.contains_key("form") || !elicitation.contains_key("url"), Self::FORM);
            add(elicitation.contains_key("url"), Self::URL);
        }
        if let Some(roots) = member("roots") {
            add(true, Self::ROOTS);
            add(roots.get("listChanged") == Some(&Value::Bool(true)), Self::ROOTS_CHANGED);
        }
        found
    }

    /// From what a modern request says of itself.
    pub fn of_request(capabilities: &[u8]) -> Self {
        if capabilities == b"{}" {
            return Self::NONE;
        }
        let Ok(said) = serde_json::from_slice::<Map<String, Value>>(capabilities) else { return Self::NONE };
        let tasks = if has_tasks(&said) { Self::TASKS } else { Self::NONE };
        Self::read(&said).and(tasks)
    }

    /// As a modern request says it: nothing changes there within a session.
    pub fn in_request(self) -> Value {
        let mut declared = self.without(Self::ROOTS_CHANGED).declared();
        if let (true, Some(declared)) = (self.has(Self::TASKS), declared.as_object_mut()) {
            declared.insert("extensions".to_owned(), json!({ TASKS: {} }));
        }
        declared
    }

    /// As a legacy client says it in `initialize`.
    pub fn declared(self) -> Value {
        let mut all = Map::new();
        if self.can(Feature::Sampling) {
            let mut sampling = Map::new();
            for (one, name) in [(Self::SAMPLING_TOOLS, "tools"), (Self::SAMPLING_CONTEXT, "context")] {
                if self.has(one) {
                    sampling.insert(name.to_owned(), json!({}));
                }
            }
            all.insert("sampling".to_owned(), Value::Object(sampling));
        }
        if self.can(Feature::Elicitation) {
            // The empty object is what revisions before URLs know.
            let ways = match (self.has(Self::FORM), self.has(Self::URL)) {
                (true, true) => json!({"form": {}, "url": {}}),
                (false, true) => json!({"url": {}}),
                (_, false) => json!({}),
            };
            all.insert("elicitation".to_owned(), ways);
        }
        if self.can(Feature::Roots) {
            let roots = if self.has(Self::ROOTS_CHANGED) { json!({"listChanged": true}) } else { json!({}) };
            all.insert("roots".to_owned(), roots);
        }
        Value::Object(all)
    }

    /// In one byte, for a sealed session id.
    pub const fn bits(self) -> u8 {
        self.0
    }

    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0b0111_1111)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(capabilities: &Value) -> Features {
        Features::read(capabilities.as_object().unwrap())
    }

    #[test]
    fn what_a_client_declares_is_what_it_can_be_asked() {
        assert_eq!(read(&json!({"experimental": {}, "tasks": {}, "sampling": true})), Features::NONE);
        assert_eq!(read(&json!({"elicitation": {}})), Features::FORM, "the empty object means a form");
        assert_eq!(read(&json!({"elicitation": {"url": {}}})), Features::URL, "a client may have no forms");
        let all = json!({
            "elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": true}, "sampling": {"tools": {}, "context": {}},
        });
        assert_eq!(read(&all), Features::all_of(Feature::ALL));
        assert_eq!(read(&json!({"roots": {"listChanged": "yes"}})), Features::ROOTS);
    }

    #[test]
    fn tasks_are_declared_in_requests_alone_and_by_an_object() {
        let request = |said: Value| Features::of_request(said.to_string().as_bytes());
        let said = json!({ "roots": {}, "extensions": { TASKS: {}, "com.example/x": {} } });
        assert_eq!(request(said.clone()), Features::ROOTS.and(Features::TASKS));
        assert_eq!(read(&said), Features::ROOTS, "a legacy client has no extensions");
        for none in [json!({ "extensions": { TASKS: null } }), json!({ "tasks": {} }), json!({ "extensions": [TASKS] })]
        {
            assert_eq!(request(none), Features::NONE);
        }
        let told = Features::TASKS.and(Features::FORM);
        assert_eq!(request(told.in_request()), told);
        assert_eq!(Features::TASKS.declared(), json!({}));
    }

    #[test]
    fn what_is_declared_reads_back_as_the_same_and_fits_into_one_byte() {
        for bits in 0..=0b0111_1111 {
            let features = Features::from_bits(bits);
            let told = read(&features.declared());
            // A fine print without its feature is nothing that can be said.
            let is_whole = |feature, itself| features.has(itself) || !features.can(feature);
            if is_whole(Feature::Sampling, Features::SAMPLING) && is_whole(Feature::Roots, Features::ROOTS) {
                assert_eq!(told.bits(), bits, "{features:?}");
            }
        }
    }
}
