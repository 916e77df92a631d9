//! What the connection manager has agreed on.

use crate::PathMtu;
use crate::soft::wire::{Psn, Qpn, RnrTimer};

/// What is used where a peer names no local acknowledgement timeout: 4.096 us * 2^17, as Linux does.
pub const ACK_TIMEOUT_DEFAULT: u8 = 17;

/// Most that a peer can make us wait: 4.3 s, and that eight times. The field of 5 bits could name two and a half hours.
const ACK_TIMEOUT_MAX: u8 = 20;

/// What the connection manager has agreed on, in this side's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The peer's queue pair.
    pub peer: Qpn,
    /// The number of the first packet that this side's requester sends.
    pub send_psn: Psn,
    /// The number of the first packet that the peer's requester sends.
    pub expected_psn: Psn,
    /// The payload of packets.
    pub mtu: PathMtu,
    /// How many acknowledgement timeouts may pass again without an answer: 0 to 7. 7 is no more than that.
    pub retries: u8,
    /// How often a message is sent again to a receiver that is not ready: 0 to 6, or 7 for endlessly.
    pub rnr_retries: u8,
    /// The acknowledgement timeout: 4.096 us * 2^this. 0, which would be endless, means [`ACK_TIMEOUT_DEFAULT`].
    pub ack_timeout: u8,
    /// How long the peer is told to wait when no receive is posted here.
    pub rnr_timer: RnrTimer,
    /// RDMA READs of the peer that are served at once.
    pub responder_resources: u8,
    /// RDMA READs that this side may have outstanding at once.
    pub initiator_depth: u8,
}

impl Parameters {
    /// Before anything was agreed. Nothing reads it then.
    pub(super) const fn unconnected(peer: Qpn) -> Self {
        Self {
            peer,
            send_psn: Psn::new(0),
            expected_psn: Psn::new(0),
            mtu: PathMtu::Bytes256,
            retries: 0,
            rnr_retries: 0,
            ack_timeout: 0,
            rnr_timer: RnrTimer::new(0),
            responder_resources: 0,
            initiator_depth: 0,
        }
    }

    /// The standard's acknowledgement timeout.
    pub(super) fn ack_timeout_ns(&self) -> u64 {
        let exponent = match self.ack_timeout {
            0 => ACK_TIMEOUT_DEFAULT,
            other => other.min(ACK_TIMEOUT_MAX),
        };
        4096 << exponent
    }

    /// How long the peer may be silent before the connection has failed: the first timeout and each retry's.
    pub(super) fn patience_ns(&self) -> u64 {
        self.ack_timeout_ns() * (u64::from(self.retries) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that named 31 in its request was waited for 19 hours once it was dead.
    #[test]
    fn a_peer_cannot_make_us_wait_for_hours() {
        let mut parameters = Parameters::unconnected(Qpn::CONNECTION_MANAGER);
        parameters.retries = 7;
        for (exponent, patience_ms) in [(14, 536), (17, 4294), (20, 34_359), (31, 34_359), (0, 4294)] {
            parameters.ack_timeout = exponent;
            assert_eq!(parameters.patience_ns() / 1_000_000, patience_ms, "{exponent}");
        }
    }
}
