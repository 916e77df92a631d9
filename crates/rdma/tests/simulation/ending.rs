//! The end of a run: the network heals, everything comes to its end, and what has happened is judged.

use std::time::Duration;

use block::Timestamp;
use rdma::{Endpoint, RNR_RETRIES_ENDLESS, WorkError};

use crate::scenario::{CLIENT, Link, SERVER, Scenario};
use crate::way::{MESSAGE_BYTES_MAX, RECEIVE_DEPTH, Way};

/// After the network has healed everything has ended by then: all the retries of a connection manager take 70 s.
const LIVENESS: Duration = Duration::from_secs(100);

impl Scenario {
    /// From now on nothing goes wrong: whatever was begun must end, and a new connection must be made.
    pub fn heal(&mut self) {
        self.world.network().heal();
        self.peers.iter_mut().for_each(|peer| peer.paused_until = Timestamp::default());
        self.has_healed = true;
        self.connect();
        self.links.last_mut().unwrap().excuse = None;
        let end = self.world.now().after(LIVENESS);
        while !self.links.iter().all(|link| self.is_decided(link)) {
            assert!(self.world.now() < end, "connections are neither made nor refused: {}", self.describe());
            self.run_until(self.world.now().after(Duration::from_millis(20)), false);
        }
        (0..self.links.len()).for_each(|link| self.post_last(link));
        while !self.links.iter().all(|link| self.has_ended(link)) {
            assert!(self.world.now() < end, "work has not ended: {}", self.describe());
            self.feed();
            self.run_until(self.world.now().after(Duration::from_millis(1)), false);
        }
    }

    /// Whether it is certain that a connection was made on both sides, or will not be.
    fn is_decided(&self, link: &Link) -> bool {
        let client = (CLIENT, link.client);
        let is_over = link.destroyed[CLIENT] || self.is_closed(client);
        let server_has_it = match link.server {
            Some(server) => {
                // Given up by the server: the one message that says so can be lost, and an idle client does not learn of it.
                link.destroyed[SERVER] || self.is_closed((SERVER, server)) || self.is_made((SERVER, server))
            }
            None => link.destroyed[SERVER],
        };
        is_over || (self.is_made(client) && server_has_it)
    }

    fn post_last(&mut self, index: usize) {
        for way in 0..2 {
            let Some(ways) = &mut self.links[index].ways else { return };
            let (from, to) = (ways[way].from, ways[way].to);
            if self.links[index].destroyed[from.0] || self.is_closed(from) || !self.is_made(from) {
                continue;
            }
            let end = self.world.now().after(LIVENESS);
            loop {
                assert!(self.world.now() < end, "a send queue is full for ever");
                let link = &mut self.links[index];
                let way = &mut link.ways.as_mut().unwrap()[way];
                if !link.destroyed[to.0] {
                    way.open_windows(&mut self.peers[to.0]);
                }
                if way.has_room() {
                    way.post_last(&mut self.peers[from.0]);
                    break;
                }
                self.feed();
                self.run_until(self.world.now().after(Duration::from_millis(1)), false);
                if self.is_closed(from) {
                    break;
                }
            }
        }
    }

    /// Posts receives wherever messages may come.
    fn feed(&mut self) {
        for link in &mut self.links {
            for way in link.ways.iter_mut().flatten() {
                let to = way.to.0;
                while !link.destroyed[to]
                    && !self.peers[to].closed.contains_key(&way.to.1)
                    && way.receives_posted() < RECEIVE_DEPTH as usize
                {
                    way.post_receive(&mut self.peers[to], MESSAGE_BYTES_MAX);
                }
            }
        }
    }

    fn has_ended(&self, link: &Link) -> bool {
        link.ways.iter().flatten().all(|way| {
            link.destroyed[way.from.0]
                || way.work_left() == 0
                || (self.is_closed(way.from) && way.has_ended())
        })
    }

