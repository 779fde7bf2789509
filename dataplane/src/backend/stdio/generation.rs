//! One process from its start to its end: pipes and tasks around it, the handshake, and what makes it end.

use std::{
    borrow::Cow,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    process::{ChildStderr, ChildStdin, ChildStdout},
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    converse::{AskFault, Conversation},
    eras, lifetime, limits,
    process::{Pipes, Process},
    reader::{self, Ears, ReaderEnd},
    stop,
    supervisor::Supervisor,
    wants,
    writer::{self, WriterEnd},
};
use crate::backend::{
    BackendNote, Note,
    abilities::Ability,
    era::Era,
    handshake::{Agreed, HandshakeFault},
    listing::{Listed, Listing, ListingFault, Offering, shortest},
};
use crate::call::Kind;

/// For the last words of a process that is dead: what is in its pipes is read so long, since grandchildren may hold
/// them open.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Who made too much noise is about to end within this, or only makes noise.
const NOISY_END: Duration = Duration::from_secs(1);
/// Several changes of the list are one.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// A server of the modern era says at once that it will tell of changes.
const GRANTED: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_secs(3);
/// One page of a listing, once the process is ready.
const LISTING: Duration = Duration::from_secs(30);
/// The same for a list beside its tools: one that hangs must not keep the tools from being offered.
const BESIDE_TOOLS: Duration = Duration::from_secs(5);
/// Calls in flight get so long when the operator restarts the backend.
const RESTART_DRAIN: Duration = Duration::from_secs(5);
/// The same at the end of its lifetime; new calls wait meanwhile for the next process.
const LIFETIME_DRAIN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// Why a process ended, or has to.
#[derive(Debug)]
pub(super) enum End {
    /// `Link::stop`.
    Stopped,
    /// All tasks end at once.
    Cut,
    /// The operator restarts it.
    Restarted,
    /// Nobody called it for `idle_stop_secs`.
    Idled,
    /// Its `max_lifetime_secs` are over.
    Aged,
    /// At a question of the modern era: the next start goes without it.
    Startled,
    /// By its own doing. `hopeless`: starting it again would only make the same noise.
    Itself { why: String, hopeless: bool },
}

