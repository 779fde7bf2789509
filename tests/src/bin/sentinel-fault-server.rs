//! `sentinel-fault-server [--http ADDR] [--log FILE] [--manner FILE]`: a backend that does each bad thing on command. The
//! deeds are in `sentinel_tests::hostile`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "stdout names the bound address over HTTP; a command line that is wrong is told on stderr"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use sentinel_tests::example::ReceiveLog;
use sentinel_tests::hostile::http::Listener;
use sentinel_tests::hostile::{Hostile, stdio};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(std::env::args().skip(1)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sentinel-fault-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let (mut http, mut log, mut manner) = (None, None, None);
    while let Some(arg) = args.next() {
        let value = args.next().with_context(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--http" => http = Some(value.parse::<SocketAddr>().context("--http wants an address as 127.0.0.1:0")?),
            "--log" => log = Some(PathBuf::from(value)),
            "--manner" => manner = Some(PathBuf::from(value)),
            _ => anyhow::bail!("unknown argument {arg}"),
        }
    }
    let log = match &log {
        Some(path) => ReceiveLog::append_to(path).with_context(|| format!("cannot write to {}", path.display()))?,
        None => ReceiveLog::default(),
    };
    let hostile = Hostile::new(log, manner);
    let Some(address) = http else { return Ok(stdio::serve(hostile).await?) };
    let listener = Listener::bind(address).await?;
    println!("listening on http://{}/mcp", listener.address()?);
    Ok(listener.serve(hostile).await?)
}
