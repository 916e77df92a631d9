//! REQ: the connection request (12.6.5).

use super::bytes::{Bits, Body, BodyMut};
use super::reason::RejectReason;
use super::value::{CommunicationId, Gid, Guid, ServiceId, Timeout, mtu_code, mtu_of_code};
use crate::PathMtu;
use crate::soft::wire::{Psn, Qpn};

/// Bytes of private data of a connection request, the RDMA-CM header among them.
pub const REQUEST_PRIVATE_BYTES: usize = 92;

const LOCAL_ID: usize = 0;
const SERVICE_ID: usize = 8;
const CA_GUID: usize = 16;
const QPN: usize = 32;
const RESPONDER_RESOURCES: usize = 35;
const INITIATOR_DEPTH: usize = 39;
const REMOTE_TIMEOUT: Bits = Bits::new(43, 3, 5);
const TRANSPORT: Bits = Bits::new(43, 1, 2);
const END_TO_END: Bits = Bits::new(43, 0, 1);
const STARTING_PSN: usize = 44;
const LOCAL_TIMEOUT: Bits = Bits::new(47, 3, 5);
const RETRIES: Bits = Bits::new(47, 0, 3);
const PARTITION_KEY: usize = 48;
const MTU: Bits = Bits::new(50, 4, 4);
const RNR_RETRIES: Bits = Bits::new(50, 0, 3);
const CM_RETRIES: Bits = Bits::new(51, 4, 4);
const SHARED_RECEIVES: Bits = Bits::new(51, 3, 1);
const SENDER_LID: usize = 52;
const RECEIVER_LID: usize = 54;
const SENDER_GID: usize = 56;
const RECEIVER_GID: usize = 72;
const FLOW_LABEL: usize = 88;
const RATE: Bits = Bits::new(91, 0, 6);
const TRAFFIC_CLASS: usize = 92;
const HOP_LIMIT: usize = 93;
const SUBNET_LOCAL: Bits = Bits::new(94, 3, 1);
const ACK_TIMEOUT: Bits = Bits::new(95, 3, 5);
const PRIVATE_DATA: usize = 140;

/// LIDs mean nothing on Ethernet: the permissive one stands there (annex A17).
const LID_PERMISSIVE: u16 = 0xffff;
/// The default partition, full member: the only one of RoCEv2 without a subnet manager.
const PARTITION_DEFAULT: u16 = 0xffff;
/// How many routers a packet may pass.
const HOPS: u8 = 64;
/// The code of the reliable connection.
const RELIABLE_CONNECTION: u8 = 0;
/// The code of "end-to-end flow control": the sender issues credits. Linux never says so.
const NO_END_TO_END: bool = false;

/// A connection request. What RoCEv2 fixes (LIDs, partition, alternate path) is not part of the meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRequest {
    /// Names the sender's part of the connection.
    pub local_id: CommunicationId,
    /// What it wants to be connected to.
    pub service: ServiceId,
    /// The sender's GUID.
    pub guid: Guid,
    /// The sender's queue pair.
    pub qpn: Qpn,
    /// READs of the other side that the sender serves at once.
    pub responder_resources: u8,
    /// READs that the sender will have outstanding at once.
    pub initiator_depth: u8,
    /// How soon the receiver is to answer.
    pub remote_timeout: Timeout,
    /// How soon the sender will answer.
    pub local_timeout: Timeout,
    /// The PSN that the *receiver* of the request begins to send with (chapter 12.7, starting PSN: where
    /// "the remote node" begins to transmit; seen so in captures of Linux): what the sender expects first.
    pub starting_psn: Psn,
    /// Retries of packets that the receiver's queue pair is to use, 0 to 7.
    pub retries: u8,
    /// Payload of packets, for both directions.
    pub mtu: PathMtu,
    /// RNR retries that the receiver's queue pair is to use, 0 to 7.
    pub rnr_retries: u8,
    /// How often each side repeats messages of the connection manager, 0 to 15.
    pub cm_retries: u8,
    /// Whether the sender's queue pair takes its receives from a shared queue.
    pub shared_receives: bool,
    /// The sender's address.
    pub sender: Gid,
    /// The receiver's address.
    pub receiver: Gid,
    /// After what time the receiver's queue pair is to repeat packets that are not acknowledged.
    pub ack_timeout: Timeout,
    /// The RDMA-CM header and the user's bytes.
    pub private_data: [u8; REQUEST_PRIVATE_BYTES],
}

