//! `sentinel-dataplane stdio`: a thin pipe between one client's stdin/stdout and the running plane's socket.
//!
//! stdout carries the protocol alone. It parses nothing but the expiry of its own token, to read the file again.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

use super::attach::{ASIDE, Head};
use crate::{
    call::RequestId,
    clock::Clock,
    denial::{Denial, NotReady, TokenFault},
    listen::local,
    wire::{outgoing, scan},
};

/// What the command line and the environment say.
#[derive(Debug)]
pub struct StdioArgs {
    pub socket: PathBuf,
    pub token: Token,
}

/// Where the client's JWT comes from: `SENTINEL_TOKEN`, or the file of `SENTINEL_TOKEN_FILE`, read again on expiry.
#[derive(Debug)]
pub enum Token {
    None,
    Given(SecretString),
    File(PathBuf),
}

impl Token {
    fn read(&self) -> io::Result<String> {
        match self {
            Self::None => Ok(String::new()),
            Self::Given(token) => Ok(token.expose_secret().trim().to_owned()),
            Self::File(path) => std::fs::read_to_string(path).map(|text| text.trim().to_owned()),
        }
    }
}

/// Pipes until either side ends. Exit code 2: no plane, or a token that is bad at the start.
pub async fn run(args: StdioArgs) -> ExitCode {
    let token = match args.token.read() {
        Ok(token) => token,
        Err(fault) => {
            return refuse(
                &Denial::Unauthenticated { reason: TokenFault::Missing },
                &format!("the token's file can't be read: {fault}"),
            )
            .await;
        }
    };
    let clock = Clock::system();
    if !token.is_empty() && expires(&token).is_some_and(|at| at <= clock.now_secs()) {
        let denial = Denial::Unauthenticated { reason: TokenFault::Expired };
        return refuse(&denial, "SENTINEL_TOKEN has expired; make a new one with `sentinelctl token mint`").await;
    }
    let stream = match UnixStream::connect(&args.socket).await {
        Ok(stream) => stream,
        Err(fault) => {
            let why = format!(
                "no data plane at {}: {fault}; start `sentinelctl up`, or name its socket with --attach",
                args.socket.display()
            );
            return refuse(&Denial::NotReady { reason: NotReady::NoPlane }, &why).await;
        }
    };
    match pipe(stream, token, &args.token, &clock).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            warn(&format!("the connection to the data plane ended: {fault}"));
            ExitCode::FAILURE
        }
    }
}

async fn pipe(stream: UnixStream, mut token: String, source: &Token, clock: &Clock) -> io::Result<()> {
    let (mut from_plane, mut to_plane) = stream.into_split();
    to_plane.write_all(&head(&token)?).await?;
    let up = async {
        let mut input = BufReader::with_capacity(16 * 1024, tokio::io::stdin());
        let mut line = Vec::new();
        loop {
            line.clear();
            if input.read_until(b'\n', &mut line).await? == 0 {
                break;
            }
            let is_old = expires(&token).is_some_and(|at| at <= clock.now_secs());
            if is_old && let Token::File(_) = source {
                token = source.read()?;
                to_plane.write_all(&[&[ASIDE], &*head(&token)?].concat()).await?;
            }
            to_plane.write_all(&line).await?;
        }
        to_plane.shutdown().await
    };
    let down = async {
        let mut output = tokio::io::stdout();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = from_plane.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            output.write_all(buffer.get(..count).unwrap_or_default()).await?;
            output.flush().await?;
        }
    };
    tokio::pin!(up, down);
    // The client's end of input lets the plane finish; the plane's end ends it at once.
    tokio::select! {
        ended = &mut down => ended,
        sent = &mut up => match sent {
            Ok(()) => down.await,
            Err(fault) => Err(fault),
        },
    }
}

fn head(token: &str) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Head { token: token.to_owned() })?;
    line.push(b'\n');
    Ok(line)
}

/// Unix seconds, as the token itself says; it is judged by the plane, not here.
fn expires(token: &str) -> Option<u64> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<serde_json::Value>(&payload).ok()?.get("exp")?.as_u64()
}

/// One JSON-RPC error to the first request, a plain line on stderr, exit code 2.
async fn refuse(denial: &Denial, why: &str) -> ExitCode {
    warn(why);
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = Vec::new();
    while matches!(input.read_until(b'\n', &mut line).await, Ok(count) if count > 0) {
        if let Ok(scan::Body::One(scanned)) = scan::body(line.trim_ascii())
            && let Some(id) = scanned.id
        {
            let answer = outgoing::line(&local::refusal(Some(id.get(line.trim_ascii())), RequestId::fresh(), denial));
            let mut output = tokio::io::stdout();
            if output.write_all(&answer).await.is_ok() {
                output.flush().await.ok();
            }
            break;
        }
        line.clear();
    }
    ExitCode::from(2)
}

/// People read stderr; a client shows it. A closed stderr changes nothing.
fn warn(text: &str) {
    writeln!(io::stderr(), "sentinel-dataplane: {text}").ok();
}
