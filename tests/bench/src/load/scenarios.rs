//! What one operation is, scenario by scenario, and the check of what it brought.

use bytes::Bytes;

use super::{
    Names, Outcome,
    answers::{CallResult, Content, DiscoverResult, ListResult, result_of},
    peer::Peer,
};
use crate::mcp::{MODERN, PATTERN};

const MIB: usize = 1 << 20;

impl Peer {
    pub(super) async fn learn_names(&mut self) -> Outcome<()> {
        let mut names = Names::default();
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let (payload, id) = self.list_page(cursor.as_deref()).await?;
            let page: ListResult<'_> = result_of(&payload, id)?;
            all.extend(page.tools.iter().map(|tool| tool.name.to_string()));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        names.tools = all.len();
        let find = |end: &str| -> String {
            let mut fits: Vec<&String> = all.iter().filter(|name| name.ends_with(end)).collect();
            fits.sort_by_key(|name| name.len());
            fits.first().map_or_else(String::new, |name| (*name).clone())
        };
        (names.echo, names.big, names.sleep) = (find("echo"), find("big"), find("sleep"));
        if names.echo.is_empty() {
            return Err(format!("no echo tool among the {} of the target", all.len()));
        }
        self.names = names;
        Ok(())
    }

    async fn list_page(&mut self, cursor: Option<&str>) -> Outcome<(Bytes, u64)> {
        let inner = match cursor {
            Some(cursor) => format!("\"cursor\":{}", serde_json::Value::from(cursor)),
            None => String::new(),
        };
        let id = self.id();
        let params = self.params(&inner);
        let (payload, _) = self.rpc(id, "tools/list", None, &params).await?;
        Ok((payload, id))
    }

    async fn call(&mut self, tool: &str, arguments: &str, expect: impl Fn(&str) -> bool) -> Outcome<usize> {
        let id = self.id();
        let params = self.params(&format!("\"name\":\"{tool}\",\"arguments\":{arguments}"));
        let (payload, _) = self.rpc(id, "tools/call", Some(tool), &params).await?;
        let result: CallResult<'_> = result_of(&payload, id)?;
        match result.content.as_slice() {
            [Content { text: Some(text) }] if !result.is_error && expect(text) => Ok(payload.len()),
            [Content { text: Some(text) }] => Err(format!(
                "wrong result (isError {}): {:?}",
                result.is_error,
                text.chars().take(160).collect::<String>()
            )),
            other => Err(format!("{} content blocks instead of one text", other.len())),
        }
    }

    pub(super) async fn echo(&mut self) -> Outcome<usize> {
        let tool = self.names.echo.clone();
        self.next_client();
        // 64 bytes that no other request of any lane sends: an answer mixed up or kept shows at once.
        let text = format!("{:016x}{:016x}sentinel-bench-echo-of-32-bytes!", self.lane, self.next_id);
        let arguments = format!("{{\"text\":\"{text}\"}}");
        self.call(&tool, &arguments, |got| got == text).await
    }

    pub(super) async fn big(&mut self) -> Outcome<usize> {
        let tool = self.names.big.clone();
        self.call(&tool, "{\"n\":1048576}", |got| {
            got.len() == MIB && got.as_bytes().as_chunks::<16>().0.iter().all(|chunk| chunk == PATTERN)
        })
        .await
    }

    pub(super) async fn sleep(&mut self) -> Outcome<usize> {
        let tool = self.names.sleep.clone();
        let ms = self.shared.args.ms;
        let text = format!("slept {ms}");
        self.call(&tool, &format!("{{\"ms\":{ms}}}"), |got| got == text).await
    }

    pub(super) async fn list(&mut self) -> Outcome<usize> {
        let mut bytes = 0;
        let mut tools = 0;
        let mut cursor = None;
        loop {
            let (payload, id) = self.list_page(cursor.as_deref()).await?;
            bytes += payload.len();
            let page: ListResult<'_> = result_of(&payload, id)?;
            tools += page.tools.len();
            if let Some(tool) = page.tools.iter().find(|tool| {
                let least = if tool.name.contains("records_") || tool.name.contains("records-") { 250 } else { 60 };
                tool.schema.get().len() < least
            }) {
                return Err(format!("the input schema of {} is cut short", tool.name));
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        if tools < self.shared.args.expect_tools {
            return Err(format!("{tools} tools instead of {}", self.shared.args.expect_tools));
        }
        Ok(bytes)
    }

    pub(super) async fn sequence(&mut self) -> Outcome<usize> {
        if self.modern() {
            let id = self.id();
            let params = self.params("");
            let (payload, _) = self.rpc(id, "server/discover", None, &params).await?;
            let result: DiscoverResult = result_of(&payload, id)?;
            if !result.versions.iter().any(|version| version == MODERN) {
                return Err("discover does not offer the modern version".into());
            }
        } else {
            self.open_session().await?;
        }
        let listed = self.list().await?;
        Ok(listed + self.echo().await?)
    }
}
