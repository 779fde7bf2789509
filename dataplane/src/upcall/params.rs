//! What the params of a question say that decides whether it may be put: the mode and the URL of an elicitation, tools
//! of a sampling. The bytes stay as they came but for the server's name before an elicitation's message: whoever is
//! asked must see who asks (`protocol.md` 6.4).

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    feature::{Feature, Features},
    refusal::Refusal,
};

#[derive(Deserialize)]
struct Elicitation<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
    #[serde(borrow, default)]
    mode: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    url: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sampling {
    #[serde(default)]
    tools: Option<IgnoredAny>,
    #[serde(default)]
    tool_choice: Option<IgnoredAny>,
}

/// A question that was read: what its client must be able to do, and the params as the client gets them.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) needs: Features,
    pub(super) params: Bytes,
}

/// Reads the params of a question of `server`. Errors: `Params`, for what is not of its form, or asks for a URL that no
/// client may be sent to.
pub(super) fn read(feature: Feature, params: &Bytes, server: &str) -> Result<Question, Refusal> {
    let broken =
        |fault: serde_json::Error| Refusal::Params(format!("its params are not what the schema says: {fault}").into());
    match feature {
        Feature::Roots => Ok(Question { needs: Features::ROOTS, params: params.clone() }),
        Feature::Sampling => {
            let sampling: Sampling = serde_json::from_slice(params).map_err(broken)?;
            let has_tools = sampling.tools.is_some() || sampling.tool_choice.is_some();
            let needs = if has_tools { Features::SAMPLING.and(Features::SAMPLING_TOOLS) } else { Features::SAMPLING };
            Ok(Question { needs, params: params.clone() })
        }
        Feature::Elicitation => {
            let asked: Elicitation<'_> = serde_json::from_slice(params).map_err(broken)?;
            let needs = match asked.mode.as_deref() {
                None | Some("form") => Features::FORM,
                Some("url") => {
                    let url =
                        asked.url.as_deref().ok_or_else(|| Refusal::Params("a url elicitation has no url".into()))?;
                    if !may_be_visited(url) {
                        let what = "an elicitation's url is https (http on loopback alone), without user and password";
                        return Err(Refusal::Params(what.into()));
                    }
                    Features::URL
                }
                Some(_) => return Err(Refusal::Params("an elicitation's mode is form or url".into())),
            };
            Ok(Question { needs, params: signed(params, asked.message, server) })
        }
    }
}

/// `https` alone, and `http` on this very machine, for development.
pub fn may_be_visited(url: &str) -> bool {
    let Ok(parsed) = url.parse::<http::Uri>() else { return false };
    let host = parsed.host().unwrap_or_default();
    let is_loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let has_user = parsed.authority().is_some_and(|authority| authority.as_str().contains('@'));
    match parsed.scheme_str() {
        Some("https") => !host.is_empty() && !has_user,
        Some("http") => is_loopback && !has_user,
        _ => false,
    }
}

/// The params with `[server] ` before the message.
fn signed(params: &Bytes, message: &RawValue, server: &str) -> Bytes {
    let whole = params.as_ref();
    // The raw value is a part of `params`: its place is the distance between the two.
    let at = (message.get().as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    let (Some(before), Some(rest)) = (whole.get(..at), whole.get(at..)) else { return params.clone() };
    // No text: as it came, the client's SDK says what is wrong with it.
    let Some(text) = rest.strip_prefix(b"\"") else { return params.clone() };
    let name = serde_json::to_string(&format!("[{server}] ")).unwrap_or_default();
    let Some(name) = name.strip_suffix('"') else { return params.clone() };
    [before, name.as_bytes(), text].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elicitation(params: &str) -> Result<Question, Refusal> {
        read(Feature::Elicitation, &Bytes::copy_from_slice(params.as_bytes()), "cr\"m")
    }

    #[test]
    fn the_servers_name_stands_before_its_message_and_nothing_else_is_touched() {
        let asked = elicitation(r#"{ "requestedSchema":{"a":1e400},"message" : "Sure\u003f" ,"x":[1 ]}"#).unwrap();
        assert_eq!(asked.needs, Features::FORM);
        let expected = r#"{ "requestedSchema":{"a":1e400},"message" : "[cr\"m] Sure\u003f" ,"x":[1 ]}"#;
        assert_eq!(asked.params, expected);
    }

    #[test]
    fn a_url_is_https_or_on_this_machine() {
        let asked =
            |url: &str| elicitation(&format!(r#"{{"mode":"url","message":"m","elicitationId":"1","url":"{url}"}}"#));
        for good in ["https://example.com/a?b=c", "http://localhost:3000/x", "http://127.0.0.1/", "http://[::1]:8/"] {
            assert_eq!(asked(good).unwrap().needs, Features::URL, "{good}");
        }
        for bad in [
            "http://example.com/",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "https://u:p@example.com/",
            "https://",
            "x",
        ] {
            assert!(matches!(asked(bad), Err(Refusal::Params(_))), "{bad}");
        }
    }

    #[test]
    fn what_is_not_of_its_form_is_refused() {
        for bad in [
            r#"{"requestedSchema":{}}"#,
            r#"{"message":"m","mode":"voice"}"#,
            r#"{"message":"m","mode":"url"}"#,
            r#"{"message":"m","message":"n"}"#,
            r#"[]"#,
            "",
        ] {
            assert!(matches!(elicitation(bad), Err(Refusal::Params(_))), "{bad}");
        }
    }

    #[test]
    fn tools_in_a_sampling_need_a_client_that_takes_them() {
        let sampling =
            |params: &'static str| read(Feature::Sampling, &Bytes::from_static(params.as_bytes()), "s").unwrap().needs;
        assert_eq!(sampling(r#"{"messages":[],"maxTokens":1}"#), Features::SAMPLING);
        assert!(sampling(r#"{"messages":[],"tools":[]}"#).has(Features::SAMPLING_TOOLS));
    }
}
