//! What a server is asked for all who want something of it, with a server that only keeps what it was asked.

use std::future::Future;

use super::{keeping::LOWERED, *};
use crate::backend::abilities::{Abilities, Ability};

/// Says yes to all but `no`, and keeps what it was asked.
#[derive(Default)]
struct Server(Mutex<Vec<String>>);

impl Asks for Server {
    async fn ask(&self, method: &'static str, params: String) -> Said {
        let refuses = params.contains("no://");
        self.0.lock().unwrap().push(format!("{} {params}", method.trim_start_matches("resources/")));
        if refuses { Said::No(Bytes::from_static(b"{\"code\":-32002}")) } else { Said::Yes }
    }
}

fn wanted() -> (Arc<Wanted>, mpsc::Receiver<Arc<Wanted>>) {
    let (signal, signals) = mpsc::channel(1);
    (Wanted::new(signal), signals)
}

fn all() -> Abilities {
    let mut all = Abilities::default();
    all.add(Ability::Logging);
    all
}

fn uri(text: &str) -> Arc<str> {
    text.into()
}

async fn kept<T>(wanted: &Arc<Wanted>, server: &Server, meanwhile: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        () = keep(wanted, server, all()) => unreachable!(),
        done = meanwhile => done,
    }
}

#[tokio::test(start_paused = true)]
async fn many_holders_are_one_subscription_that_goes_with_the_last() {
    let ((wanted, _signals), server) = (wanted(), Server::default());
    let within = Duration::from_secs(9);
    kept(&wanted, &server, async {
        let (one, other) = (wanted.watch(&uri("a://x")).unwrap(), wanted.watch(&uri("a://x")).unwrap());
        assert_eq!((one.settled(within).await, other.settled(within).await), (Standing::Held, Standing::Held));
        drop(one);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*server.0.lock().unwrap(), [r#"subscribe {"uri":"a://x"}"#]);
        drop(other);
        tokio::time::sleep(Duration::from_secs(1)).await;
    })
    .await;
    assert_eq!(*server.0.lock().unwrap(), [r#"subscribe {"uri":"a://x"}"#, r#"unsubscribe {"uri":"a://x"}"#]);
    assert!(!wanted.is_of_use());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_as_the_server_said_it_and_costs_no_unsubscribing() {
    let ((wanted, _signals), server) = (wanted(), Server::default());
    kept(&wanted, &server, async {
        let watch = wanted.watch(&uri("no://x")).unwrap();
        let standing = watch.settled(Duration::from_secs(9)).await;
        assert_eq!(standing, Standing::Refused(Some(Bytes::from_static(b"{\"code\":-32002}"))));
        drop(watch);
        tokio::time::sleep(Duration::from_secs(1)).await;
    })
    .await;
    assert_eq!(server.0.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_session_is_asked_anew_and_what_was_missed_is_told() {
    let (wanted, mut signals) = wanted();
    let watch = wanted.watch(&uri("a://x")).unwrap();
    let within = Duration::from_secs(9);
    assert_eq!(watch.settled(within).await, Standing::Waiting, "nobody talks with a server");
    for is_first in [true, false] {
        let server = Server::default();
        kept(&wanted, &server, async {
            watch.settled(within).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        })
        .await;
        assert_eq!(server.0.lock().unwrap().len(), 1);
        assert_eq!(signals.try_recv().is_err(), is_first);
    }
    assert_eq!(wanted.take_updates(), BTreeSet::from([uri("a://x")]));
}

#[tokio::test(start_paused = true)]
async fn the_lowest_level_that_anybody_wants_is_asked_for_and_raised_when_nobody_has_for_a_while() {
    let ((wanted, _signals), server) = (wanted(), Server::default());
    wanted.set_level(Some(Level::Warning));
    assert!(wanted.for_request(Level::Debug).is_none(), "no server takes it yet");
    let within = Duration::from_secs(1);
    let said = || std::mem::take(&mut *server.0.lock().unwrap());
    kept(&wanted, &server, async {
        wanted.sends(Level::Warning, within).await;
        assert_eq!(said(), [r#"logging/setLevel {"level":"warning"}"#]);
        for _ in 0..3 {
            let request = wanted.for_request(Level::Debug).unwrap();
            wanted.sends(Level::Debug, within).await;
            drop(request);
            tokio::time::sleep(within).await;
        }
        assert_eq!(said(), [r#"logging/setLevel {"level":"debug"}"#], "once for all that come soon after");
        tokio::time::sleep(LOWERED).await;
        assert_eq!(said(), [r#"logging/setLevel {"level":"warning"}"#]);
        wanted.set_level(None);
        tokio::time::sleep(LOWERED * 2).await;
        assert_eq!(said(), [r#"logging/setLevel {"level":"info"}"#]);
    })
    .await;
}

#[test]
fn changes_are_gathered_told_of_parts_and_of_nothing_that_nobody_watches() {
    let (wanted, mut signals) = wanted();
    let _watch = wanted.watch(&uri("a://x/y")).unwrap();
    for changed in ["a://x/y", "a://x/y", "a://x/y/z", "a://x/yz", "a://x", "b://"] {
        wanted.hear(serde_json::json!({ "uri": changed }).to_string().as_bytes());
    }
    wanted.hear(b"{\"url\":1}");
    assert!(signals.try_recv().is_ok() && signals.try_recv().is_err(), "one signal for all");
    assert_eq!(wanted.take_updates(), BTreeSet::from([uri("a://x/y"), uri("a://x/y/z")]));
    assert!(is_about("a://x/", "a://x/b") && is_about("a", "a/b") && !is_about("a", "ab") && !is_about("ab", "a"));
}

#[test]
fn what_is_granted_is_held_and_the_rest_is_not() {
    let (wanted, _signals) = wanted();
    let (one, other) = (wanted.watch(&uri("a")).unwrap(), wanted.watch(&uri("b")).unwrap());
    let params =
        br#"{"_meta":{"io.modelcontextprotocol/subscriptionId":7},"notifications":{"resourceSubscriptions":["b"]}}"#;
    let told = granted(params).unwrap();
    assert_eq!(told.number, 7);
    wanted.grant(&wanted.resources(), &told.granted, false);
    assert_eq!(
        (one.standing.borrow().clone(), other.standing.borrow().clone()),
        (Standing::Refused(None), Standing::Held)
    );
    assert_eq!(granted(b"{\"notifications\":{}}"), None);
}

#[test]
fn another_set_of_what_is_watched_is_no_change_and_a_stream_that_was_lost_may_be_one() {
    let (wanted, mut signals) = wanted();
    let _watch = wanted.watch(&uri("a")).unwrap();
    let granted = BTreeSet::from(["a".to_owned()]);
    wanted.grant(&wanted.resources(), &granted, false);
    wanted.grant(&wanted.resources(), &granted, true);
    assert!(signals.try_recv().is_err());
    wanted.refuse_waiting();
    wanted.grant(&wanted.resources(), &granted, false);
    assert_eq!(signals.try_recv().unwrap().take_updates(), BTreeSet::from([uri("a")]));
}
