//! `sentinel-dataplane stdio`: a thin pipe between one client's stdin/stdout and the running plane's socket.
//!
//! With `--alone` the plane is in the same process, at the other end of a pair of sockets. stdout carries the protocol alone. It parses nothing but the expiry of its own token, to read the file again.

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

/// Bytes of a first answer that is still looked at.
const LONGEST_REFUSAL: usize = 64 * 1024;

/// What the command line and the environment say.
#[derive(Debug)]
pub struct StdioArgs {
    pub socket: PathBuf,
    pub token: Token,
    /// The virtual server; none: `/mcp`.
    pub server: Option<String>,
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

    /// The token to begin with; empty where none is given. Errors: it can't be read or has expired, which the client
    /// was told; how to exit.
    pub async fn first(&self) -> Result<String, ExitCode> {
        match self.read() {
            Ok(token) if expires(&token).is_some_and(|at| at <= Clock::system().now_secs()) => {
                let denial = Denial::Unauthenticated { reason: TokenFault::Expired };
                let why = "SENTINEL_TOKEN has expired; make a new one with `sentinelctl token mint`";
                Err(refuse(&denial, why).await)
            }
            Ok(token) => Ok(token),
            Err(fault) => {
                let denial = Denial::Unauthenticated { reason: TokenFault::Missing };
                Err(refuse(&denial, &format!("the token's file can't be read: {fault}")).await)
            }
        }
    }
}

/// Pipes until either side ends. Exit code 2: no plane, or a token that is bad at the start.
pub async fn run(args: StdioArgs) -> ExitCode {
    let token = match args.token.first().await {
        Ok(token) => token,
        Err(code) => return code,
    };
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
    talk(stream, Head { token, server: args.server }, &args.token).await
}

/// The client's lines to the plane at the other end of `stream`, and the plane's to the client, until either side ends.
/// The head's token is what `source` said first. Exit code 2: the plane does not take it.
pub async fn talk(stream: UnixStream, head: Head, source: &Token) -> ExitCode {
    match pipe(stream, head, source, &Clock::system()).await {
        Ok(Ended::InOrder) => ExitCode::SUCCESS,
        Ok(Ended::TokenRefused(why)) => {
            warn(&format!("the data plane does not take the token in SENTINEL_TOKEN: {why}"));
            ExitCode::from(2)
        }
        Err(fault) => {
            warn(&format!("the connection to the data plane ended: {fault}"));
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug)]
enum Ended {
    InOrder,
    /// The first answer says so, in these words: it is passed on, and nothing better will come.
    TokenRefused(String),
}

async fn pipe(stream: UnixStream, mut head: Head, source: &Token, clock: &Clock) -> io::Result<Ended> {
    let (mut from_plane, mut to_plane) = stream.into_split();
    to_plane.write_all(&written(&head)?).await?;
    let up = async {
        let mut input = BufReader::with_capacity(16 * 1024, tokio::io::stdin());
        let mut line = Vec::new();
        loop {
            line.clear();
            if input.read_until(b'\n', &mut line).await? == 0 {
                break;
            }
            let is_old = expires(&head.token).is_some_and(|at| at <= clock.now_secs());
            if is_old && let Token::File(_) = source {
                head.token = source.read()?;
                to_plane.write_all(&[&[ASIDE], &*written(&head)?].concat()).await?;
            }
            to_plane.write_all(&line).await?;
        }
        to_plane.shutdown().await
    };
    let down = async {
        let mut output = tokio::io::stdout();
        let mut buffer = vec![0; 64 * 1024];
        let mut first = Some(Vec::new());
        loop {
            let count = from_plane.read(&mut buffer).await?;
            if count == 0 {
                return Ok(Ended::InOrder);
            }
            let read = buffer.get(..count).unwrap_or_default();
            output.write_all(read).await?;
            output.flush().await?;
            if let Some(mut line) = first.take() {
                line.extend_from_slice(read);
                match line.split(|byte| *byte == b'\n').next().filter(|whole| whole.len() < line.len()) {
                    Some(whole) => {
                        if let Some(why) = token_refused(whole) {
                            return Ok(Ended::TokenRefused(why));
                        }
                    }
                    None if line.len() < LONGEST_REFUSAL => first = Some(line),
                    None => {}
                }
            }
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

/// What an `unauthenticated` says; none: the answer is something else.
fn token_refused(line: &[u8]) -> Option<String> {
    let answer = serde_json::from_slice::<serde_json::Value>(line).ok()?;
    let error = answer.get("error")?;
    (error.pointer("/data/kind")?.as_str()? == "unauthenticated")
        .then(|| error.get("message").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned())
}

fn written(head: &Head) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(head)?;
    line.push(b'\n');
    Ok(line)
}

/// Unix seconds, as the token itself says; it is judged by the plane, not here.
fn expires(token: &str) -> Option<u64> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<serde_json::Value>(&payload).ok()?.get("exp")?.as_u64()
}

/// One JSON-RPC error to the first request, a plain line on stderr, exit code 2.
pub async fn refuse(denial: &Denial, why: &str) -> ExitCode {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_is_told_from_every_other_answer() {
        let refused =
            local::refusal(None, RequestId::fresh(), &Denial::Unauthenticated { reason: TokenFault::Signature });
        assert_eq!(token_refused(&refused).unwrap(), "the token's signature does not fit");
        let other = local::refusal(None, RequestId::fresh(), &Denial::MethodNotFound);
        assert_eq!(token_refused(&other), None);
        assert_eq!(token_refused(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#), None);
        assert_eq!(token_refused(b"no JSON"), None);
    }
}
