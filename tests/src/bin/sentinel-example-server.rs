//! `sentinel-example-server [--http ADDR [--sse | --old]] [--modern | --tasks] [--log FILE] [--misbehave] [--tools
//! FILE]`: a small MCP server to try Sentinel with, over stdin and stdout or over HTTP. The tools are in `sentinel_tests::example`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "stdout names the bound address over HTTP; a command line that is wrong is told on stderr"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use sentinel_tests::example::http::{Listener, Way};
use sentinel_tests::example::{ReceiveLog, Server, stdio};

const USAGE: &str = "\
A small MCP server to try Sentinel with: echo, add, slow and a few more.

Usage: sentinel-example-server [--http ADDR [--sse | --old]] [--modern | --tasks] [--log FILE] [--misbehave]
                               [--tools FILE]

  --http ADDR   serve Streamable HTTP at ADDR (as 127.0.0.1:0), path /mcp, instead of stdin and stdout;
                the first line of stdout names the address
  --sse         with --http: each answer is an event stream
  --old         with --http: HTTP+SSE, the transport of 2024-11-05
  --modern      speak revision 2026-07-28 and no other
  --tasks       tools that can be called as tasks of revision 2025-11-25
  --log FILE    append what arrives to FILE, a JSON line for each event
  --misbehave   one tool more, which breaks the protocol on request
  --tools FILE  tools more: the text between [ and ] of the list, read anew each time it is asked for";

#[derive(Debug, Default)]
struct Options {
    http: Option<SocketAddr>,
    way: Way,
    log: Option<PathBuf>,
    misbehave: bool,
    modern: bool,
    tasks: bool,
    tools: Option<PathBuf>,
}

/// None: the usage was asked for.
fn options(mut args: impl Iterator<Item = String>) -> anyhow::Result<Option<Options>> {
    let mut options = Options::default();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--http" => {
                let address = value()?;
                let address =
                    address.parse().with_context(|| format!("--http {address}: not an address as 127.0.0.1:0"))?;
                options.http = Some(address);
            }
            "--sse" => options.way = Way::AlwaysEvents,
            "--old" => options.way = Way::Old,
            "--log" => options.log = Some(value()?.into()),
            "--misbehave" => options.misbehave = true,
            "--modern" => options.modern = true,
            "--tasks" => options.tasks = true,
            "--tools" => options.tools = Some(value()?.into()),
            _ => anyhow::bail!("unknown argument {arg}; see --help"),
        }
    }
    Ok(Some(options))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("sentinel-example-server: {error:#}");
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sentinel-example-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let log = match &options.log {
        Some(path) => ReceiveLog::append_to(path).with_context(|| format!("cannot write to {}", path.display()))?,
        None => ReceiveLog::default(),
    };
    let (log, misbehaves, tools) = (log, options.misbehave, options.tools);
    let server = match (options.modern, options.tasks) {
        (true, _) => Server::modern(log, misbehaves, tools),
        (false, true) => Server::with_tasks(log, misbehaves, tools),
        (false, false) => Server::new(log, misbehaves, tools),
    };
    match options.http {
        None => Ok(stdio::serve(server).await?),
        Some(address) => {
            let listener = Listener::bind(address).await?;
            println!("listening on http://{}/mcp", listener.address());
            listener.serve(server, options.way).await
        }
    }
}
