//! Logs: one line an event on stderr, human text on a terminal, JSON otherwise. stdout belongs to results and to the
//! protocol alone. No secret, token or tool argument is ever given to it: a panic's words neither, only its place.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Human,
    Json,
}

/// Errors: a sentence, where the filter can't be read.
pub(crate) fn start(filter: &str, format: Option<Format>) -> Result<(), String> {
    let advice = |fault: String| format!("--log {filter:?} is no filter: {fault}; give a level like `info` or `warn`");
    let levels = EnvFilter::builder().parse(filter).map_err(|fault| advice(fault.to_string()))?;
    let is_terminal = io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(levels);
    let started = match format.unwrap_or(if is_terminal { Format::Human } else { Format::Json }) {
        Format::Human => {
            let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
            registry.with(fmt::layer().with_writer(io::stderr).with_ansi(colours).with_target(false)).try_init()
        }
        Format::Json => registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init(),
    };
    started.map_err(|fault| advice(fault.to_string()))?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // A literal is ours; a formatted text may hold what a peer sent.
        let literal = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(formatted text, not shown)");
        tracing::error!(place, literal, "a task panicked; this is a bug");
    }));
    Ok(())
}
