//! REP: the reply to a connection request (12.6.8).

use super::bytes::{Bits, Body, BodyMut};
use super::value::{CommunicationId, Guid, Timeout};
use crate::soft::wire::{Psn, Qpn};

/// Bytes of private data of a reply.
pub const REPLY_PRIVATE_BYTES: usize = 196;

const LOCAL_ID: usize = 0;
const REMOTE_ID: usize = 4;
const QPN: usize = 12;
const STARTING_PSN: usize = 20;
const RESPONDER_RESOURCES: usize = 24;
const INITIATOR_DEPTH: usize = 25;
const ACK_DELAY: Bits = Bits::new(26, 3, 5);
const RNR_RETRIES: Bits = Bits::new(27, 5, 3);
const SHARED_RECEIVES: Bits = Bits::new(27, 4, 1);
const CA_GUID: usize = 28;
const PRIVATE_DATA: usize = 36;

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Names the sender's part of the connection.
    pub local_id: CommunicationId,
    /// Names the receiver's part.
    pub remote_id: CommunicationId,
    /// The sender's queue pair.
    pub qpn: Qpn,
    /// The PSN that the *receiver* of the reply begins to send with (chapter 12.7, starting PSN).
    pub starting_psn: Psn,
    /// READs of the other side that the sender serves at once.
    pub responder_resources: u8,
    /// READs that the sender will have outstanding at once.
    pub initiator_depth: u8,
    /// How long the sender may take to acknowledge.
    pub ack_delay: Timeout,
    /// RNR retries that the receiver's queue pair is to use, 0 to 7.
    pub rnr_retries: u8,
    /// Whether the sender's queue pair takes its receives from a shared queue.
    pub shared_receives: bool,
    /// The sender's GUID.
    pub guid: Guid,
    /// The user's bytes.
    pub private_data: [u8; REPLY_PRIVATE_BYTES],
}

impl Reply {
    pub(super) fn read(body: Body<'_>) -> Self {
        Self {
            local_id: CommunicationId::new(body.u32(LOCAL_ID)),
            remote_id: CommunicationId::new(body.u32(REMOTE_ID)),
            qpn: Qpn::from_be_bytes(body.array(QPN)),
            starting_psn: Psn::from_be_bytes(body.array(STARTING_PSN)),
            responder_resources: body.byte(RESPONDER_RESOURCES),
            initiator_depth: body.byte(INITIATOR_DEPTH),
            ack_delay: Timeout::of_exponent(body.bits(ACK_DELAY)),
            rnr_retries: body.bits(RNR_RETRIES),
            shared_receives: body.flag(SHARED_RECEIVES),
            guid: Guid(body.u64(CA_GUID)),
            private_data: body.array(PRIVATE_DATA),
        }
    }

    pub(super) fn write(&self, body: &mut BodyMut<'_>) {
        body.put(LOCAL_ID, self.local_id.value().to_be_bytes());
        body.put(REMOTE_ID, self.remote_id.value().to_be_bytes());
        body.put(QPN, self.qpn.to_be_bytes());
        body.put(STARTING_PSN, self.starting_psn.to_be_bytes());
        body.put(RESPONDER_RESOURCES, [self.responder_resources]);
        body.put(INITIATOR_DEPTH, [self.initiator_depth]);
        body.put_bits(ACK_DELAY, self.ack_delay.exponent());
        body.put_bits(RNR_RETRIES, self.rnr_retries);
        body.put_flag(SHARED_RECEIVES, self.shared_receives);
        body.put(CA_GUID, self.guid.0.to_be_bytes());
        body.put(PRIVATE_DATA, self.private_data);
    }
}
