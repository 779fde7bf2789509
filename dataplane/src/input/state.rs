//! `requestState` as clients carry it between two rounds: sealed by this plane, so that nobody reads it, changes it, or
//! uses it for another request, as another client, or after its time (`protocol.md` 3.7 and 7.2). It holds no secret of
//! a person; what a modern server gave is in it as that came.

use aws_lc_rs::digest;
use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    call::{Ask, Principal, RequestId},
    clock::Clock,
    denial::Denial,
    seal::{self, Kind, Mark, Seal, Shut},
};

/// Seals and opens.
#[derive(Debug)]
pub struct States {
    seal: Seal,
    clock: Clock,
}

/// What a request is about: its retry must be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About([u8; 32]);

impl About {
    /// `arguments`: whatever their members' order and the space between them.
    pub fn of(ask: Ask, name: &str, arguments: Option<&[u8]>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [ask.method(), name] {
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let raw = arguments.unwrap_or(b"null");
        match serde_json::from_slice::<Value>(raw).and_then(|value| serde_json::to_vec(&value)) {
            Ok(canonical) => context.update(&canonical),
            Err(_) => context.update(raw),
        }
        let mut about = [0; 32];
        about.copy_from_slice(context.finish().as_ref());
        Self(about)
    }
}

/// What a client's next round belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The request that began it.
    pub first: RequestId,
    backend: Mark,
    of: Of,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    /// What a modern server gave: a JSON string, with its quotes.
    Server(Bytes),
    /// A call that waits on this plane, for the answers to its so-manieth questions.
    Parked { call: Uuid, round: u8 },
    /// Nothing is kept: the call is sent again, once its client has been where it was sent.
    Visited,
}

impl State {
    /// `state`: the token of a modern server's own.
    pub fn server(first: RequestId, backend: &str, state: Bytes) -> Self {
        Self { first, backend: seal::mark(&[backend]), of: Of::Server(state) }
    }

    /// Of a call that is parked here.
    pub fn parked(first: RequestId, backend: &str, call: Uuid, round: u8) -> Self {
        Self { first, backend: seal::mark(&[backend]), of: Of::Parked { call, round } }
    }

    /// Of a call that is to be sent again.
    pub fn visited(first: RequestId, backend: &str) -> Self {
        Self { first, backend: seal::mark(&[backend]), of: Of::Visited }
    }

    pub fn is_visited(&self) -> bool {
        self.of == Of::Visited
    }

    pub fn is_of(&self, backend: &str) -> bool {
        self.backend == seal::mark(&[backend])
    }

    /// A modern server's own.
    pub fn of_server(&self) -> Option<&Bytes> {
        match &self.of {
            Of::Server(state) => Some(state),
            Of::Parked { .. } | Of::Visited => None,
        }
    }

    /// The parked call, and its round.
    pub fn of_parked(&self) -> Option<(Uuid, u8)> {
        match self.of {
            Of::Parked { call, round } => Some((call, round)),
            Of::Server(_) | Of::Visited => None,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.first.uuid().as_bytes());
        out.extend_from_slice(&self.backend);
        match &self.of {
            Of::Server(state) => {
                out.push(0);
                out.extend_from_slice(state);
            }
            Of::Parked { call, round } => {
                out.push(1);
                out.extend_from_slice(call.as_bytes());
                out.push(*round);
            }
            Of::Visited => out.push(2),
        }
    }

    fn read(sealed: &[u8]) -> Option<Self> {
        let (first, rest) = sealed.split_first_chunk::<16>()?;
        let (backend, rest) = rest.split_first_chunk::<16>()?;
        let of = match rest.split_first()? {
            (0, state) => Of::Server(Bytes::copy_from_slice(state)),
            (1, parked) => match parked.split_first_chunk::<16>()? {
                (call, [round]) => Of::Parked { call: Uuid::from_bytes(*call), round: *round },
                _ => return None,
            },
            (2, []) => Of::Visited,
            _ => return None,
        };
        Some(Self { first: RequestId::of(Uuid::from_bytes(*first)), backend: *backend, of })
    }
}

/// Told of whatever was not given for just this request to just this client.
pub fn none_of_ours() -> Denial {
    Denial::InvalidParams {
        what: "params.requestState was not given for this request; send it as it came, with the params of the first \
               request, or start the call again without it"
            .into(),
    }
}

impl States {
    /// `key`: the 32 bytes of `seal.key`; none: another number of bytes.
    pub fn new(key: &[u8], clock: Clock) -> Option<Self> {
        Some(Self { seal: Seal::new(key)?, clock })
    }

    /// A state for this client's retry of this request, good until `secs` from now. None: there is no randomness.
    pub fn seal(&self, state: &State, principal: &Principal, about: &About, secs: u64) -> Option<String> {
        let mut sealed = Vec::with_capacity(160);
        sealed.extend_from_slice(&seal::owner(principal));
        sealed.extend_from_slice(&about.0);
        sealed.extend_from_slice(&self.clock.now_secs().saturating_add(secs).to_be_bytes());
        state.write(&mut sealed);
        self.seal.close(Kind::RequestState, sealed)
    }

