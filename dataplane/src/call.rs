//! What travels along the pipeline: who asks (`Caller`), what is asked (`Ask`), under which id.
//!
//! Nothing here decides; the stages do. Nothing here knows an era or a transport: `ClientLeg` is opaque to all
//! but `listen/`.

use std::{borrow::Cow, cell::RefCell, fmt, sync::Arc};

use bytes::Bytes;
use uuid::{Builder, NoContext, Timestamp, Uuid};

use crate::{
    backend::era::Era,
    denial::Denial,
    input::Input,
    listen::{ClientLeg, session::Level},
    tasks::Task,
    view::{
        View,
        policy::{Access, Policy},
    },
    wire::{
        Span, Text,
        scan::{Reference, Referred, Scanned},
    },
};

/// UUID v7, one a request; the same in the answer's `x-request-id`, the audit row and `data.requestId`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// Always ours: a client's `x-request-id` is ignored. A UUID v7 whose `rand_a` is the part of the millisecond, so
    /// that ids of one plane are in order to a quarter of a microsecond (RFC 9562, 6.2, method 3).
    pub fn fresh() -> Self {
        let Some(mut random) = DRAWN.with_borrow_mut(Drawn::take) else { return Self(Uuid::now_v7()) };
        let (seconds, nanos) = Timestamp::now(NoContext).to_unix();
        let (millis, rest) = (seconds * 1_000 + u64::from(nanos / 1_000_000), nanos % 1_000_000);
        let part = (u64::from(rest) * 4_096 / 1_000_000).to_be_bytes();
        if let (Some(to), Some(from)) = (random.first_chunk_mut::<2>(), part.last_chunk::<2>()) {
            *to = *from;
        }
        Self(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// That of an earlier request.
    pub const fn of(uuid: Uuid) -> Self {
        Self(uuid)
    }

    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// The 36 characters, without an allocation.
    pub fn encode(self, buffer: &mut [u8; 36]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }
}

thread_local! {
    static DRAWN: RefCell<Drawn> = const { RefCell::new(Drawn { bytes: [0; 500], left: 0 }) };
}

/// Random bytes of this thread. Drawn for 50 ids at once: `Uuid::now_v7` makes two system calls and takes a lock that
/// all threads share, for each.
struct Drawn {
    bytes: [u8; 500],
    left: usize,
}

impl Drawn {
    /// None: there is no randomness to be had.
    fn take(&mut self) -> Option<[u8; 10]> {
        if self.left == 0 {
            aws_lc_rs::rand::fill(&mut self.bytes).ok()?;
            self.left = self.bytes.len();
        }
        let taken = self.bytes.get(..self.left)?.last_chunk().copied()?;
        self.left -= 10;
        Some(taken)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whose call it is: equal for the same client, and spread evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHash(pub u64);

/// Who calls, as the verified token says it. Shared by all requests of one token.
#[derive(Debug, PartialEq, Eq)]
pub struct Principal {
    pub issuer: Box<str>,
    pub client: Box<str>,
    /// As the token lists them, known to this gateway or not; at most 64.
    pub roles: Box<[Box<str>]>,
    pub jti: Option<Box<str>>,
    /// Unix seconds, leeway included: nothing of this principal outlives it.
    pub until: i64,
}

impl Principal {
    /// Issuer and client together are who it is: two issuers may name a client alike.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.client == other.client && self.issuer == other.issuer
    }
}

/// Proof of a verified token, made from the head alone; holds the View by which all that follows is judged.
#[derive(Debug)]
pub struct Caller {
    view: Arc<View>,
    principal: Arc<Principal>,
    leg: ClientLeg,
}

impl Caller {
    /// Only `stages::authn` has a `Verified` to give.
    pub(crate) fn new(verified: crate::stages::authn::Verified, view: Arc<View>, leg: ClientLeg) -> Self {
        let principal = verified.into_principal();
        Self { view: view.seen_by(&principal, leg), principal, leg }
    }

    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    pub fn leg(&self) -> &ClientLeg {
        &self.leg
    }
}

/// What a backend can offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Tool,
    Prompt,
    Resource,
    /// A resource template: policy judges it as a resource.
    Template,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Tool, Self::Prompt, Self::Resource, Self::Template];

    /// The method of its list.
    pub const fn list_method(self) -> &'static str {
        match self {
            Self::Tool => "tools/list",
            Self::Prompt => "prompts/list",
            Self::Resource => "resources/list",
            Self::Template => "resources/templates/list",
        }
    }

    /// The kind that this method lists.
    pub fn listed_by(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.list_method() == method)
    }

    /// The member of a list's result that holds the entries.
    pub const fn entries(self) -> &'static str {
        match self {
            Self::Tool => "tools",
            Self::Prompt => "prompts",
            Self::Resource => "resources",
            Self::Template => "resourceTemplates",
        }
    }
}

