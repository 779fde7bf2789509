//! Which era of MCP a backend speaks: how that is found out, and what our requests say of themselves in the modern one
//! (2026-07-28; `protocol.md` 3.11 and 4). Both transports use it; neither sends it here.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    abilities::Abilities,
    handshake::{Agreed, Implementation},
};
use crate::{
    denial::{LEGACY_REVISIONS, MODERN_REVISION},
    listen::session::Level,
    tasks::Task,
    upcall::feature::Features,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Up to 2025-11-25: sessions, begun by `initialize`.
    Legacy,
    /// From 2026-07-28 on: each request stands alone.
    Modern,
}

/// The question by which a modern server is known, and found alive.
pub const DISCOVER: &str = "server/discover";
pub const LISTEN: &str = "subscriptions/listen";

macro_rules! meta_declaring {
    ($capabilities:literal) => {
        concat!(
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"sentinel","version":""#,
            env!("CARGO_PKG_VERSION"),
            r#""},"io.modelcontextprotocol/clientCapabilities":"#,
            $capabilities
        )
    };
}

/// Members of `_meta` of every request of ours, in which no client can be asked anything.
pub const META: &str = meta_declaring!("{}");
/// The same, as far as its value of `clientCapabilities`.
const META_OF: &str = meta_declaring!("");

/// The same for a client's request: what its client can be asked, and the level of log notes that it asks for.
pub fn meta_of(level: Option<Level>, declares: Features) -> Cow<'static, str> {
    let worded = worded(declares);
    match level {
        None => worded.into(),
        Some(level) => format!(r#"{worded},"io.modelcontextprotocol/logLevel":"{}""#, level.as_str()).into(),
    }
}

/// Without a level: each set is worded once, since there are few, and they come with each call.
fn worded(declares: Features) -> &'static str {
    static WORDED: [OnceLock<Box<str>>; 256] = [const { OnceLock::new() }; 256];
    #[expect(clippy::indexing_slicing, reason = "there is one for each u8")]
    let worded = &WORDED[usize::from(declares.bits())];
    worded.get_or_init(|| format!("{META_OF}{}", declares.in_request()).into())
}

