//! Messages out of an HTTP answer, one by one as they come: of an event stream, or the one of a JSON body.

use serde_json::Value;

/// An answer that is being read.
#[derive(Debug)]
pub struct Messages {
    response: reqwest::Response,
    buffer: Vec<u8>,
    is_stream: bool,
    ended: bool,
    /// Comments seen so far: what keeps a quiet stream alive.
    pub comments: usize,
}

impl Messages {
    #[must_use]
    pub fn of(response: reqwest::Response) -> Self {
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("");
        let is_stream = kind.starts_with("text/event-stream");
        Self { response, buffer: Vec::new(), is_stream, ended: false, comments: 0 }
    }

    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// The next message's text; none: the answer has ended, or was cut.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if self.is_stream
                && let Some(event) = self.event()
            {
                if let Some(data) = data_of(&event, &mut self.comments) {
                    return Some(data);
                }
                continue;
            }
            if self.ended {
                let rest = std::mem::take(&mut self.buffer);
                let whole = !self.is_stream && !rest.is_empty();
                return whole.then(|| String::from_utf8(rest).unwrap());
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) | Err(_) => self.ended = true,
            }
        }
    }

    /// The next message, parsed.
    pub async fn next_json(&mut self) -> Option<Value> {
        Some(serde_json::from_str(&self.next().await?).unwrap())
    }

    fn event(&mut self) -> Option<String> {
        let end = self.buffer.windows(2).position(|two| two == b"\n\n")?;
        let rest = self.buffer.split_off(end + 2);
        let event = std::mem::replace(&mut self.buffer, rest);
        Some(String::from_utf8(event).unwrap())
    }
}

fn data_of(event: &str, comments: &mut usize) -> Option<String> {
    *comments += event.lines().filter(|line| line.starts_with(':')).count();
    let lines: Vec<&str> =
        event.lines().filter_map(|line| line.strip_prefix("data:")).map(|data| data.trim_start()).collect();
    let data = lines.join("\n");
    (!data.is_empty()).then_some(data)
}