    /// Every connection has lived, or has ended as it may. Returns how many have and have not.
    pub fn judge(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for link in &self.links {
            let halves = [Some((CLIENT, link.client)), link.server.map(|server| (SERVER, server))];
            let is_closed =
                halves.into_iter().flatten().any(|half| !link.destroyed[half.0] && self.is_closed(half));
            let is_made = halves.into_iter().flatten().all(|half| self.is_made(half));
            let is_whole = !is_closed && is_made && link.destroyed == [false; 2] && link.ways.is_some();
            assert!(
                is_whole || link.excuse.is_some(),
                "a connection ended without reason: {:?}",
                self.ends(link)
            );
            for way in link.ways.iter().flatten().filter(|way| !link.destroyed[way.from.0]) {
                self.judge_errors(way, is_whole);
                way.judge(is_whole, !link.destroyed[way.to.0]);
            }
            if is_whole { counts.0 += 1 } else { counts.1 += 1 }
        }
        counts
    }

    /// For the reader of a failure.
    pub fn describe(&self) -> String {
        let now = self.world.now();
        let mut text = format!("at {now}, {:?}", self.faults);
        for peer in &self.peers {
            let (made, closed) = (&peer.established, &peer.closed);
            let counters = peer.endpoint.counters();
            text += &format!("\n{}: made {made:?}, closed {closed:?}, {counters:?}", peer.address);
        }
        for link in &self.links {
            text += &format!("\n{:?} {:?} {:?} {:?}", link.client, link.server, link.excuse, link.destroyed);
            for way in link.ways.iter().flatten() {
                let (work, receives) = (way.work_left(), way.receives_posted());
                text +=
                    &format!("; from {}: {work} left, {receives} receives, {:?}", way.from.0, way.send_error);
            }
        }
        text
    }

    fn ends(&self, link: &Link) -> [Option<String>; 2] {
        let told = |at: usize, name| self.peers[at].closed.get(&name).map(ToString::to_string);
        [told(CLIENT, link.client), link.server.and_then(|server| told(SERVER, server))]
    }

    fn judge_errors(&self, way: &Way, is_whole: bool) {
        let is_fair = match way.send_error {
            None | Some(WorkError::Flushed | WorkError::RetriesExceeded) => true,
            Some(WorkError::ReceiverNotReady) => self.parameters.rnr_retries < RNR_RETRIES_ENDLESS,
            Some(WorkError::RemoteAccess | WorkError::RemoteInvalidRequest) => way.is_misused,
            Some(_) => false,
        };
        assert!(is_fair, "work failed for no reason: {:?}", way.send_error);
        assert!(!is_whole || way.send_error.is_none(), "{:?} on a connection that lives", way.send_error);
        let is_fair = match way.receive_error {
            None | Some(WorkError::Flushed) => true,
            Some(_) => way.is_misused,
        };
        assert!(is_fair, "a receive failed for no reason: {:?}", way.receive_error);
    }

    /// Ends everything: all flushes, and all memory comes back.
    pub fn finish(mut self) {
        let now = self.world.now();
        for link in 0..self.links.len() {
            for (at, queue_pair) in self.halves(link) {
                if let Some(queue_pair) = queue_pair.filter(|_| !self.links[link].destroyed[at]) {
                    self.peers[at].endpoint.disconnect(queue_pair, now);
                }
            }
        }
        self.run_until(now.after(Duration::from_millis(100)), false);
        for link in &self.links {
            for way in link.ways.iter().flatten() {
                let ended = [(way.from, way.has_ended()), (way.to, way.receives_posted() == 0)];
                for (half, has_ended) in ended.into_iter().filter(|(half, _)| !link.destroyed[half.0]) {
                    assert!(self.is_closed(half), "no end was told");
                    assert!(has_ended, "work did not flush: {}", self.describe());
                }
            }
        }
        for link in 0..self.links.len() {
            [CLIENT, SERVER].into_iter().for_each(|half| self.destroy_half(link, half));
        }
        self.links.clear();
        self.run_until(self.world.now().after(Duration::from_secs(200)), false);
        for peer in &mut self.peers {
            assert_eq!(peer.chunks_held(), 0, "memory did not come back");
            assert_eq!(peer.rests_until(self.world.now()), Timestamp::NEVER, "a timer of nothing");
        }
    }
}