impl ConnectionRequest {
    /// Reads one; why it is to be rejected, if it asks for what cannot be.
    pub(super) fn read(body: Body<'_>) -> Result<Self, RejectReason> {
        if body.bits(TRANSPORT) != RELIABLE_CONNECTION {
            return Err(RejectReason::InvalidTransport);
        }
        let mtu = mtu_of_code(body.bits(MTU)).ok_or(RejectReason::InvalidMtu)?;
        Ok(Self {
            local_id: local_id(body),
            service: ServiceId(body.u64(SERVICE_ID)),
            guid: Guid(body.u64(CA_GUID)),
            qpn: Qpn::from_be_bytes(body.array(QPN)),
            responder_resources: body.byte(RESPONDER_RESOURCES),
            initiator_depth: body.byte(INITIATOR_DEPTH),
            remote_timeout: Timeout::of_exponent(body.bits(REMOTE_TIMEOUT)),
            local_timeout: Timeout::of_exponent(body.bits(LOCAL_TIMEOUT)),
            starting_psn: Psn::from_be_bytes(body.array(STARTING_PSN)),
            retries: body.bits(RETRIES),
            mtu,
            rnr_retries: body.bits(RNR_RETRIES),
            cm_retries: body.bits(CM_RETRIES),
            shared_receives: body.flag(SHARED_RECEIVES),
            sender: Gid(body.array(SENDER_GID)),
            receiver: Gid(body.array(RECEIVER_GID)),
            ack_timeout: Timeout::of_exponent(body.bits(ACK_TIMEOUT)),
            private_data: body.array(PRIVATE_DATA),
        })
    }

    pub(super) fn write(&self, body: &mut BodyMut<'_>) {
        body.put(LOCAL_ID, self.local_id.value().to_be_bytes());
        body.put(SERVICE_ID, self.service.0.to_be_bytes());
        body.put(CA_GUID, self.guid.0.to_be_bytes());
        body.put(QPN, self.qpn.to_be_bytes());
        body.put(RESPONDER_RESOURCES, [self.responder_resources]);
        body.put(INITIATOR_DEPTH, [self.initiator_depth]);
        body.put_bits(REMOTE_TIMEOUT, self.remote_timeout.exponent());
        body.put_bits(TRANSPORT, RELIABLE_CONNECTION);
        body.put_flag(END_TO_END, NO_END_TO_END);
        body.put(STARTING_PSN, self.starting_psn.to_be_bytes());
        body.put_bits(LOCAL_TIMEOUT, self.local_timeout.exponent());
        body.put_bits(RETRIES, self.retries);
        body.put(PARTITION_KEY, PARTITION_DEFAULT.to_be_bytes());
        body.put_bits(MTU, mtu_code(self.mtu));
        body.put_bits(RNR_RETRIES, self.rnr_retries);
        body.put_bits(CM_RETRIES, self.cm_retries);
        body.put_flag(SHARED_RECEIVES, self.shared_receives);
        self.write_path(body);
        body.put(PRIVATE_DATA, self.private_data);
    }

    fn write_path(&self, body: &mut BodyMut<'_>) {
        body.put(SENDER_LID, LID_PERMISSIVE.to_be_bytes());
        body.put(RECEIVER_LID, LID_PERMISSIVE.to_be_bytes());
        body.put(SENDER_GID, self.sender.0);
        body.put(RECEIVER_GID, self.receiver.0);
        body.put(FLOW_LABEL, [0; 3]);
        body.put_bits(RATE, 0);
        body.put(TRAFFIC_CLASS, [0]);
        body.put(HOP_LIMIT, [HOPS]);
        body.put_flag(SUBNET_LOCAL, false);
        body.put_bits(ACK_TIMEOUT, self.ack_timeout.exponent());
    }
}

/// Names the sender's part, whatever else is in the request.
pub(super) fn local_id(body: Body<'_>) -> CommunicationId {
    CommunicationId::new(body.u32(LOCAL_ID))
}

/// What the request wants to be connected to, whatever else is in it.
pub(super) fn service(body: Body<'_>) -> ServiceId {
    ServiceId(body.u64(SERVICE_ID))
}
