//! What happens when time passes.

use block::Timestamp;

use super::event::CmEvent;
use super::incoming::{Answer, PeerId};
use super::outbox::Timer;
use super::state::State;
use super::{ANSWER_CHECK, ANSWER_MAX, ConnectionManager, HALF_OPEN_MIN, RECEIPT_AFTER};
use crate::soft::coverage;
use crate::soft::wire::Qpn;
use crate::soft::wire::mad::RejectReason;

impl ConnectionManager {
    /// Does what is due. Each timer that has come is looked at once; what it sets anew lies in the future.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Connection(qpn) => self.handle_connection_timeout(now, qpn),
                Timer::Record(peer) => self.handle_record_timeout(now, peer),
            }
        }
    }

    fn handle_connection_timeout(&mut self, now: Timestamp, qpn: Qpn) {
        let Some(connection) = self.connections.get_mut(&qpn) else { return };
        coverage::hit(connection.state.name(), "timeout");
        let repeated = match &mut connection.state {
            State::RequestSent(asking) => &mut asking.request,
            State::ReplySent(answering) => &mut answering.reply,
            State::DisconnectSent(request) => request,
            State::Established => return,
            State::TimeWait => return self.remove(qpn),
        };
        if let Some(patience) = repeated.repeat() {
            self.counters.repeated += 1;
            self.outbox.push(connection.address, repeated.message);
            self.set_timer(qpn, now.after(patience));
        } else {
            self.handle_silence(now, qpn);
        }
    }

    /// The peer does not answer.
    fn handle_silence(&mut self, now: Timestamp, qpn: Qpn) {
        let state = self.connections.get(&qpn).map(|connection| &connection.state);
        // Of one that is being disconnected the end was told.
        if let Some(State::RequestSent(_) | State::ReplySent(_)) = state {
            self.give_up(qpn);
            self.tell(CmEvent::TimedOut { qpn });
        }
        self.begin_timewait(now, qpn);
    }

    /// Looks after a request that waits for its answer.
    fn handle_record_timeout(&mut self, now: Timestamp, peer: PeerId) {
        let Some(record) = self.records.get_mut(&peer, now).filter(|record| record.waits()) else { return };
        match record.ticket.answer() {
            Some(Answer::Dropped) => {
                self.counters.unanswered += 1;
                self.reject_waiting(now, peer, RejectReason::Consumer);
            }
            Some(_) => self.settled(now, peer),
            None if now.since(record.came) >= ANSWER_MAX => {
                self.counters.unanswered += 1;
                self.reject_waiting(now, peer, RejectReason::Timeout);
            }
            None => {
                let transaction = record.transaction;
                if !record.receipted && now.since(record.came) >= RECEIPT_AFTER {
                    record.receipted = true;
                    self.send_receipt(transaction, peer);
                }
                self.timers.set(Timer::Record(peer), now.after(ANSWER_CHECK));
            }
        }
    }

    /// Ends the oldest half-open connection, if it is not a young one: its peer may not exist. Says which. Called when there is
    /// no room for a connection here, or for its queue pair.
    pub fn reap_half_open(&mut self, now: Timestamp) -> Option<Qpn> {
        let half_open = self.connections.iter().filter_map(|(qpn, connection)| match &connection.state {
            State::ReplySent(answering) => Some((answering.came, *qpn)),
            _ => None,
        });
        let (came, qpn) = half_open.min()?;
        if now.since(came) < HALF_OPEN_MIN {
            return None;
        }
        self.counters.reaped += 1;
        self.give_up(qpn);
        self.begin_timewait(now, qpn);
        self.tell(CmEvent::TimedOut { qpn });
        self.remove(qpn);
        Some(qpn)
    }
}
