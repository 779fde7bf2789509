//! Who came as a plane and was not let in, as long as it is news: for `status`, since such a plane can't tell.

use std::net::SocketAddr;

use super::Fleet;

/// A plane tries again within 15 s; what has not come for so long has gone, or was let in.
const NEWS_MS: i64 = 60_000;
/// Peers that are remembered; the one that came longest ago makes room.
const PEERS: usize = 16;

#[derive(Debug)]
pub(super) struct TurnedAway {
    /// An address without its port, or the process on this machine.
    peer: String,
    why: String,
    at_ms: i64,
}

impl Fleet {
    /// Notes that `peer` was not let in.
    pub fn turn_away(&self, peer: &str, why: &str) {
        let (peer, at_ms) = (place(peer), self.0.clock.unix_ms());
        let mut all = self.turned();
        all.retain(|other| other.peer != peer);
        if all.len() == PEERS {
            all.remove(0);
        }
        all.push(TurnedAway { peer, why: why.to_owned(), at_ms });
    }

    /// A plane from there was let in.
    pub(super) fn let_in(&self, peer: &str) {
        let peer = place(peer);
        self.turned().retain(|other| other.peer != peer);
    }

    /// A sentence for each that was turned away within the last minute.
    pub fn turned_away(&self) -> Vec<String> {
        let now = self.0.clock.unix_ms();
        let mut all = self.turned();
        all.retain(|one| now.saturating_sub(one.at_ms) < NEWS_MS);
        all.iter().map(|one| format!("a plane was turned away, from {}: {}", one.peer, one.why)).collect()
    }
}

fn place(peer: &str) -> String {
    peer.parse::<SocketAddr>().map_or_else(|_| peer.to_owned(), |at| at.ip().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn it_is_news_for_a_minute_or_until_it_is_let_in() {
        let clock = Clock::fixed(1_000_000);
        let fleet = Fleet::new(clock.clone());
        fleet.turn_away("10.0.0.1:4000", "another token");
        fleet.turn_away("10.0.0.1:4001", "another token");
        fleet.turn_away("process 7 on this machine", "another token");
        assert_eq!(
            fleet.turned_away(),
            [
                "a plane was turned away, from 10.0.0.1: another token",
                "a plane was turned away, from process 7 on this machine: another token"
            ]
        );
        fleet.let_in("10.0.0.1:4002");
        assert_eq!(fleet.turned_away().len(), 1);
        clock.set(1_000_000 + NEWS_MS);
        assert_eq!(fleet.turned_away(), Vec::<String>::new());
    }

    #[test]
    fn however_many_come_few_are_remembered() {
        let fleet = Fleet::new(Clock::fixed(0));
        for last in 0..200 {
            fleet.turn_away(&format!("10.0.0.{last}:1"), "x");
        }
        assert_eq!(fleet.turned_away().len(), PEERS);
        assert!(fleet.turned_away().last().is_some_and(|line| line.contains("10.0.0.199")));
    }
}
