//! What the backends offer now, as clients see it: prefixed, renamed, without what is hidden or collides.
//!
//! Immutable plain data, joined with the Policy into a View. It starts and calls nothing.

mod definition;
mod measure;
pub mod merge;
pub mod mirrored;
mod names;
mod part;
mod patterns;
pub mod print;
pub mod schema;
pub mod template;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use self::{mirrored::Mirrored, template::Template};
use crate::{
    backend::abilities::{Abilities, Ability},
    call::{Ask, BackendId, Kind},
    denial::Disabled,
    metrics::ToolMetrics,
    view::policy::Quota,
};

/// One thing that clients are offered, with all that a request for it needs to know.
#[derive(Debug)]
pub struct Target {
    pub kind: Kind,
    /// As clients know it: a name with its prefix, a URI, a URI template.
    pub exposed: Arc<str>,
    /// As its backend knows it.
    pub own: Arc<str>,
    pub backend: BackendId,
    pub backend_name: Arc<str>,
    /// Its JSON object as listed: the backend's bytes but for the name, and the description where configured.
    pub definition: Bytes,
    /// How it goes with tasks of revision 2025-11-25; none: its server has none.
    pub core_tasks: Option<CoreTasks>,
    pub check: schema::Check,
    /// Which of the policy's quotas limits one client's requests for it.
    pub quota: Quota,
    pub timeout: Duration,
    pub progress_renews: bool,
    pub max_timeout: Duration,
    /// Arguments that its server wants to see in headers as well, where that is a modern one.
    pub mirrored: Box<[Mirrored]>,
    pub metrics: Arc<ToolMetrics>,
    /// Running twice is as good as running once: it reads, or its definition, which is trusted, says so.
    pub may_repeat: bool,
    /// It is quarantined: in no list, and refused to those who may see it.
    pub held: Option<Disabled>,
    /// What requests about its tasks are about, where its server makes some.
    pub tasks: Option<Arc<Self>>,
}

/// What a tool says of tasks of revision 2025-11-25.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreTasks {
    pub support: Support,
    /// Its definition with `execution`, for who knows such tasks; none: it has no such member.
    pub definition: Option<Bytes>,
}

/// `execution.taskSupport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Forbidden,
    Optional,
    Required,
}

impl Target {
    /// The same tool as requests about its tasks meet it: without a schema, since arguments were judged with the call, and
    /// within what the client may ask at all, since the tool runs no oftener for them.
    fn for_tasks(&self, per_client: Quota) -> Self {
        Self {
            kind: self.kind,
            exposed: Arc::clone(&self.exposed),
            own: Arc::clone(&self.own),
            backend: self.backend,
            backend_name: Arc::clone(&self.backend_name),
            definition: self.definition.clone(),
            core_tasks: None,
            check: schema::Check::Open,
            quota: per_client,
            timeout: self.timeout,
            progress_renews: self.progress_renews,
            max_timeout: self.max_timeout,
            mirrored: Box::default(),
            metrics: Arc::clone(&self.metrics),
            may_repeat: self.may_repeat,
            held: self.held.clone(),
            tasks: None,
        }
    }

    /// As it is listed; none: it is not. `tells_tasks`: to who knows tasks of revision 2025-11-25.
    pub fn listed(&self, tells_tasks: bool) -> Option<&Bytes> {
        match &self.core_tasks {
            Some(CoreTasks { definition, .. }) if tells_tasks => definition.as_ref().or(Some(&self.definition)),
            Some(CoreTasks { support: Support::Required, .. }) => None,
            Some(_) | None => Some(&self.definition),
        }
    }

    /// Errors: it is quarantined, for `Denial::Disabled`.
    pub fn may_be_used(&self) -> Result<(), Disabled> {
        self.held.clone().map_or(Ok(()), Err)
    }
}

/// A tool that is not simply as it is pinned.
#[derive(Clone, Debug)]
pub struct Sighted {
    pub target: Arc<Target>,
    pub hash: [u8; 32],
    /// As the backend gave it.
    pub definition: Bytes,
    /// In use at first sight, and to be pinned.
    pub trusted: bool,
    /// A process that is not shared offers it, for its session or client alone.
    pub apart: bool,
    /// For operators, a sentence; empty where it is trusted.
    pub why: String,
    /// Pinned names that its backend offers no more, where it may be one of them.
    pub gone: Vec<String>,
}

/// What a backend offers and clients don't get, with the reason for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub kind: Kind,
    pub exposed: Box<str>,
    pub own: Box<str>,
    pub backend: Arc<str>,
    pub reason: String,
}

/// All of one kind.
#[derive(Debug, Default)]
struct Shelf {
    /// What is listed, in the order of the file, then of the backend.
    targets: Vec<Arc<Target>>,
    /// What is held as well.
    by_name: foldhash::HashMap<Arc<str>, Arc<Target>>,
}