/// What a routed request asks for: closed, and the same in both eras.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    CallTool,
    CompletePrompt,
    /// An argument of a resource template.
    CompleteResource,
    GetPrompt,
    ReadResource,
    /// What became of a call that its server goes on with as a task; the tool is what it is about.
    GetTask,
    /// The call's own answer, as soon as the task has it: of revision 2025-11-25 alone.
    AwaitTask,
    /// Answers to what the task asks its client for.
    UpdateTask,
    CancelTask,
}

impl Ask {
    /// The method of MCP, as it goes to a backend and into the record.
    pub const fn method(self) -> &'static str {
        match self {
            Self::CallTool => "tools/call",
            Self::CompletePrompt | Self::CompleteResource => "completion/complete",
            Self::GetPrompt => "prompts/get",
            Self::ReadResource => "resources/read",
            Self::GetTask => "tasks/get",
            Self::AwaitTask => "tasks/result",
            Self::UpdateTask => "tasks/update",
            Self::CancelTask => "tasks/cancel",
        }
    }

    /// What a request of this method asks of a task (`tasks/`). None: it is about none, or the era has no such method.
    pub fn of_task(method: &str, era: Era) -> Option<Self> {
        let asked = match era {
            Era::Legacy => [Self::GetTask, Self::AwaitTask, Self::CancelTask],
            Era::Modern => [Self::GetTask, Self::UpdateTask, Self::CancelTask],
        };
        asked.into_iter().find(|ask| ask.method() == method)
    }

    pub const fn is_of_task(self) -> bool {
        matches!(self, Self::GetTask | Self::AwaitTask | Self::UpdateTask | Self::CancelTask)
    }

    /// What a request of this method asks, and the name or URI that it is about. None: it reaches no backend, or is about
    /// a task, which only its id tells.
    ///
    /// Errors: `InvalidParams`, where nothing says what it is about.
    pub fn read<'b>(method: &str, scanned: &Scanned, body: &'b [u8]) -> Option<Result<(Self, Cow<'b, str>), Denial>> {
        let (ask, named, needs) = match method {
            "tools/call" => (Self::CallTool, scanned.name, "tools/call needs params.name, a string"),
            "prompts/get" => (Self::GetPrompt, scanned.name, "prompts/get needs params.name, a string"),
            "resources/read" => (Self::ReadResource, scanned.uri, "resources/read needs params.uri, a string"),
            "completion/complete" => {
                let ask = match scanned.reference {
                    Some(Reference { what: Referred::Resource, .. }) => Self::CompleteResource,
                    Some(Reference { what: Referred::Prompt, .. }) | None => Self::CompletePrompt,
                };
                let needs =
                    "completion/complete needs params.ref: {type: ref/prompt, name} or {type: ref/resource, uri}";
                (ask, scanned.reference.map(|reference| reference.text), needs)
            }
            _ => return None,
        };
        let name = named.and_then(|named| named.text(body));
        Some(name.map(|name| (ask, name)).ok_or_else(|| Denial::InvalidParams { what: needs.into() }))
    }

    /// Whether its answer may be a question (`protocol.md` 3.7).
    pub const fn may_be_asked(self) -> bool {
        matches!(self, Self::CallTool | Self::GetPrompt | Self::ReadResource)
    }

    /// What the policy says of this name. Rules are about arguments; those that a task goes on with were judged with its
    /// call.
    pub fn access<'p>(self, policy: &'p Policy, principal: &'p Principal, name: &'p str) -> Access<'p> {
        match policy.access(principal, self.kind(), name) {
            Access::Ruled(_) if self.is_of_task() => Access::Open,
            access @ (Access::Hidden | Access::Open | Access::Ruled(_)) => access,
        }
    }

    /// What policy judges its name as.
    pub const fn kind(self) -> Kind {
        match self {
            Self::CallTool | Self::GetTask | Self::AwaitTask | Self::UpdateTask | Self::CancelTask => Kind::Tool,
            Self::CompletePrompt | Self::GetPrompt => Kind::Prompt,
            Self::CompleteResource | Self::ReadResource => Kind::Resource,
        }
    }
}

