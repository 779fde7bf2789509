//! The MCP server itself, independent of the transport: one JSON-RPC message in, one answer out.
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write as _;

pub const MODERN: &str = "2026-07-28";
pub const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Sixteen bytes that need no JSON escaping; `big` answers repeat them.
pub const PATTERN: &[u8; 16] = b"0123456789abcdef";

#[derive(Deserialize)]
pub struct Request<'a> {
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub params: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
pub struct Params<'a> {
    #[serde(borrow)]
    pub name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, rename = "protocolVersion")]
    protocol_version: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct EchoArgs<'a> {
    #[serde(borrow)]
    text: &'a RawValue,
}

#[derive(Deserialize)]
struct BigArgs {
    n: usize,
}

#[derive(Deserialize)]
struct SleepArgs {
    ms: u64,
}

pub enum Answer {
    /// A notification: nothing to say.
    Accepted,
    Reply(Vec<u8>),
    /// A reply to be sent only after so many milliseconds.
    Later(u64, Vec<u8>),
    /// The answer to `initialize`, which may open a session.
    Initialized(Vec<u8>),
    /// Not to be taken as a request at all (HTTP 400).
    Bad(Vec<u8>),
}

/// What the HTTP headers of a modern request said, to be held against its body.
#[derive(Default)]
pub struct Claimed<'a> {
    pub version: Option<&'a str>,
    pub method: Option<&'a str>,
    pub name: Option<&'a str>,
}

pub struct Server {
    legacy_list: String,
    modern_list: String,
}

impl Server {
    pub fn new(tools: usize) -> Self {
        let list = catalogue(tools);
        Server {
            legacy_list: format!("{{\"tools\":{list}}}"),
            modern_list: format!(
                "{{\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"public\",\"tools\":{list}}}"
            ),
        }
    }

    /// Answers one message. `claimed` is `None` where the transport has no headers (stdio).
    pub fn handle(&self, body: &[u8], claimed: Option<&Claimed<'_>>) -> Answer {
        let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
            return Answer::Bad(error("null", -32700, "parse error"));
        };
        let Some(method) = request.method.as_deref() else {
            return Answer::Accepted; // a client's answer to something we never asked
        };
        let Some(id) = request.id.map(RawValue::get) else {
            return Answer::Accepted;
        };
        let params: Params<'_> = match request.params {
            Some(raw) => match serde_json::from_str(raw.get()) {
                Ok(params) => params,
                Err(_) => return Answer::Reply(error(id, -32602, "invalid params")),
            },
            None => Params::default(),
        };
        let version = params.meta.as_ref().and_then(|meta| meta.version.as_deref());
        let modern = version == Some(MODERN);
        if let Some(claimed) = claimed
            && (modern || claimed.version == Some(MODERN))
        {
            let name = params.name.as_deref().filter(|_| method == "tools/call");
            if !modern
                || claimed.version != version
                || claimed.method != Some(method)
                || (name.is_some() && claimed.name != name)
            {
                return Answer::Bad(error(id, -32020, "headers do not match the body"));
            }
        }
        match method {
            "tools/call" => self.call(id, &params, modern),
            "tools/list" => {
                let list = if modern { &self.modern_list } else { &self.legacy_list };
                Answer::Reply(result(id, list))
            }
            "ping" => Answer::Reply(result(id, "{}")),
            "initialize" => {
                let asked = params.protocol_version.as_deref().unwrap_or("2025-06-18");
                let agreed = LEGACY.iter().find(|known| **known == asked).copied().unwrap_or(LEGACY[3]);
                Answer::Initialized(result(
                    id,
                    &format!(
                        "{{\"protocolVersion\":\"{agreed}\",\"capabilities\":{{\"tools\":{{}}}},\"serverInfo\":{{\"name\":\"sentinel-bench\",\"version\":\"0.1.0\"}}}}"
                    ),
                ))
            }
            "server/discover" => Answer::Reply(result(
                id,
                "{\"resultType\":\"complete\",\"ttlMs\":60000,\"cacheScope\":\"public\",\"supportedVersions\":[\"2026-07-28\",\"2025-11-25\",\"2025-06-18\",\"2025-03-26\",\"2024-11-05\"],\"capabilities\":{\"tools\":{}},\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"sentinel-bench\",\"version\":\"0.1.0\"}}}",
            )),
            // Asked by clients that look before they list; an empty list is the honest answer.
            "resources/list" => Answer::Reply(result(id, "{\"resources\":[]}")),
            "resources/templates/list" => Answer::Reply(result(id, "{\"resourceTemplates\":[]}")),
            "prompts/list" => Answer::Reply(result(id, "{\"prompts\":[]}")),
            _ => Answer::Reply(error(id, -32601, "method not found")),
        }
    }

    fn call(&self, id: &str, params: &Params<'_>, modern: bool) -> Answer {
        let arguments = params.arguments.map_or("{}", RawValue::get);
        let bad = |what: &str| Answer::Reply(error(id, -32602, what));
        match params.name.as_deref() {
            Some("echo") => match serde_json::from_str::<EchoArgs<'_>>(arguments) {
                Ok(args) => Answer::Reply(text(id, args.text.get().as_bytes(), modern)),
                Err(_) => bad("echo needs text"),
            },
            Some("big") => match serde_json::from_str::<BigArgs>(arguments) {
                Ok(args) if args.n <= 64 << 20 => {
                    let mut quoted = Vec::with_capacity(args.n + 32);
                    quoted.push(b'"');
                    quoted.extend_from_slice(&PATTERN.repeat(args.n / PATTERN.len() + 1)[..args.n]);
                    quoted.push(b'"');
                    Answer::Reply(text(id, &quoted, modern))
                }
                _ => bad("big needs n, at most 64 MiB"),
            },
            Some("sleep") => match serde_json::from_str::<SleepArgs>(arguments) {
                Ok(args) => Answer::Later(args.ms, text(id, format!("\"slept {}\"", args.ms).as_bytes(), modern)),
                Err(_) => bad("sleep needs ms"),
            },
            Some(name) if name.starts_with("records_") => Answer::Reply(text(id, b"\"ok\"", modern)),
            _ => bad("unknown tool"),
        }
    }
}

