//! The lines of the session, in their order: for every command at least one, and how it ends.
//!
//! In a line `~` is a space inside a word, and `{…}` is what `Scene::words` puts in. Lines are run one after the other:
//! what one stops, a later one lets go.

/// One command line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) words: &'static str,
    pub(super) end: End,
    /// It prints what is to be copied or has lines of its own (commands, definitions, files): no line of it is broken.
    pub(super) is_copied: bool,
    /// As JSON: a value a line.
    pub(super) is_stream: bool,
    /// What it prints has a format of its own, also with `--output json`.
    pub(super) is_text: bool,
}

/// How a line ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Code(i32),
    OneOf(&'static [i32]),
    /// By Ctrl-C, once this was shown.
    CtrlC(&'static str),
}

const fn ends(words: &'static str, code: i32) -> Line {
    Line { words, end: End::Code(code), is_copied: false, is_stream: false, is_text: false }
}

const fn done(words: &'static str) -> Line {
    ends(words, 0)
}

/// It prints what people copy.
const fn copied(words: &'static str) -> Line {
    Line { is_copied: true, ..done(words) }
}

pub(super) const LINES: &[Line] = &[
    done("status"),
    Line { end: End::CtrlC("example"), is_stream: true, ..done("status --watch --interval 1") },
    done("plane list"),
    ends("plane forget plane-0", 4),
    ends("plane forget nobody", 2),
    done("backend list"),
    copied("backend list --stderr loud"),
    done("tool list"),
    done("tool list --role analyst"),
    ends("tool list --role nobody", 2),
    copied("tool show example__add"),
    ends("tool show example__ad", 2),
    done("tool quarantine example__add --reason looked~at~again"),
    done("tool approve example__add --reason it~is~good"),
    ends("tool approve example__ad", 2),
    copied("tool call example__echo {\"text\":{hostile}} --role operator --gateway {gateway}"),
    Line { end: End::Code(1), ..copied("tool call example__slow {\"ms\":1} --role analyst --gateway {gateway}") },
    done("kill-switch tool example__echo --reason wrong~results~\u{1b}[31m"),
    done("kill-switch backend loud"),
    done("kill-switch client {pass}"),
    done("kill-switch role analyst"),
    done("kill-switch all"),
    done("kill-switch list"),
    done("status --quiet"),
    ends("kill-switch tool example__ecko", 4),
    done("kill-switch tool example__echo --lift"),
    done("kill-switch backend loud --lift"),
    done("kill-switch client {pass} --lift"),
    done("kill-switch role analyst --lift"),
    done("kill-switch all --lift"),
    ends("kill-switch all --lift", 4),
    done("config check sentinel.toml"),
    ends("config check bad.toml", 2),
    copied("config show"),
    done("config history"),
    done("config diff current next.toml"),
    done("config plan next.toml"),
    ends("config plan bad.toml", 2),
    done("config rollback 1"),
    ends("config rollback 9999", 2),
    copied("config import mcp.json --config {pass}.toml --dry-run"),
    Line { end: End::OneOf(&[0, 1]), ..copied("config import mcp.json --config {pass}.toml") },
    ends("config import mcp.json --config {pass}.toml", 2),
    done("reload --dry-run"),
    done("reload --from-file"),
    done("reload"),
    done("token mint --client {pass} --role analyst --ttl 1h"),
    done("token revoke {id}"),
    done("token list-revoked"),
    done("audit list"),
    done("audit list --request-id {id}"),
    ends("audit list --since yesterday", 2),
    Line { end: End::CtrlC("example__echo"), is_stream: true, ..done("audit tail --tool example__echo") },
    Line { is_stream: true, ..copied("audit export") },
    Line { is_text: true, ..copied("audit export --format csv") },
    done("audit verify"),
    done("explain {id}"),
    ends("explain 0f8fad5b-d9cb-469f-a165-70867728950e", 1),
    done("explain --client ana --role analyst --tool example__add --arguments {\"a\":5000,\"b\":1}"),
    ends("explain --client nobody --tool example__add", 2),
    done("audit stats"),
    done("audit stats --by hour"),
    copied("connect claude-code"),
    copied("connect claude-desktop"),
    copied("connect cursor"),
    copied("connect vscode"),
    copied("connect n8n"),
    copied("connect openclaw"),
    copied("connect claude-code --write --file {pass}.json"),
    Line { end: End::OneOf(&[0, 1]), ..done("doctor") },
    copied("completion bash"),
    copied("completion zsh"),
    copied("completion fish"),
    ends("no-such-command", 2),
    done("backend restart loud"),
    Line {
        end: End::CtrlC("http://{listen}/mcp"),
        ..copied(
            "up --config sentinel.toml --data-dir up --listen {listen} --ops-listen {ops} --controlplane-ops-listen {control-ops}",
        )
    },
];
