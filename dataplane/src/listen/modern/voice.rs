//! How a running call's words are put for a modern client: its answer says its type, and log notes come only where the
//! request asked for them (`protocol.md` 6.3).

use bytes::Bytes;
use serde::Deserialize;

use super::said::text;
use crate::{
    answering::Event,
    audit::record::Final,
    call::Ask,
    denial::Denial,
    listen::session::Level,
    wire::{
        answer::Pieces,
        modern::{self, Rewrite},
        scan::Scanned,
    },
};

/// Of one call.
#[derive(Debug)]
pub struct Voice {
    /// The least severe that the request asked for; none: it asked for no log notes.
    logs: Option<Level>,
    rewrite: Rewrite,
}

#[derive(Deserialize)]
struct LogNote<'a> {
    #[serde(borrow)]
    params: LogParams<'a>,
}

#[derive(Deserialize)]
struct LogParams<'a> {
    #[serde(borrow)]
    level: std::borrow::Cow<'a, str>,
}

impl Voice {
    /// Errors: `InvalidParams`, for a log level that is none.
    pub fn of(body: &[u8], scanned: &Scanned, ask: Ask) -> Result<Self, Denial> {
        let logs = match scanned.modern.as_ref().and_then(|modern| modern.log_level) {
            None => None,
            Some(value) => Some(text(body, value).and_then(|level| Level::parse(&level)).ok_or_else(|| {
                Denial::InvalidParams {
                    what: "io.modelcontextprotocol/logLevel is one of debug, info, notice, warning, error, critical, \
                           alert, emergency"
                        .into(),
                }
            })?),
        };
        let members = match ask {
            Ask::ReadResource => modern::KEPT_BY_NOBODY,
            Ask::CallTool
            | Ask::CompletePrompt
            | Ask::CompleteResource
            | Ask::GetPrompt
            | Ask::AwaitTask
            | Ask::GetTask
            | Ask::UpdateTask
            | Ask::CancelTask => modern::COMPLETE,
        };
        Ok(Self { logs, rewrite: Rewrite::with(members) })
    }

    /// Whether the client is told of it.
    pub fn passes(&self, event: &Event) -> bool {
        match event {
            Event::Log(message) => self.logs.is_some_and(|least| level_of(message).is_some_and(|level| level >= least)),
            Event::Progress(_) | Event::Part(_) | Event::Quiet => true,
            // A modern client is asked within answers alone, so that nothing has to be taken back.
            Event::Elicited(_) | Event::Question(_) | Event::Withdrawn(_) => false,
        }
    }

    /// A part of the answer, not its last.
    pub fn part(&mut self, part: &Bytes, out: &mut Pieces) {
        self.rewrite.push(part, out);
    }

    /// The backend's answer says that the client did not declare what it needs: 400 over HTTP.
    pub fn lacks_capability(&self) -> bool {
        self.rewrite.lacks_capability()
    }

    /// The answer, or the rest of it. None: the client gets none.
    pub fn last(&mut self, last: &Final) -> Option<Bytes> {
        let bytes = last.bytes()?;
        if last.is_modern() {
            return Some(bytes.clone());
        }
        if !last.is_answer() {
            // An error of ours: its code may be the other era's.
            return Some(modern::whole(bytes));
        }
        Some(self.rewrite.last(bytes))
    }
}

pub(in crate::listen) fn level_of(message: &[u8]) -> Option<Level> {
    let note: LogNote<'_> = serde_json::from_slice(message).ok()?;
    Level::parse(&note.params.level)
}
