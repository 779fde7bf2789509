//! One server's keys, one by one: what becomes of each.

use super::*;

/// Keys that mean something to the client alone, or have another place here; the advice ends the note.
const ELSEWHERE: [(&str, &str); 16] = [
    ("timeout", "write timeout_secs, in seconds"),
    ("connectTimeout", "connecting takes at most 3 s here"),
    ("startupTimeout", "write start_timeout_secs, in seconds"),
    ("alwaysAllow", "which calls need no question is the client's; who may call what is [roles]"),
    ("autoApprove", "which calls need no question is the client's; who may call what is [roles]"),
    ("trust", "which calls need no question is the client's; who may call what is [roles]"),
    ("disabledTools", "write tools = { hide = [\"…\"] }"),
    ("toolFilter", "write tools = { hide = [\"…\"] }, or deny in [roles]"),
    ("tools", "write tools = { hide = [\"…\"] }, or deny in [roles]"),
    ("envFile", "write its variables into the file of variables, and env = { NAME = \"${NAME}\" }"),
    ("oauth", "nobody can sign in here; a fixed header can be sent: headers = { Authorization = \"Bearer ${…}\" }"),
    ("auth", "nobody can sign in here; a fixed header can be sent: headers = { Authorization = \"Bearer ${…}\" }"),
    ("headersHelper", "no command makes headers here; a fixed header can be sent"),
    ("description", "clients are shown what the server itself says"),
    ("gallery", "it means nothing here"),
    ("dev", "it means nothing here"),
];

/// Headers that the gateway itself writes, and refuses in a file.
const OURS: [&str; 12] = [
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "accept",
    "accept-encoding",
    "traceparent",
    "tracestate",
    "content-type",
];

/// The file being read, and what is gathered on the way.
pub(super) struct Reading<'f> {
    text: &'f str,
    folder: &'f Path,
    world: &'f World,
    pub(super) vault: Vault,
    pub(super) refs: BTreeMap<String, String>,
    pub(super) notes: Vec<Mistake>,
    pub(super) mistakes: Vec<Mistake>,
}

impl<'f> Reading<'f> {
    pub(super) fn new(text: &'f str, folder: &'f Path, world: &'f World, vault: Vault) -> Self {
        Self { text, folder, world, vault, refs: BTreeMap::new(), notes: Vec::new(), mistakes: Vec::new() }
    }

    pub(super) fn note(&mut self, at: usize, message: String) {
        self.notes.push(jsonc::mistake(self.text, at, message));
    }

    pub(super) fn mistake(&mut self, at: usize, message: String) {
        self.mistakes.push(jsonc::mistake(self.text, at, message));
    }

