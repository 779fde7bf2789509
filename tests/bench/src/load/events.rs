//! An event stream taken apart, as far as the one answer in it.

use bytes::Bytes;

/// Splits an event stream; remembers how far it has looked, so that a large event costs one pass.
#[derive(Default)]
pub(super) struct Events {
    seen: Vec<u8>,
    looked: usize,
}

impl Events {
    /// Adds bytes; returns the first message that is an answer, if it is whole now. (One with
    /// another id is returned too: the check of the answer is to say so.)
    pub(super) fn push(&mut self, data: &[u8]) -> Option<Bytes> {
        self.seen.extend_from_slice(data);
        while let Some((end, gap)) = self.event_end() {
            let mut data = Vec::with_capacity(end);
            for line in self.seen[..end].split(|byte| *byte == b'\n') {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if let Some(rest) = line.strip_prefix(b"data:") {
                    if !data.is_empty() {
                        data.push(b'\n');
                    }
                    data.extend_from_slice(rest.strip_prefix(b" ").unwrap_or(rest));
                }
            }
            self.seen.drain(..end + gap);
            self.looked = 0;
            // A request or notification of the server's names a method, and at its beginning.
            if !data.is_empty() && memchr::memmem::find(&data[..data.len().min(256)], b"\"method\"").is_none() {
                return Some(Bytes::from(data));
            }
        }
        None
    }

    fn event_end(&mut self) -> Option<(usize, usize)> {
        while let Some(found) = memchr::memchr(b'\n', &self.seen[self.looked..]) {
            let newline = self.looked + found;
            match &self.seen[newline + 1..] {
                [] | [b'\r'] => return None, // cannot tell yet; look here again
                [b'\n', ..] => return Some((newline, 2)),
                [b'\r', b'\n', ..] => return Some((newline, 3)),
                _ => self.looked = newline + 1,
            }
        }
        self.looked = self.seen.len();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}";

    #[test]
    fn finds_the_answer_however_the_stream_is_cut() {
        for newline in ["\n", "\r\n"] {
            let stream = format!(
                ": ping{newline}{newline}id: 1{newline}data:{newline}{newline}event: message{newline}data: {{\"jsonrpc\":\"2.0\",\"method\":\"x\"}}{newline}{newline}data: {ANSWER}{newline}{newline}"
            );
            for step in 1..stream.len() {
                let mut events = Events::default();
                let found: Vec<Bytes> = stream.as_bytes().chunks(step).filter_map(|cut| events.push(cut)).collect();
                assert_eq!(found, [Bytes::from_static(ANSWER.as_bytes())], "cut every {step} bytes");
            }
        }
    }
}
