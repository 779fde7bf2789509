//! Closed-loop load: each of `concurrency` kept-alive connections sends its next request as soon as
//! the last one was answered, and every answer is checked. A wrong answer is an error.

mod answers;
mod events;
mod peer;
mod scenarios;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};

use self::peer::Peer;
use crate::net::{self, Target};

#[derive(clap::Args, Clone)]
pub struct Args {
    /// The MCP endpoint, e.g. http://127.0.0.1:9200/mcp
    #[arg(long)]
    url: String,
    /// Bearer token
    #[arg(long)]
    token: Option<String>,
    /// File of bearer tokens, one a line: as many clients, each with a session; echo64 calls for one after the other
    #[arg(long)]
    tokens: Option<PathBuf>,
    /// Further header, `Name: value`; may be given more than once
    #[arg(long)]
    header: Vec<String>,
    #[arg(long, value_enum)]
    scenario: Scenario,
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of load before counting starts
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    #[arg(long, value_enum, default_value = "legacy")]
    era: Era,
    /// Version asked for by a legacy initialize
    #[arg(long, default_value = "2025-06-18")]
    protocol: String,
    /// `list`: how many tools the catalogue must have at least
    #[arg(long, default_value_t = 1)]
    expect_tools: usize,
    /// `sleep`: milliseconds
    #[arg(long, default_value_t = 50)]
    ms: u64,
    /// End each legacy session with DELETE (`init`: after each sequence, outside its time)
    #[arg(long)]
    delete: bool,
    /// Seconds after which a request without an answer counts as an error
    #[arg(long, default_value_t = 30.0)]
    timeout: f64,
    /// Stop once this many operations are done, warm-up included
    #[arg(long)]
    max_ops: Option<u64>,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Debug)]
enum Scenario {
    /// tools/call echo with 64 bytes of text, different each time
    Echo64,
    /// tools/list, every page of it
    List,
    /// tools/call big with n = 1 MiB
    Big1m,
    /// a new session each time: initialize, initialized, tools/list, one call (modern: discover, list, call)
    Init,
    /// tools/call sleep
    Sleep,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Debug)]
enum Era {
    Legacy,
    Modern,
}

/// Names under which the target offers the tools; gateways like to add a prefix.
#[derive(Default, Clone)]
struct Names {
    echo: String,
    big: String,
    sleep: String,
    tools: usize,
}

struct Stats {
    histogram: Histogram<u64>,
    ops: u64,
    ops_all: u64,
    errors: u64,
    errors_all: u64,
    samples: BTreeMap<String, u64>,
    bytes: u64,
    sse: bool,
    last: Option<Instant>,
}

struct Shared {
    args: Args,
    target: Target,
    /// Sent with every request.
    headers: HeaderMap,
    stats: RefCell<Stats>,
    names: RefCell<Names>,
    agreed: RefCell<String>,
    tokens: Vec<HeaderValue>,
}

type Outcome<T> = Result<T, String>;

pub fn run(args: Args) -> Outcome<()> {
    let target = net::parse_url(&args.url)?;
    let mut headers = HeaderMap::new();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| format!("{text}: {error}"));
    headers.insert(HOST, value(&target.authority)?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    if let Some(token) = &args.token {
        headers.insert(AUTHORIZATION, value(&format!("Bearer {token}"))?);
    }
    for header in &args.header {
        let (name, text) = header.split_once(':').ok_or_else(|| format!("{header}: not `Name: value`"))?;
        headers.insert(
            HeaderName::from_bytes(name.trim().as_bytes()).map_err(|error| error.to_string())?,
            value(text.trim())?,
        );
    }
    let shared = Rc::new(Shared {
        target,
        headers,
        stats: RefCell::new(Stats {
            histogram: Histogram::new_with_bounds(1, 120_000_000_000, 3).map_err(|error| error.to_string())?,
            ops: 0,
            ops_all: 0,
            errors: 0,
            errors_all: 0,
            samples: BTreeMap::new(),
            bytes: 0,
            sse: false,
            last: None,
        }),
        names: RefCell::default(),
        agreed: RefCell::default(),
        tokens: match &args.tokens {
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| format!("{}: {error}", file.display()))?
                .lines()
                .map(|token| value(&format!("Bearer {token}")))
                .collect::<Outcome<_>>()?,
            None => Vec::new(),
        },
        args,
    });
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    tokio::task::LocalSet::new().block_on(&runtime, drive(shared))
}

