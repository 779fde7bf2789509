//! The inside of a backend's `result`: what the gateway reads of it, and where it says what only the modern era says, so
//! that this can be taken out without another reading.

use super::{envelope::members, fault::Broken, text::Span, walk::Walker};

/// What the result says of its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResultType {
    /// Or nothing: then it is complete.
    #[default]
    Complete,
    InputRequired,
    /// The call goes on, and its client asks for what becomes of it (`tasks/`).
    Task,
    /// Of an extension that nobody agreed on, or none at all.
    Other,
}

impl ResultType {
    /// From the bytes of its value.
    pub(super) fn of(value: &[u8]) -> Self {
        match value {
            b"\"complete\"" => Self::Complete,
            b"\"input_required\"" => Self::InputRequired,
            b"\"task\"" => Self::Task,
            _ => Self::Other,
        }
    }

    /// What is wrong with an answer of this type that is to end its call.
    pub const fn fault(self) -> Option<&'static str> {
        match self {
            Self::Complete => None,
            Self::InputRequired => Some("it asks for input in a large answer, a part of which is passed on already"),
            Self::Task => {
                Some("it makes a task of what can be none, or in a large answer, a part of which is passed on already")
            }
            Self::Other => Some("its result is of a type that nobody agreed on"),
        }
    }
}

/// What only the modern era says in a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Type,
    /// How long it may be kept, and by whom.
    Keeping,
    /// In `_meta`: who answers.
    Server,
}

impl Word {
    /// Of a result itself.
    pub(super) fn in_result(key: &[u8]) -> Option<Self> {
        match key {
            b"resultType" => Some(Self::Type),
            b"ttlMs" | b"cacheScope" => Some(Self::Keeping),
            _ => None,
        }
    }

    /// Of its `_meta`.
    pub(super) fn in_meta(key: &[u8]) -> Option<Self> {
        (key == b"io.modelcontextprotocol/serverInfo").then_some(Self::Server)
    }
}

/// Members of a result that go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// What type it is, and, in its `_meta`, who answers: here that is the gateway.
    Typed,
    /// As well: how long it may be kept, which depends on who reads it here.
    Kept,
}

impl Members {
    pub(super) fn have(self, word: Word) -> bool {
        match word {
            Word::Type | Word::Server => true,
            Word::Keeping => self == Self::Kept,
        }
    }
}

/// A member that is such a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) word: Word,
    /// From right behind the brace or comma before it up to the comma or brace after it.
    pub(super) span: Span,
}

/// Where a result says them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// In order.
    held: [Option<Place>; Self::MOST],
    /// There are more.
    overflows: bool,
    /// The last one that it says.
    pub(super) said: ResultType,
}

impl Places {
    pub(super) const MOST: usize = 4;

    /// What goes of `message` with these members, in order: one comma each, as long as something stays in their object.
    /// None: there are more than were noted.
    pub(super) fn cuts(&self, message: &[u8], members: Members) -> Option<[Option<Span>; Self::MOST]> {
        if self.overflows {
            return None;
        }
        let mut cuts = [None; Self::MOST];
        // Where the last one ended, and whether something before it stays.
        let (mut end, mut follows) = (0, false);
        let going = self.held.into_iter().flatten().filter(|place| members.have(place.word));
        for (cut, Place { span, .. }) in cuts.iter_mut().zip(going) {
            let before = span.start.saturating_sub(1);
            follows = match message.get(before as usize) {
                Some(b'{') => false,
                _ if end == before => follows,
                _ => true,
            };
            end = span.end;
            let comma_after = u32::from(message.get(end as usize) == Some(&b','));
            *cut = Some(match follows {
                true => Span { start: before, end },
                false => Span { start: span.start, end: end.saturating_add(comma_after) },
            });
        }
        Some(cuts)
    }

    fn note(&mut self, place: Place) {
        match self.held.iter_mut().find(|held| held.is_none()) {
            Some(free) => *free = Some(place),
            None => self.overflows = true,
        }
    }
}

/// What is read of a result.
#[derive(Debug, Default)]
pub(super) struct Inside {
    /// `isError` is `true`.
    pub(super) tool_error: bool,
    pub(super) places: Places,
}

/// The object that begins here; its members are not judged.
pub(super) fn read(walker: &mut Walker<'_>, found: &mut Inside) -> Result<Span, Broken> {
    let first = walker.lexer.at + 1;
    members(walker, false, |walker, member| {
        let mut decoded = Vec::new();
        let (key, value) = (member.key.said(walker.lexer.bytes, &mut decoded), walker.lexer.at);
        if let Some(word) = Word::in_result(key) {
            walker.value()?;
            if word == Word::Type {
                found.places.said = ResultType::of(walker.lexer.bytes.get(value..walker.lexer.at).unwrap_or_default());
            }
            note(walker, &mut found.places, word, member.comma.map_or(first, |comma| comma + 1));
        } else if key == b"isError" {
            walker.value()?;
            found.tool_error |= walker.lexer.bytes.get(value..walker.lexer.at) == Some(b"true");
        } else if key == b"_meta" && walker.lexer.peek() == b'{' {
            meta(walker, &mut found.places)?;
        } else {
            walker.value()?;
        }
        Ok(())
    })
}

fn meta(walker: &mut Walker<'_>, places: &mut Places) -> Result<Span, Broken> {
    let first = walker.lexer.at + 1;
    members(walker, false, |walker, member| {
        let mut decoded = Vec::new();
        let word = Word::in_meta(member.key.said(walker.lexer.bytes, &mut decoded));
        walker.value()?;
        if let Some(word) = word {
            note(walker, places, word, member.comma.map_or(first, |comma| comma + 1));
        }
        Ok(())
    })
}

/// The member that just ended.
fn note(walker: &mut Walker<'_>, places: &mut Places, word: Word, from: usize) {
    walker.lexer.space();
    places.note(Place { word, span: Span::new(from, walker.lexer.at) });
}
