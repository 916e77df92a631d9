//! Who is let in.

use std::os::fd::OwnedFd;

use block::Timestamp;

use super::Reactor;
use crate::nbd::server::client::Client;
use crate::nbd::server::counters::add;

/// Clients accepted in one turn.
const ACCEPTS_PER_TURN: usize = 16;

/// How long nobody is accepted after the kernel has refused: it has no descriptor or memory for us, which does not change at
/// once, and its listener would end each sleep.
const ACCEPT_PAUSE_NS: u64 = 1_000_000_000;

impl Reactor {
    pub(super) fn accept(&mut self, now: Timestamp) -> bool {
        if self.accepts_at.is_some() {
            return false;
        }
        let mut any = false;
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                match self.listeners[index].accept() {
                    Ok(None) => break,
                    Ok(Some(Ok(socket))) => self.let_in(socket, now),
                    Ok(Some(Err(stranger))) => {
                        tracing::warn!("user {} was turned away: the socket is its owner's", stranger.uid);
                    }
                    Err(error) => {
                        tracing::warn!("a client cannot be accepted: {error}");
                        self.pause_accepting(now);
                        return any;
                    }
                }
                any = true;
            }
        }
        any
    }

    fn pause_accepting(&mut self, now: Timestamp) {
        self.accepts_at = Some(now.after_ns(ACCEPT_PAUSE_NS));
        for listener in &self.listeners {
            // It is there; and if it were not, nothing would be to be done.
            let _ = self.sleeper.remove(listener.descriptor());
        }
    }

    pub(super) fn accept_again(&mut self, now: Timestamp) {
        if self.accepts_at.is_none_or(|at| now < at) {
            return;
        }
        self.accepts_at = None;
        for listener in &self.listeners {
            if let Err(error) = self.sleeper.add(listener.descriptor()) {
                tracing::warn!("no more clients are accepted: {error}");
            }
        }
    }

    fn let_in(&mut self, socket: OwnedFd, now: Timestamp) {
        if self.clients.len() >= self.clients_max {
            if !self.has_warned_full {
                self.has_warned_full = true;
                tracing::warn!("a client was turned away: there are {} (said once)", self.clients_max);
            }
            return;
        }
        self.clients.insert(Client::new(socket, self.engine.losses(), now));
        add(&self.shared.counters.accepted, 1);
        self.count_clients();
    }
}