    /// Opens what a client sent as `requestState`, a JSON token.
    ///
    /// Errors: `InteractionLost` for one of another plane, `InvalidParams` for all else that is not good here and now.
    pub fn open(&self, token: &[u8], principal: &Principal, about: &About) -> Result<State, Denial> {
        let text = token.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).ok_or_else(none_of_ours)?;
        let opened = self.seal.open(Kind::RequestState, text).map_err(|shut| match shut {
            Shut::OtherKey => Denial::InteractionLost,
            Shut::NotOurs => none_of_ours(),
        })?;
        let parts = || {
            let (owner, rest) = opened.split_first_chunk::<16>()?;
            let (of, rest) = rest.split_first_chunk::<32>()?;
            let (until, rest) = rest.split_first_chunk::<8>()?;
            Some((*owner, About(*of), u64::from_be_bytes(*until), State::read(rest)?))
        };
        let (owner, of, until, state) = parts().ok_or_else(none_of_ours)?;
        if owner != seal::owner(principal) {
            tracing::warn!(client = %principal.client.escape_debug(), first = %state.first, "a requestState of another client");
            return Err(none_of_ours());
        }
        if of != *about {
            return Err(none_of_ours());
        }
        if until <= self.clock.now_secs() {
            let what = "params.requestState is over its time; start the call again without it";
            return Err(Denial::InvalidParams { what: what.into() });
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(client: &str) -> Principal {
        Principal { issuer: "i".into(), client: client.into(), roles: Box::default(), jti: None, until: i64::MAX }
    }

    fn quoted(state: &str) -> Vec<u8> {
        format!("\"{state}\"").into_bytes()
    }

    fn states(clock: &Clock) -> States {
        States::new(&[7; 32], clock.clone()).unwrap()
    }

    #[test]
    fn a_state_is_good_for_its_own_client_and_request_and_for_its_time() {
        let clock = Clock::standing_at(1_000_000_000_000);
        let (states, about) = (states(&clock), About::of(Ask::CallTool, "x__t", Some(br#"{"a":1,"b":[2]}"#)));
        let state = State::server(RequestId::fresh(), "x", Bytes::from_static("\"theirs é\"".as_bytes()));
        let sealed = states.seal(&state, &principal("a"), &about, 60).unwrap();
        assert!(!sealed.contains("theirs"));
        let same = About::of(Ask::CallTool, "x__t", Some(b"{ \"b\": [2], \"a\": 1 }"));
        let opened = states.open(&quoted(&sealed), &principal("a"), &same).unwrap();
        assert_eq!(opened, state);
        assert!(opened.is_of("x") && !opened.is_of("y"));

        let other_clients = states.open(&quoted(&sealed), &principal("b"), &about);
        assert!(matches!(other_clients, Err(Denial::InvalidParams { .. })));
        for other in [
            About::of(Ask::CallTool, "x__t", Some(br#"{"a":2,"b":[2]}"#)),
            About::of(Ask::CallTool, "x__u", Some(br#"{"a":1,"b":[2]}"#)),
            About::of(Ask::GetPrompt, "x__t", Some(br#"{"a":1,"b":[2]}"#)),
            About::of(Ask::CallTool, "x__t", None),
        ] {
            assert!(matches!(
                states.open(&quoted(&sealed), &principal("a"), &other),
                Err(Denial::InvalidParams { .. })
            ));
        }
        clock.turn(59_000_000);
        assert!(states.open(&quoted(&sealed), &principal("a"), &about).is_ok());
        clock.turn(1_000_000);
        let Err(Denial::InvalidParams { what }) = states.open(&quoted(&sealed), &principal("a"), &about) else {
            panic!("over")
        };
        assert!(what.contains("over its time"), "{what}");
    }

    #[test]
    fn what_was_forged_is_none_of_ours_and_another_planes_is_lost() {
        let clock = Clock::system();
        let (states, about, mine) = (states(&clock), About::of(Ask::CallTool, "t", None), principal("a"));
        let state = State::server(RequestId::fresh(), "x", Bytes::from_static(b"\"s\""));
        let sealed = states.seal(&state, &mine, &about, 60).unwrap();
        let mut changed = sealed.clone().into_bytes();
        let last = changed.len() - 1;
        changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
        let forged = [
            quoted(""),
            quoted("s1."),
            quoted("anything"),
            quoted(&format!("{sealed}-TAMPERED")),
            quoted(&String::from_utf8(changed).unwrap()),
            quoted(&"s1.A".repeat(1 << 20)),
            b"7".to_vec(),
            b"null".to_vec(),
        ];
        for forged in forged {
            let opened = states.open(&forged, &mine, &about);
            assert!(matches!(opened, Err(Denial::InvalidParams { .. })), "{}", String::from_utf8_lossy(&forged));
        }
        let first = RequestId::fresh();
        for other in [State::parked(first, "x", Uuid::now_v7(), 3), State::visited(first, "x")] {
            let sealed = states.seal(&other, &mine, &about, 60).unwrap();
            assert_eq!(states.open(&quoted(&sealed), &mine, &about).unwrap(), other);
        }
        let other = States::new(&[8; 32], clock).unwrap();
        assert!(matches!(other.open(&quoted(&sealed), &mine, &about), Err(Denial::InteractionLost)));
        // The other's name before it does not make it the other's.
        let theirs = other.seal(&state, &mine, &about, 60).unwrap();
        let mixed = format!("{}{}", theirs.get(..3 + 10).unwrap(), sealed.get(3 + 10..).unwrap());
        assert!(other.open(&quoted(&mixed), &mine, &about).is_err());
    }
}