fn result(id: &str, result: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(result.len() + id.len() + 40);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b",\"result\":");
    out.extend_from_slice(result.as_bytes());
    out.push(b'}');
    out
}

fn text(id: &str, quoted: &[u8], modern: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(quoted.len() + id.len() + 128);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b",\"result\":{");
    if modern {
        out.extend_from_slice(b"\"resultType\":\"complete\",");
    }
    out.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":");
    out.extend_from_slice(quoted);
    out.extend_from_slice(b"}],\"isError\":false}}");
    out
}

fn error(id: &str, code: i32, message: &str) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{code},\"message\":\"{message}\"}}}}").into_bytes()
}

/// The three real tools, then padding up to `tools`, each with an input schema of about 400 bytes.
fn catalogue(tools: usize) -> String {
    let mut list = String::from(concat!(
        "[{\"name\":\"echo\",\"description\":\"Returns its text unchanged.\",\"inputSchema\":{\"type\":\"object\",",
        "\"properties\":{\"text\":{\"type\":\"string\",\"description\":\"What to return\"}},\"required\":[\"text\"],\"additionalProperties\":false}},",
        "{\"name\":\"big\",\"description\":\"Returns n bytes of text.\",\"inputSchema\":{\"type\":\"object\",",
        "\"properties\":{\"n\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":67108864}},\"required\":[\"n\"],\"additionalProperties\":false}},",
        "{\"name\":\"sleep\",\"description\":\"Answers after ms milliseconds.\",\"inputSchema\":{\"type\":\"object\",",
        "\"properties\":{\"ms\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":600000}},\"required\":[\"ms\"],\"additionalProperties\":false}}",
    ));
    for number in 3..tools {
        let _ = write!(
            list,
            concat!(
                ",{{\"name\":\"records_{n:04}_search\",\"description\":\"Searches the records of department {n} by free text, with a filter by state and a limit.\",",
                "\"inputSchema\":{{\"type\":\"object\",\"properties\":{{",
                "\"query\":{{\"type\":\"string\",\"minLength\":1,\"maxLength\":512,\"description\":\"Free text to search for\"}},",
                "\"state\":{{\"type\":\"string\",\"enum\":[\"open\",\"closed\",\"all\"],\"default\":\"all\"}},",
                "\"limit\":{{\"type\":\"integer\",\"minimum\":1,\"maximum\":100,\"default\":20}},",
                "\"tags\":{{\"type\":\"array\",\"items\":{{\"type\":\"string\"}},\"maxItems\":8}}}},",
                "\"required\":[\"query\"],\"additionalProperties\":false}}}}"
            ),
            n = number
        );
    }
    list.push(']');
    list
}
