//! The last lines that a backend wrote to stderr, for an operator's eyes.
//!
//! Always read, or a full pipe stops the child. Never to the log: servers print arguments there.

use std::{
    collections::VecDeque,
    fmt,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::Instant,
};

/// Lines kept.
const KEPT: usize = 200;
/// Bytes of one line; a longer one is cut into several.
const LINE: usize = 4096;
/// Lines kept a second; the rest is counted.
const PER_SECOND: u32 = 100;
/// Shorter values are no secrets, and hiding them would hide everything.
const SECRET_VALUE: usize = 4;
const SECRET_ARGUMENT: usize = 8;

/// The ring; outlives the processes that write into it.
#[derive(Default)]
pub struct Stderr {
    ring: Mutex<VecDeque<String>>,
    secrets: Vec<SecretString>,
}

impl fmt::Debug for Stderr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stderr")
    }
}

impl Stderr {
    /// `args` and `env` as configured: their values are hidden where they show up.
    pub fn new(args: &[SecretString], env: &[(String, SecretString)]) -> Self {
        let mut secrets: Vec<SecretString> = Vec::new();
        for argument in args {
            let whole = argument.expose_secret();
            let value = whole.split_once('=').filter(|(key, _)| key.starts_with('-')).map_or(whole, |(_, value)| value);
            if value.len() >= SECRET_ARGUMENT {
                secrets.push(value.into());
            }
        }
        let values = env.iter().filter(|(_, value)| value.expose_secret().len() >= SECRET_VALUE);
        secrets.extend(values.map(|(_, value)| value.clone()));
        // The longest first: one may hold another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self { ring: Mutex::default(), secrets }
    }

    /// Oldest first, control characters escaped, configured secrets hidden.
    pub fn lines(&self) -> Vec<String> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// One line of whatever bytes, under a heading of ours.
    pub fn note(&self, heading: &str, line: &[u8]) {
        self.push(format!("{heading}{}", self.printable(line)));
    }

    fn push(&self, line: String) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(line);
    }

    fn printable(&self, line: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(line).into_owned();
        for secret in &self.secrets {
            if text.contains(secret.expose_secret()) {
                text = text.replace(secret.expose_secret(), "***");
            }
        }
        escaped(&text)
    }

    /// Reads until the end of `pipe`. Cancel safe: what is half a line is lost.
    pub async fn read(&self, mut pipe: impl AsyncRead + Unpin) {
        let mut buffer = BytesMut::with_capacity(LINE);
        let mut second = Second { since: Instant::now(), lines: 0, dropped: 0 };
        loop {
            let read = pipe.read_buf(&mut buffer).await;
            while let Some(line) = next_line(&mut buffer) {
                self.keep(&mut second, &line);
            }
            if !matches!(read, Ok(1..)) {
                if !buffer.is_empty() {
                    self.keep(&mut second, &buffer);
                }
                self.tell_dropped(&mut second);
                return;
            }
            buffer.reserve(LINE);
        }
    }

    fn keep(&self, second: &mut Second, line: &[u8]) {
        if second.since.elapsed() >= Duration::from_secs(1) {
            self.tell_dropped(second);
            *second = Second { since: Instant::now(), lines: 0, dropped: 0 };
        }
        second.lines += 1;
        if second.lines > PER_SECOND {
            second.dropped = second.dropped.saturating_add(1);
        } else {
            self.push(self.printable(line));
        }
    }

    fn tell_dropped(&self, second: &mut Second) {
        if second.dropped > 0 {
            self.push(format!("({} lines more within a second were left out)", second.dropped));
            second.dropped = 0;
        }
    }
}

struct Second {
    since: Instant,
    lines: u32,
    dropped: u64,
}

/// Takes one line, or a full piece of one, without its line break.
fn next_line(buffer: &mut BytesMut) -> Option<BytesMut> {
    let end = memchr::memchr(b'\n', buffer.get(..LINE.min(buffer.len()))?);
    match end {
        Some(at) => {
            let mut line = buffer.split_to(at.saturating_add(1));
            line.truncate(at);
            if line.last() == Some(&b'\r') {
                line.truncate(at.saturating_sub(1));
            }
            Some(line)
        }
        None => (buffer.len() >= LINE).then(|| buffer.split_to(LINE)),
    }
}

/// Nothing in it can move a cursor, ring a bell or turn the direction of a terminal's text.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        let turns_direction = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character == '\t' || !(character.is_control() || turns_direction) {
            safe.push(character);
        } else {
            write!(safe, "{}", character.escape_default()).ok();
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> Stderr {
        Stderr::new(&["--token=hunter2hunter2".into(), "-y".into()], &[("KEY".into(), "s3cr3t".into())])
    }

    #[tokio::test]
    async fn secrets_are_hidden_and_control_characters_escaped() {
        let stderr = ring();
        stderr.read(&b"key s3cr3t, \x1b[31mred\r\nhunter2hunter2 -y\xff\nlast"[..]).await;
        assert_eq!(stderr.lines(), ["key ***, \\u{1b}[31mred", "*** -y\u{fffd}", "last"]);
    }

    #[tokio::test]
    async fn the_last_two_hundred_lines_of_a_flood_are_kept_and_the_rest_is_counted() {
        let stderr = ring();
        stderr.read("line\n".repeat(1000).as_bytes()).await;
        assert_eq!(stderr.lines().last().unwrap(), "(900 lines more within a second were left out)");
        assert_eq!(stderr.lines().len(), 101);
        for at in 0..300 {
            stderr.note("", at.to_string().as_bytes());
        }
        assert_eq!(stderr.lines().len(), KEPT);
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_cut_into_pieces() {
        let stderr = ring();
        stderr.read(&vec![b'x'; LINE * 2 + 1][..]).await;
        let lengths: Vec<_> = stderr.lines().iter().map(String::len).collect();
        assert_eq!(lengths, [LINE, LINE, 1]);
    }
}