/// One incarnation of one backend definition: a changed definition is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u32);

/// A request that goes the whole chain: its bytes as they came, and where in them everything stands.
pub struct Routed {
    pub id: RequestId,
    pub body: Bytes,
    pub scanned: Scanned,
    pub ask: Ask,
    /// The exposed name or the URI as asked, decoded.
    pub name: Arc<str>,
    pub traceparent: Option<Box<str>>,
    /// What it brings of an earlier round: it is a client's retry.
    pub input: Option<Box<Input>>,
    /// The task that it is about; none: it is about none, or about one that is not there for its client.
    pub task: Option<Arc<Task>>,
    /// Monotonic: the one deadline of a call counts from here.
    pub arrived: tokio::time::Instant,
}

impl Routed {
    /// The same for whoever works on it when this request has its answer.
    pub fn outliving(&self) -> Self {
        Self {
            id: self.id,
            body: self.body.clone(),
            scanned: self.scanned.clone(),
            ask: self.ask,
            name: Arc::clone(&self.name),
            traceparent: self.traceparent.clone(),
            input: None,
            task: self.task.clone(),
            arrived: self.arrived,
        }
    }

    /// The client's id, byte for byte.
    pub fn client_id(&self) -> Bytes {
        self.scanned.id.map_or_else(Bytes::new, |id| self.body.slice(id.start as usize..id.end as usize))
    }

    /// The string token that names the target, where backends know it by another name. URIs are the same for all.
    pub fn name_token(&self) -> Option<Span> {
        match self.ask {
            Ask::CallTool | Ask::GetPrompt => self.scanned.name.map(Text::token),
            Ask::CompletePrompt => self.scanned.reference.map(|reference| reference.text.token()),
            Ask::CompleteResource | Ask::ReadResource => None,
            Ask::GetTask | Ask::AwaitTask | Ask::UpdateTask | Ask::CancelTask => self.scanned.task_id.map(Text::token),
        }
    }

    /// Those of a call that a task goes on with were judged with the call.
    pub fn arguments(&self) -> Option<&[u8]> {
        self.scanned.arguments.filter(|_| !self.ask.is_of_task()).map(|span| span.get(&self.body))
    }

    /// The least severe of the log notes that the request itself asks for.
    pub fn log_level(&self) -> Option<Level> {
        let asked = self.scanned.modern.as_ref()?.log_level?;
        Level::parse(&serde_json::from_slice::<String>(asked.get(&self.body)).ok()?)
    }

    /// The client's progress token, byte for byte: none means that it wants no progress.
    pub fn progress_token(&self) -> Option<Bytes> {
        self.scanned.progress_token.map(|span| self.body.slice(span.start as usize..span.end as usize))
    }
}

/// Says what is asked and nothing of the arguments.
impl fmt::Debug for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routed")
            .field("id", &self.id)
            .field("ask", &self.ask)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_differ_and_are_uuids_of_version_7_in_the_order_of_time() {
        let ids: Vec<_> = (0..1_000).map(|_| RequestId::fresh().uuid()).collect();
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        // The clock and the quarter of a microsecond are the first 60 bits; what follows is random.
        let times: Vec<_> = ids.iter().map(|id| id.as_u128() >> 64).collect();
        assert!(times.is_sorted());
        let different: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len());
    }
}
