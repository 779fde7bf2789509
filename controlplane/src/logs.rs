//! Logs: one line an event on stderr; for people on a terminal, as JSON otherwise. Never a secret, a token or a tool's
//! arguments: that is for those who call.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    Human,
    Json,
}

/// Starts logging, once a process. Errors: `filter` is no tracing filter; the sentence says what it is.
pub fn start(filter: &str, format: Format) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|why| format!("--log {filter}: {why}; write a level (info) or a filter (info,sqlx=warn)"))?;
    let terminal = std::io::stderr().is_terminal();
    let human = match format {
        Format::Auto => terminal,
        Format::Human => true,
        Format::Json => false,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if human {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        lines.with_ansi(colour).with_target(false).init();
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(place, "panic: {text}");
    }));
    Ok(())
}