/// Params of a request of ours; `more`: an object without `_meta`.
pub fn params(more: Option<&str>) -> String {
    let members = more.and_then(|more| more.trim().strip_prefix('{')?.strip_suffix('}')).unwrap_or_default();
    let comma = if members.trim().is_empty() { "" } else { "," };
    format!(r#"{{"_meta":{{{META}}}{comma}{members}}}"#)
}

/// Params of a request of ours about a task of its.
pub fn about_task(task: &Task) -> String {
    let own = Value::from(&*task.own);
    match task.era {
        Era::Legacy => format!(r#"{{"taskId":{own}}}"#),
        Era::Modern => format!(r#"{{"_meta":{{{}}},"taskId":{own}}}"#, meta_of(None, Features::TASKS)),
    }
}

/// Params of a `subscriptions/listen` about single resources.
pub fn resources_to_tell(wanted: &BTreeSet<Arc<str>>) -> String {
    let uris: Vec<&str> = wanted.iter().map(|uri| &**uri).collect();
    params(Some(&serde_json::json!({ "notifications": { "resourceSubscriptions": uris } }).to_string()))
}

/// What an answer to `server/discover` says of its server.
#[derive(Debug, PartialEq, Eq)]
pub enum Probed {
    Modern(Agreed),
    /// It does not know the question: `initialize` is next.
    Legacy,
    /// It speaks neither, or refuses us; the text fits behind "the handshake failed:".
    Neither(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiscoverResult {
    supported_versions: Vec<String>,
    capabilities: Map<String, Value>,
    #[serde(default, rename = "_meta")]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default, rename = "io.modelcontextprotocol/serverInfo")]
    server_info: Option<Implementation>,
}

/// A JSON-RPC error, as far as the era shows in it.
#[derive(Deserialize)]
struct Refusal {
    code: i64,
    #[serde(default)]
    data: Option<Value>,
}

/// The code of a JSON-RPC error; none: it has none.
pub fn code(error: &[u8]) -> Option<i64> {
    serde_json::from_slice::<Refusal>(error).ok().map(|refusal| refusal.code)
}

/// A modern server does not take our revision.
const UNSUPPORTED_VERSION: i64 = -32_022;
/// Headers do not say what the body says: what they are made of has changed.
const HEADER_MISMATCH: i64 = -32_020;
const LACKS_CAPABILITY: i64 = -32_021;

/// What an error of a modern server says of the way we speak to it: never the client's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AboutUs {
    /// It speaks our revision no more, and names others: it has to be asked anew.
    LeftEra,
    /// It refuses a revision that it still offers.
    Contradicts,
    /// Headers and body, it says.
    Headers,
}

/// None: the error is about the request.
pub fn about_us(error: &[u8]) -> Option<AboutUs> {
    let refusal: Refusal = serde_json::from_slice(error).ok()?;
    match refusal.code {
        UNSUPPORTED_VERSION if supported(&refusal).is_empty() || among(&supported(&refusal)).is_none() => {
            Some(AboutUs::Contradicts)
        }
        UNSUPPORTED_VERSION => Some(AboutUs::LeftEra),
        HEADER_MISMATCH => Some(AboutUs::Headers),
        _ => None,
    }
}

fn supported(refusal: &Refusal) -> Vec<String> {
    let named = refusal.data.as_ref().and_then(|data| data.get("supported").cloned()).unwrap_or_default();
    serde_json::from_value(named).unwrap_or_default()
}

/// Judges the `result` or `error` of an answer to `server/discover`.
pub fn judge(result: Option<&[u8]>, error: Option<&[u8]>) -> Probed {
    if let Some(result) = result {
        let Ok(found) = serde_json::from_slice::<DiscoverResult>(result) else { return Probed::Legacy };
        return among(&found.supported_versions).unwrap_or_else(|| {
            Probed::Modern(Agreed {
                era: Era::Modern,
                protocol_version: MODERN_REVISION.into(),
                server: Implementation::shown(found.meta.server_info.as_ref()),
                abilities: Abilities::of_modern(&found.capabilities),
                changes: changes(&found.capabilities),
            })
        });
    }
    let Some(refusal) = error.and_then(|error| serde_json::from_slice::<Refusal>(error).ok()) else {
        return Probed::Legacy;
    };
    match refusal.code {
        UNSUPPORTED_VERSION => {
            // It names ours and refuses it: that is neither.
            among(&supported(&refusal))
                .unwrap_or_else(|| Probed::Neither(format!("it refuses revision {MODERN_REVISION}")))
        }
        HEADER_MISMATCH | LACKS_CAPABILITY => {
            Probed::Neither(format!("it refuses {DISCOVER} with error {}", refusal.code))
        }
        _ => Probed::Legacy,
    }
}

/// None: ours is among them.
fn among(supported: &[String]) -> Option<Probed> {
    if supported.iter().any(|version| version == MODERN_REVISION) {
        return None;
    }
    if supported.iter().any(|version| LEGACY_REVISIONS.contains(&version.as_str())) {
        return Some(Probed::Legacy);
    }
    let shown: String = supported.join(", ").chars().take(100).flat_map(char::escape_debug).collect();
    Some(Probed::Neither(format!("it speaks [{shown}], none of which is ours")))
}

/// What to be told of by `subscriptions/listen`, as its params; none: it never tells.
fn changes(capabilities: &Map<String, Value>) -> Option<Box<str>> {
    let mut filter = Map::new();
    for (name, wanted) in
        [("tools", "toolsListChanged"), ("prompts", "promptsListChanged"), ("resources", "resourcesListChanged")]
    {
        if capabilities.get(name).and_then(|can| can.get("listChanged")) == Some(&Value::Bool(true)) {
            filter.insert(wanted.to_owned(), Value::Bool(true));
        }
    }
    (!filter.is_empty())
        .then(|| params(Some(&serde_json::json!({ "notifications": filter }).to_string())).into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(versions: &str) -> String {
        format!(
            r#"{{"resultType":"complete","supportedVersions":{versions},"capabilities":{{"tools":{{"listChanged":true}},"prompts":{{}}}},"ttlMs":0,"cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"s","version":"1"}}}}}}"#
        )
    }

    #[test]
    fn a_server_is_modern_where_it_offers_our_revision() {
        let Probed::Modern(agreed) = judge(Some(result(r#"["2025-11-25","2026-07-28"]"#).as_bytes()), None) else {
            panic!("modern")
        };
        assert_eq!((&*agreed.server, agreed.era, &*agreed.protocol_version), ("s 1", Era::Modern, "2026-07-28"));
        let listen: Value = serde_json::from_str(&agreed.changes.unwrap()).unwrap();
        assert_eq!(listen["notifications"], serde_json::json!({ "toolsListChanged": true }));
        assert_eq!(listen["_meta"]["io.modelcontextprotocol/protocolVersion"], MODERN_REVISION);
    }

    #[test]
    fn whatever_else_is_answered_leaves_initialize_to_decide_but_for_the_modern_eras_own_refusals() {
        assert_eq!(judge(Some(result(r#"["2025-11-25"]"#).as_bytes()), None), Probed::Legacy);
        assert!(matches!(judge(Some(result(r#"["2031-01-01"]"#).as_bytes()), None), Probed::Neither(_)));
        assert_eq!(judge(Some(b"{}"), None), Probed::Legacy);
        for (error, is_legacy) in [
            (r#"{"code":-32601,"message":"m"}"#, true),
            (r#"{"code":-32602,"message":"m"}"#, true),
            (r#"{"code":0}"#, true),
            (r#"[]"#, true),
            (r#"{"code":-32022,"message":"m","data":{"supported":["2025-11-25"],"requested":"2026-07-28"}}"#, true),
            (r#"{"code":-32022,"message":"m","data":{"supported":["2027-01-01"],"requested":"2026-07-28"}}"#, false),
            (r#"{"code":-32022,"message":"m","data":{"supported":["2026-07-28"]}}"#, false),
            (r#"{"code":-32020,"message":"m"}"#, false),
        ] {
            assert_eq!(judge(None, Some(error.as_bytes())) == Probed::Legacy, is_legacy, "{error}");
        }
    }

    #[test]
    fn a_request_declares_what_its_client_can_be_asked_and_the_level_that_it_asks_for() {
        for bits in 0..=u8::MAX {
            let features = Features::from_bits(bits).and(if bits > 127 { Features::TASKS } else { Features::NONE });
            for level in [None, Some(Level::Warning), None] {
                let said: Value = serde_json::from_str(&format!("{{{}}}", meta_of(level, features))).unwrap();
                assert_eq!(said["io.modelcontextprotocol/protocolVersion"], MODERN_REVISION);
                assert_eq!(said["io.modelcontextprotocol/clientCapabilities"], features.in_request());
                assert_eq!(said["io.modelcontextprotocol/logLevel"].as_str(), level.map(Level::as_str));
            }
        }
    }

    #[test]
    fn what_is_asked_says_of_itself_what_the_era_wants() {
        for (more, cursor) in [(None, None), (Some("{}"), None), (Some(r#"{"cursor":"a"}"#), Some("a"))] {
            let params: Value = serde_json::from_str(&params(more)).unwrap();
            assert!(params["_meta"]["io.modelcontextprotocol/clientCapabilities"].is_object());
            assert_eq!(params["cursor"].as_str(), cursor);
        }
    }
}