#[derive(Debug, Default)]
pub struct Catalogue {
    tools: Shelf,
    prompts: Shelf,
    resources: Shelf,
    templates: Shelf,
    /// The templates, read; the same order.
    matchers: Vec<(Template, Arc<Target>)>,
    /// A tool says something of tasks of revision 2025-11-25.
    core_tasks: bool,
    refused: Vec<Refused>,
    /// Resources and templates whose URI another backend has: a virtual server may have these and not that.
    shadowed: Vec<(Arc<Target>, Option<Template>)>,
    /// By exposed name.
    sighted: BTreeMap<Arc<str>, Sighted>,
    /// Backends whose entries are kept although they are down.
    stale: Vec<Arc<str>>,
    /// Backends that have said what they offer, be it nothing; and what they can.
    heard: Vec<(Arc<str>, Abilities)>,
}

impl Catalogue {
    /// Exactly the one of this kind and exposed name.
    pub fn find(&self, kind: Kind, exposed: &str) -> Option<&Arc<Target>> {
        self.shelf(kind).by_name.get(exposed)
    }

    /// What a request for this name is about.
    pub fn target(&self, ask: Ask, name: &str) -> Option<&Arc<Target>> {
        match ask {
            Ask::CallTool | Ask::CompletePrompt | Ask::GetPrompt => self.find(ask.kind(), name),
            Ask::AwaitTask | Ask::GetTask | Ask::UpdateTask | Ask::CancelTask => {
                self.find(ask.kind(), name)?.tasks.as_ref()
            }
            Ask::ReadResource => self.find(Kind::Resource, name).or_else(|| self.made_by(name)),
            // Told by its template, or by a URI of it.
            Ask::CompleteResource => self
                .find(Kind::Template, name)
                .or_else(|| self.find(Kind::Resource, name))
                .or_else(|| self.made_by(name)),
        }
    }

    /// The template that says most about this URI, of several alike the first.
    fn made_by(&self, uri: &str) -> Option<&Arc<Target>> {
        let mut best: Option<(usize, &Arc<Target>)> = None;
        for (template, target) in &self.matchers {
            if best.is_none_or(|(literal, _)| template.literal() > literal) && template.matches(uri) {
                best = Some((template.literal(), target));
            }
        }
        best.map(|(_, target)| target)
    }

    /// What each backend can that has said what it offers.
    pub fn abilities(&self) -> impl Iterator<Item = Abilities> {
        self.heard.iter().map(|(_, abilities)| *abilities)
    }

    /// Whether this backend can it.
    pub fn can(&self, backend: &str, ability: Ability) -> bool {
        self.heard.iter().any(|(name, abilities)| **name == *backend && abilities.can(ability))
    }

    /// What is listed, in the order of the file, then of the backend.
    pub fn all(&self, kind: Kind) -> &[Arc<Target>] {
        &self.shelf(kind).targets
    }

    /// False: what is listed is the same for who knows tasks of revision 2025-11-25 and who does not.
    pub fn has_core_tasks(&self) -> bool {
        self.core_tasks
    }

    /// The name must be free. `template`: of a template alone.
    fn add(&mut self, target: Arc<Target>, template: Option<Template>) {
        self.matchers.extend(template.map(|template| (template, Arc::clone(&target))));
        self.core_tasks |= target.core_tasks.as_ref().is_some_and(|tasks| tasks.definition.is_some());
        let shelf = match target.kind {
            Kind::Tool => &mut self.tools,
            Kind::Prompt => &mut self.prompts,
            Kind::Resource => &mut self.resources,
            Kind::Template => &mut self.templates,
        };
        shelf.by_name.insert(Arc::clone(&target.exposed), Arc::clone(&target));
        if target.held.is_none() {
            shelf.targets.push(target);
        }
    }

    /// Tools that are not simply as they are pinned, those that are held among them.
    pub fn sighted(&self) -> impl Iterator<Item = &Sighted> {
        self.sighted.values()
    }

    /// What is to be said of this tool.
    pub fn sighting(&self, exposed: &str) -> Option<&Sighted> {
        self.sighted.get(exposed)
    }

    const fn shelf(&self, kind: Kind) -> &Shelf {
        match kind {
            Kind::Tool => &self.tools,
            Kind::Prompt => &self.prompts,
            Kind::Resource => &self.resources,
            Kind::Template => &self.templates,
        }
    }

    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// False: it has not been listed yet, and a request for what it offers meets an unknown name.
    pub fn has_heard(&self, backend: &str) -> bool {
        self.heard.iter().any(|(name, _)| &**name == backend)
    }

    pub fn is_stale(&self, backend: &str) -> bool {
        self.stale.iter().any(|name| &**name == backend)
    }
}