    pub(super) fn list<'n>(&mut self, key: &str, node: &'n Node) -> Option<&'n [Member]> {
        let members = node.members();
        if members.is_none() {
            self.mistake(node.at, format!("{key}: an object of servers is wanted, not {}", node.kind()));
        }
        members
    }

    fn text_of(&mut self, key: &str, node: &Node) -> Option<String> {
        let text = node.text().map(str::to_owned);
        if text.is_none() {
            self.mistake(node.at, format!("{key}: a text is wanted, not {}", node.kind()));
        }
        text
    }

    /// One server, or mistakes.
    pub(super) fn server(&mut self, member: &Member, name: &str) -> Option<Backend> {
        let from = shown(&member.key);
        let Some(fields) = member.node.members() else {
            self.mistake(member.node.at, format!("{from}: an object is wanted, not {}", member.node.kind()));
            return None;
        };
        let before = self.mistakes.len();
        let (mut command, mut url, mut cwd, mut of_type) = (None, None, None, None);
        let (mut args, mut env, mut headers, mut off) = (Vec::new(), Vec::new(), Vec::new(), None);
        for field in fields {
            let key = format!("{from}.{}", shown(&field.key));
            let node = &field.node;
            match field.key.as_str() {
                "command" => command = self.text_of(&key, node).map(|text| (field.key_at, text)),
                "url" | "serverUrl" | "httpUrl" => url = self.text_of(&key, node).map(|text| (field.key_at, text)),
                "cwd" | "workingDirectory" => cwd = self.text_of(&key, node).map(|text| (field.key_at, text)),
                "type" | "transport" => of_type = self.text_of(&key, node),
                "args" => args = self.items(&key, node),
                "env" => env = self.pairs(&key, node),
                "headers" => headers = self.pairs(&key, node),
                "disabled" | "enabled" => match node.value {
                    Value::Bool(flag) if flag == (field.key == "disabled") => {
                        off = Some("the client has it switched off".to_owned());
                    }
                    Value::Bool(_) => {}
                    _ => self.mistake(node.at, format!("{key}: true or false is wanted, not {}", node.kind())),
                },
                other => {
                    let advice = ELSEWHERE.iter().find(|(known, _)| *known == other).map(|(_, advice)| *advice);
                    let advice = advice.unwrap_or("this gateway has no such key");
                    self.note(field.key_at, format!("{key}: not carried over; {advice}"));
                }
            }
        }
        let is_sse = matches!(of_type.as_deref(), Some("sse"));
        if matches!(of_type.as_deref(), Some("ws" | "websocket")) {
            off = off.or_else(|| Some("its transport is not spoken here".to_owned()));
        }
        let kind = match (command, url) {
            (Some((at, command)), None) => self.stdio(name, &from, (at, command), args, env, cwd),
            (None, Some((at, url))) => {
                for (at, key, _) in &env {
                    self.note(*at, format!("{from}.env.{key}: not carried over; nothing is started for a URL"));
                }
                self.http(name, &from, (at, &url), is_sse, headers)
            }
            (Some(_), Some((at, _))) => {
                self.mistake(at, format!("{from}: has both `command` and `url`; take one out"));
                return None;
            }
            (None, None) => {
                if self.mistakes.len() == before {
                    self.mistake(member.key_at, format!("{from}: has neither `command` nor `url`"));
                }
                return None;
            }
        };
        Some(Backend { from, name: name.to_owned(), kind, off })
    }

    fn items(&mut self, key: &str, node: &Node) -> Vec<(usize, String)> {
        let Value::Array(items) = &node.value else {
            self.mistake(node.at, format!("{key}: a list of texts is wanted, not {}", node.kind()));
            return Vec::new();
        };
        let mut all = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            all.extend(self.scalar(&format!("{key}[{index}]"), item).map(|text| (item.at, text)));
        }
        all
    }

    fn pairs(&mut self, key: &str, node: &Node) -> Vec<(usize, String, String)> {
        let Some(members) = node.members() else {
            self.mistake(node.at, format!("{key}: an object is wanted, not {}", node.kind()));
            return Vec::new();
        };
        let mut all: Vec<(usize, String, String)> = Vec::with_capacity(members.len());
        for member in members {
            let named = format!("{key}.{}", shown(&member.key));
            if all.iter().any(|(_, held, _)| *held == member.key) {
                self.mistake(member.key_at, format!("{named}: stands here a second time; take one out"));
            } else if let Some(text) = self.scalar(&named, &member.node) {
                all.push((member.key_at, member.key.clone(), text));
            }
        }
        all
    }

    fn scalar(&mut self, key: &str, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(text) => Some(text.clone()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null => {
                self.note(node.at, format!("{key}: null, not carried over"));
                None
            }
            Value::Array(_) | Value::Object { .. } => {
                self.mistake(node.at, format!("{key}: a text is wanted, not {}", node.kind()));
                None
            }
        }
    }

    /// A value with the client's references as ours; literal secrets in it become a variable.
    pub(super) fn value(
        &mut self,
        server: &str,
        key: &str,
        at: usize,
        what: &str,
        text: &str,
        is_secret: bool,
    ) -> String {
        let carried = carried(text, self.folder, self.world.var("HOME"));
        for note in carried.notes {
            self.note(at, format!("{key}: {note}"));
        }
        let free = !carried.text.replace("$${", "").contains("${");
        self.refs.extend(carried.refs);
        if !is_secret || carried.literal.is_empty() {
            return carried.text;
        }
        // `Bearer` and the like stay readable before the variable.
        let scheme =
            ["Bearer ", "Basic ", "Token ", "token ", "bearer "].into_iter().find(|scheme| text.starts_with(scheme));
        let bare = text.strip_prefix(scheme.unwrap_or_default()).unwrap_or(text);
        if free {
            return format!("{}${{{}}}", scheme.unwrap_or_default(), self.vault.take(server, what, bare));
        }
        if carried.text.contains(":-") {
            self.note(at, format!("{key}: its default after :- was a literal secret and is in the file of variables"));
            let (name, default) = carried
                .text
                .split_once("${")
                .and_then(|(_, inside)| inside.split_once('}')?.0.split_once(":-"))
                .unwrap_or((what, carried.literal.as_str()));
            let (name, default) = (name.to_owned(), default.to_owned());
            let ours = match self.world.var(&name).map(str::to_owned) {
                Some(_) => name.clone(),
                None => self.vault.take(server, &name, &default),
            };
            return carried.text.replace(&format!("${{{name}:-{default}}}"), &format!("${{{ours}}}"));
        }
        carried.text
    }

    fn stdio(
        &mut self,
        server: &str,
        from: &str,
        (at, command): (usize, String),
        args: Vec<(usize, String)>,
        env: Vec<(usize, String, String)>,
        cwd: Option<(usize, String)>,
    ) -> Kind {
        let mut command = self.here(&format!("{from}.command"), at, &command);
        let mut args = args;
        let windows = matches!(command.to_ascii_lowercase().as_str(), "cmd" | "cmd.exe")
            && args.first().is_some_and(|(_, first)| first.eq_ignore_ascii_case("/c"));
        if windows && args.len() > 1 {
            self.note(at, format!("{from}.command: `cmd /c` is for Windows and was left out"));
            args.remove(0);
            command = args.remove(0).1;
        }
        if command.contains(' ') && !command.contains('/') {
            self.note(at, format!("{from}.command: is one program here; what followed it went into args"));
            let mut words = command.split_whitespace().map(str::to_owned);
            let program = words.next().unwrap_or_default();
            let rest: Vec<(usize, String)> = words.map(|word| (at, word)).collect();
            args.splice(0..0, rest);
            command = program;
        }
        let args = self.args(server, from, &args);
        let mut kept = Vec::new();
        for (at, key, text) in env {
            let named = format!("{from}.env.{}", shown(&key));
            if !template::is_variable(&key) {
                self.note(at, format!("{named}: not carried over; it can't be the name of a variable"));
                continue;
            }
            let value = self.value(server, &named, at, &key, &text, !secrets::is_harmless(&key, &text));
            kept.push((key, value));
        }
        let cwd = cwd.map(|(at, cwd)| self.here(&format!("{from}.cwd"), at, &cwd)).unwrap_or_default();
        Kind::Stdio { command, args, env: kept, cwd }
    }

    /// Where variables are not read later: filled in now.
    fn here(&mut self, key: &str, at: usize, text: &str) -> String {
        let carried = carried(text, self.folder, self.world.var("HOME"));
        for note in carried.notes {
            self.note(at, format!("{key}: {note}"));
        }
        let mut filled = carried.text.replace("$${", "${");
        for (name, _) in carried.refs {
            match self.world.var(&name) {
                Some(value) => {
                    filled = filled.replace(&format!("${{{name}}}"), value);
                    self.note(at, format!("{key}: ${{{name}}} was filled in as it is set here"));
                }
                None => self.mistake(at, format!("{key}: ${{{name}}} is not set here; set it, or write the value")),
            }
        }
        filled
    }

    fn args(&mut self, server: &str, from: &str, args: &[(usize, String)]) -> Vec<String> {
        let mut kept = Vec::with_capacity(args.len());
        let mut flag: Option<String> = None;
        for (index, (at, text)) in args.iter().enumerate() {
            let key = format!("{from}.args[{index}]");
            let before = flag.take();
            if text.starts_with('-') && !text.contains('=') {
                flag = Some(text.trim_start_matches('-').to_owned());
            }
            // `NAME=value`, `--name=value` and `Header: value` each have a name of their own.
            let parts = text.split_once('=').map(|(name, value)| (name, "=", value));
            let parts = parts.filter(|(name, _, _)| !name.contains(['/', ':', ' ', '?']));
            let parts = parts.or_else(|| text.split_once(": ").map(|(name, value)| (name, ": ", value)));
            let parts = parts.or_else(|| {
                text.split_once(':')
                    .filter(|(name, _)| secrets::names_a_secret(name))
                    .map(|(name, value)| (name, ":", value))
            });
            if let Some((name, between, value)) = parts {
                let what = name.trim_start_matches('-');
                if secrets::names_a_secret(what) || secrets::looks_like_one(value) {
                    let value = self.value(server, &key, *at, what, value, true);
                    kept.push(format!("{name}{between}{value}"));
                    continue;
                }
            }
            let of_flag = before.as_deref().filter(|flag| secrets::names_a_secret(flag));
            let is_secret = !text.starts_with('-')
                && (of_flag.is_some() || secrets::looks_like_one(text) || url::has_secret_query(text));
            let what = of_flag.map_or_else(|| format!("ARG_{index}"), str::to_owned);
            kept.push(self.value(server, &key, *at, &what, text, is_secret));
        }
        kept
    }

    fn http(
        &mut self,
        server: &str,
        from: &str,
        (at, url): (usize, &str),
        is_sse: bool,
        headers: Vec<(usize, String, String)>,
    ) -> Kind {
        let key = format!("{from}.url");
        let mut kept = Vec::new();
        for (at, name, text) in headers {
            let named = format!("{from}.headers.{}", shown(&name));
            let lower = name.to_ascii_lowercase();
            if OURS.contains(&lower.as_str()) || lower.starts_with("content-") || lower.starts_with("mcp-") {
                self.note(at, format!("{named}: not carried over; the gateway itself writes it"));
                continue;
            }
            let what = if lower == "authorization" { "TOKEN".to_owned() } else { name.clone() };
            let value = self.value(server, &named, at, &what, &text, !secrets::is_harmless(&name, &text));
            kept.push((name, value));
        }
        let url = self.url(server, &key, at, url, &mut kept);
        Kind::Http { url, is_sse, headers: kept }
    }
}