async fn drive(shared: Rc<Shared>) -> Outcome<()> {
    let args = &shared.args;
    // One look ahead of the load: does the target answer, and what does it call the tools?
    let mut scout = Peer::new(&shared, 0);
    scout.take_clients(shared.tokens.get(..1).unwrap_or_default()).await?;
    if shared.tokens.is_empty() {
        scout.open_session().await?;
    }
    scout.learn_names().await?;
    *shared.names.borrow_mut() = scout.names.clone();
    scout.close_session().await;

    let mut peers = Vec::new();
    for lane in 1..=args.concurrency as u64 {
        let mut peer = Peer::new(&shared, lane);
        peer.names = scout.names.clone();
        let each = shared.tokens.len().div_ceil(args.concurrency).max(1);
        let mine = shared.tokens.chunks(each).nth(usize::try_from(lane - 1).unwrap_or_default());
        match mine {
            Some(tokens) => peer.take_clients(tokens).await?,
            None if !shared.tokens.is_empty() => continue, // more lanes than clients
            None if args.scenario != Scenario::Init => peer.open_session().await?,
            None => {}
        }
        peers.push(peer);
    }
    let begin = Instant::now() + Duration::from_secs_f64(args.warmup);
    let end = begin + Duration::from_secs_f64(args.seconds);
    let tasks: Vec<_> = peers.into_iter().map(|peer| tokio::task::spawn_local(peer.pump(begin, end))).collect();
    let mut finished = Vec::new();
    for task in tasks {
        finished.push(task.await.map_err(|error| error.to_string())?);
    }
    {
        let stats = shared.stats.borrow();
        let micros = |nanos: u64| (nanos as f64 / 100.0).round() / 10.0;
        let elapsed = stats.last.map_or(args.seconds, |last| (last - begin).as_secs_f64());
        println!(
            "{}",
            serde_json::json!({
                "scenario": format!("{:?}", args.scenario).to_lowercase(),
                "era": format!("{:?}", args.era).to_lowercase(),
                "concurrency": args.concurrency,
                "seconds": (elapsed * 1000.0).round() / 1000.0,
                "ops": stats.ops,
                "ops_all": stats.ops_all,
                "rps": ((stats.ops as f64 / elapsed) * 10.0).round() / 10.0,
                "mean_us": micros(stats.histogram.mean() as u64),
                "p50_us": micros(stats.histogram.value_at_quantile(0.50)),
                "p90_us": micros(stats.histogram.value_at_quantile(0.90)),
                "p99_us": micros(stats.histogram.value_at_quantile(0.99)),
                "p999_us": micros(stats.histogram.value_at_quantile(0.999)),
                "max_us": micros(stats.histogram.max()),
                "errors": stats.errors,
                "errors_all": stats.errors_all,
                "error_samples": stats.samples,
                "bytes": stats.bytes,
                "sse": stats.sse,
                "opened": shared.tokens.len(),
                "tools": shared.names.borrow().tools,
                "protocol": *shared.agreed.borrow(),
            })
        );
    }
    if args.delete {
        for mut peer in finished {
            peer.close_session().await;
        }
    }
    Ok(())
}

impl Peer {
    async fn pump(mut self, begin: Instant, end: Instant) -> Self {
        let shared = self.shared.clone();
        loop {
            let start = Instant::now();
            if start >= end || shared.args.max_ops.is_some_and(|max| shared.stats.borrow().ops_all >= max) {
                return self;
            }
            let outcome = match shared.args.scenario {
                Scenario::Echo64 => self.echo().await,
                Scenario::Big1m => self.big().await,
                Scenario::Sleep => self.sleep().await,
                Scenario::List => self.list().await,
                Scenario::Init => self.sequence().await,
            };
            let done = Instant::now();
            let failed = outcome.is_err();
            {
                let mut stats = shared.stats.borrow_mut();
                stats.ops_all += 1;
                if start >= begin {
                    stats.last = Some(done);
                }
                match outcome {
                    Ok(bytes) if start >= begin => {
                        stats.ops += 1;
                        stats.bytes += bytes as u64;
                        stats.histogram.saturating_record((done - start).as_nanos() as u64);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        stats.errors_all += 1;
                        if start >= begin {
                            stats.errors += 1;
                        }
                        let error: String = error.chars().take(300).collect();
                        if stats.samples.len() < 5 || stats.samples.contains_key(&error) {
                            *stats.samples.entry(error).or_default() += 1;
                        }
                    }
                }
            }
            if failed {
                // Never spin on a target that refuses: reconnect, and go slowly.
                self.sender = None;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if shared.args.scenario == Scenario::Init && shared.args.delete {
                self.close_session().await;
            }
        }
    }
}