impl End {
    fn fault(why: impl Into<String>) -> Self {
        Self::Itself { why: why.into(), hopeless: false }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Ask(#[from] AskFault),
    #[error(transparent)]
    Handshake(#[from] HandshakeFault),
    #[error(transparent)]
    Listing(#[from] ListingFault),
    #[error("{0}")]
    Era(String),
}

/// The tasks around one process.
struct Tasks {
    reader: JoinHandle<ReaderEnd>,
    writer: JoinHandle<WriterEnd>,
    stderr: JoinHandle<()>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
        self.stderr.abort();
    }
}

/// Runs `process` to its end, whatever ends it; nothing of it is left afterwards.
pub(super) async fn run(supervisor: &Supervisor, process: Process, pipes: Pipes, ready: &OnceLock<Instant>) -> End {
    let (conversation, lines) = Conversation::new(Arc::clone(&supervisor.spec.name), supervisor.spec.max_concurrency);
    let Ok((stdin, stdout, stderr)) = converted(pipes) else {
        return End::fault("its pipes can't be used");
    };
    let ears = Ears {
        id: supervisor.parts.id,
        conversation: Arc::clone(&conversation),
        desk: supervisor.parts.desk(&supervisor.spec.name),
        tracker: supervisor.parts.tracker.clone(),
        notes: supervisor.parts.notes.clone(),
        wanted: Arc::clone(&supervisor.parts.wanted),
        stderr: Arc::clone(&supervisor.shared.stderr),
        counts: Arc::clone(&supervisor.shared.counts),
        limit: supervisor.spec.max_response_bytes,
    };
    let writing = Arc::clone(&conversation);
    let ring = Arc::clone(&supervisor.shared.stderr);
    let tracker = &supervisor.parts.tracker;
    let mut tasks = Tasks {
        reader: tracker.spawn(reader::read(stdout, ears)),
        writer: tracker.spawn(async move { writer::write(stdin, lines, &writing).await }),
        stderr: tracker.spawn(async move { ring.read(stderr).await }),
    };

    let end = tokio::select! {
        biased;
        () = supervisor.parts.stop.cancelled() => End::Cut,
        () = supervisor.shared.stopping.cancelled() => End::Stopped,
        () = supervisor.shared.restart.notified() => End::Restarted,
        () = process.exited() => End::fault(String::new()),
        end = &mut tasks.reader => reader_ended(&process, end.unwrap_or(ReaderEnd::Closed)).await,
        end = &mut tasks.writer => writer_ended(&process, end.unwrap_or(WriterEnd::Closed)).await,
        why = talk(supervisor, &conversation, &process, ready) => End::fault(why),
        end = lifetime::over(supervisor, &conversation, ready) => end,
        () = limits::watch(supervisor, &process) => End::fault("its limits are not looked at any more"),
    };
    supervisor.shared.current.store(None);
    if let Some(instance) = supervisor.parts.instance {
        say(supervisor, Note::Own { instance, offering: None }).await;
    }
    let end = match end {
        End::Itself { .. } if process.has_exited() && supervisor.shared.startled() => End::Startled,
        end => end,
    };
    finish(supervisor, &conversation, process, &mut tasks, end).await
}

fn converted(pipes: Pipes) -> std::io::Result<(ChildStdin, ChildStdout, ChildStderr)> {
    Ok((ChildStdin::from_std(pipes.stdin)?, ChildStdout::from_std(pipes.stdout)?, ChildStderr::from_std(pipes.stderr)?))
}

/// Handshake, then whatever the process needs of us while it is ready. Ends only with a reason to end the process.
async fn talk(
    supervisor: &Supervisor,
    conversation: &Arc<Conversation>,
    process: &Process,
    ready: &OnceLock<Instant>,
) -> String {
    let within = supervisor.handshake_within();
    // One deadline for the whole: no single question has one of its own.
    let (for_all, twice) = (supervisor.parts.instance.is_none(), within.saturating_mul(2));
    let (agreed, listed) = match timeout(within, greet(supervisor, conversation, for_all, twice)).await {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(fault)) => return format!("the handshake failed: {fault}"),
        Err(_elapsed) => return format!("it was not ready within {} s", within.as_secs()),
    };
    let lists = agreed.abilities.lists().next().is_some();
    let (held, granted) = (agreed.clone(), Notify::new());
    let changes = held.changes.as_deref().filter(|_| lists);
    let mut subscribed = pin!(eras::keep_subscribed(conversation, changes, &supervisor.parts.wanted, &granted));
    if changes.is_some() && !for_all {
        // It is not listed before its first call, which may be what changes its lists: that is to be heard.
        let granted = timeout(GRANTED, granted.notified());
        tokio::select! {
            () = &mut subscribed => {}
            _late = granted => {}
        }
    }
    ready.get_or_init(Instant::now);
    supervisor.became_ready(process, agreed, conversation);
    let good_for = listed.as_ref().and_then(|listed| listed.good_for);
    if let Some(Listed { offering, .. }) = listed {
        say(supervisor, Note::offers(supervisor.parts.instance, offering)).await;
    }
    let is_wanted = held.abilities.can(Ability::Subscriptions) || held.abilities.can(Ability::Logging);
    tokio::select! {
        () = keep_listing(supervisor, conversation, &held, good_for), if lists => "the listing ended".to_owned(),
        () = keep_suspecting(conversation) => "it answers nothing, not even a ping".to_owned(),
        () = subscribed => "its subscription ended".to_owned(),
        () = wants::keep(conversation, &supervisor.parts.wanted, held.abilities), if is_wanted => "what is watched is told no more".to_owned(),
        () = eras::keep_doubting(conversation) => "it does not speak the revision any more that it offered".to_owned(),
    }
}

/// `lists`: what it offers is asked for.
async fn greet(
    supervisor: &Supervisor,
    conversation: &Conversation,
    lists: bool,
    within: Duration,
) -> Result<(Agreed, Option<Listed>), Fault> {
    let agreed = eras::agree(supervisor, conversation, within).await?;
    let listed = if lists { Some(list(conversation, &agreed, within).await?) } else { None };
    Ok((agreed, listed))
}

/// All that it offers. Without its tools it is of no use; another list that can't be had is told, and what was known
/// of it stays.
async fn list(conversation: &Conversation, agreed: &Agreed, within: Duration) -> Result<Listed, Fault> {
    let mut offering = Offering::new(agreed.abilities);
    let mut good_for = None;
    for kind in agreed.abilities.lists() {
        let within = if kind == Kind::Tool { within } else { within.min(BESIDE_TOOLS) };
        match list_of(conversation, kind, within).await {
            Ok(listing) => {
                good_for = shortest(good_for, listing.good_for());
                offering.put(kind, listing.into_entries());
            }
            Err(fault @ (Fault::Ask(AskFault::Refused { .. } | AskFault::Silent { .. }) | Fault::Listing(_)))
                if kind != Kind::Tool =>
            {
                offering.lacks(kind, conversation.backend(), &fault.to_string());
            }
            Err(fault) => return Err(fault),
        }
    }
    let tells = agreed.era == Era::Legacy || agreed.changes.is_some();
    Ok(Listed { offering, good_for: good_for.filter(|_| !tells) })
}

/// All pages of one list.
async fn list_of(conversation: &Conversation, kind: Kind, within: Duration) -> Result<Listing, Fault> {
    let mut listing = Listing::of(kind);
    let mut params = None;
    loop {
        let page = conversation.ask(kind.list_method(), params.as_deref(), within).await?;
        params = listing.page(&page)?;
        if params.is_none() {
            return Ok(listing);
        }
    }
}

/// Lists anew after each change, and when the server said that it would be time: never two at once, and a change that
/// comes meanwhile is listed after.
async fn keep_listing(
    supervisor: &Supervisor,
    conversation: &Conversation,
    agreed: &Agreed,
    mut good_for: Option<Duration>,
) {
    loop {
        tokio::select! {
            () = conversation.changed.notified() => tokio::time::sleep(DEBOUNCE).await,
            () = tokio::time::sleep(good_for.unwrap_or(Duration::MAX)), if good_for.is_some() => {}
        }
        match list(conversation, agreed, LISTING).await {
            Ok(listed) => {
                good_for = listed.good_for;
                say(supervisor, Note::offers(supervisor.parts.instance, listed.offering)).await;
            }
            Err(fault) => {
                tracing::warn!(backend = &*supervisor.spec.name, %fault, "its changed list of tools can't be had; the old one stays");
            }
        }
    }
}

/// Returns when a process that let several calls time out does not answer a ping either.
async fn keep_suspecting(conversation: &Conversation) {
    loop {
        conversation.suspect.notified().await;
        if matches!(conversation.ping(PING).await, Err(AskFault::Silent { .. } | AskFault::Full)) {
            return;
        }
    }
}

async fn say(supervisor: &Supervisor, note: Note) {
    supervisor.parts.notes.send(BackendNote { backend: supervisor.parts.id, note }).await.ok();
}

/// Its end is told by `wait`; a process that closes its pipes and lives on is of no use.
async fn reader_ended(process: &Process, end: ReaderEnd) -> End {
    let noise = match end {
        ReaderEnd::Closed if timeout(LAST_WORDS, process.exited()).await.is_ok() => return End::fault(String::new()),
        ReaderEnd::Closed => return End::fault("it closed its stdout"),
        ReaderEnd::TooLong => return End::fault("it sent a line above max_response_bytes"),
        ReaderEnd::Garbage => "too much that is no message of MCP",
        ReaderEnd::Unasked => "too much that nobody asked for",
    };
    // Words before an end (a usage text, a stack trace) are an end like any other: it may do better at the next start.
    if timeout(NOISY_END, process.exited()).await.is_ok() && process.has_left() {
        return End::fault(format!("it ended after it had sent {noise}"));
    }
    End::Itself { why: format!("it sends {noise}"), hopeless: true }
}

async fn writer_ended(process: &Process, end: WriterEnd) -> End {
    match end {
        WriterEnd::Closed | WriterEnd::Hushed if timeout(LAST_WORDS, process.exited()).await.is_ok() => {
            End::fault(String::new())
        }
        WriterEnd::Closed | WriterEnd::Hushed => End::fault("it closed its stdin"),
        WriterEnd::Stalled => End::fault("stalled: it does not read its stdin"),
    }
}

/// Wakes everybody who waits, ends the process, takes its status.
async fn finish(
    supervisor: &Supervisor,
    conversation: &Conversation,
    process: Process,
    tasks: &mut Tasks,
    end: End,
) -> End {
    limits::look(supervisor, &process);
    let over = matches!(end, End::Itself { .. }) && process.has_exited();
    let over = over.then(|| limits::reason(supervisor, &process)).flatten();
    match &end {
        End::Cut => {
            conversation.close("the gateway stops");
            stop::kill(&process);
            return end;
        }
        End::Stopped => supervisor.draining("it is being stopped"),
        End::Restarted => {
            supervisor.draining("restarted by the operator");
            drained(conversation, &process, RESTART_DRAIN).await;
        }
        // No call is in flight, and none can come.
        End::Idled => {}
        End::Aged => drained(conversation, &process, LIFETIME_DRAIN).await,
        End::Startled => conversation.close("its process ended"),
        End::Itself { why, .. } if process.has_exited() => {
            // Answers that it wrote before it died are still answers.
            if !tasks.reader.is_finished() {
                timeout(LAST_WORDS, &mut tasks.reader).await.ok();
            }
            let died = over.as_deref().unwrap_or("its process died");
            supervisor.failed(if why.is_empty() { died } else { why });
            conversation.close(died.to_owned());
        }
        End::Itself { why, .. } => {
            supervisor.failed(why);
            conversation.close(Cow::Owned(why.clone()));
        }
    }
    stop::ladder(&supervisor.spec.name, &process, || conversation.hush.cancel()).await;
    conversation.close(if matches!(end, End::Aged) { "its max_lifetime_secs were over" } else { "it was stopped" });
    if !tasks.stderr.is_finished() {
        timeout(LAST_WORDS, &mut tasks.stderr).await.ok();
    }
    let status = process.reap();
    match end {
        End::Itself { why, hopeless } if why.is_empty() => End::Itself { why: over.unwrap_or(status), hopeless },
        other => other,
    }
}

async fn drained(conversation: &Conversation, process: &Process, most: Duration) {
    let until = Instant::now() + most;
    while conversation.waiting.calls() > 0 && !process.has_exited() && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
}
