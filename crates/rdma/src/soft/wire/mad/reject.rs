//! REJ and MRA: a rejection, and the receipt that asks for patience (12.6.7, 12.6.6).

use super::bytes::{Bits, Body, BodyMut};
use super::reason::RejectReason;
use super::value::{About, CommunicationId, Guid, Timeout, mtu_code, mtu_of_code};
use crate::PathMtu;

/// Bytes of private data of a rejection.
pub const REJECT_PRIVATE_BYTES: usize = 148;
/// Bytes of additional information in a rejection.
pub const ADDITIONAL_BYTES: usize = 72;

const LOCAL_ID: usize = 0;
const REMOTE_ID: usize = 4;
const ABOUT: Bits = Bits::new(8, 6, 2);
const ADDITIONAL_LENGTH: Bits = Bits::new(9, 1, 7);
const REASON: usize = 10;
const ADDITIONAL: usize = 12;
const PRIVATE_DATA: usize = 84;
const SERVICE_TIMEOUT: Bits = Bits::new(9, 3, 5);

/// What a rejection says besides its reason: by the reason a GUID, a GID, an MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Additional {
    bytes: [u8; ADDITIONAL_BYTES],
    length: u8,
}

impl Additional {
    /// Nothing.
    pub const NONE: Self = Self { bytes: [0; ADDITIONAL_BYTES], length: 0 };

    fn new<const N: usize>(value: [u8; N]) -> Self {
        let mut additional = Self::NONE;
        for (byte, value) in additional.bytes.iter_mut().zip(value) {
            *byte = value;
            additional.length += 1;
        }
        additional
    }

    /// Who waited in vain: with [`RejectReason::Timeout`].
    #[must_use]
    pub fn of_guid(guid: Guid) -> Self {
        Self::new(guid.0.to_be_bytes())
    }

    /// The largest MTU that is accepted: with [`RejectReason::InvalidMtu`].
    #[must_use]
    pub fn of_mtu(mtu: PathMtu) -> Self {
        Self::new([mtu_code(mtu)])
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&self.bytes)
    }

    /// The bytes as a GUID.
    #[must_use]
    pub fn guid(&self) -> Option<Guid> {
        self.bytes().first_chunk().map(|bytes| Guid(u64::from_be_bytes(*bytes)))
    }

    /// The bytes as an MTU.
    #[must_use]
    pub fn mtu(&self) -> Option<PathMtu> {
        self.bytes().first().and_then(|code| mtu_of_code(*code))
    }
}

/// A rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Names the sender's part of the connection; unknown if it has none yet.
    pub local_id: CommunicationId,
    /// Names the receiver's part; unknown if the sender never heard of it.
    pub remote_id: CommunicationId,
    /// The message that is rejected.
    pub about: About,
    /// Why.
    pub reason: RejectReason,
    /// What belongs to the reason.
    pub additional: Additional,
    /// The user's bytes.
    pub private_data: [u8; REJECT_PRIVATE_BYTES],
}

impl Rejection {
    pub(super) fn read(body: Body<'_>) -> Self {
        Self {
            local_id: CommunicationId::new(body.u32(LOCAL_ID)),
            remote_id: CommunicationId::new(body.u32(REMOTE_ID)),
            about: About::of_code(body.bits(ABOUT)),
            reason: RejectReason::from(body.u16(REASON)),
            additional: Additional { bytes: body.array(ADDITIONAL), length: body.bits(ADDITIONAL_LENGTH) },
            private_data: body.array(PRIVATE_DATA),
        }
    }

    pub(super) fn write(&self, body: &mut BodyMut<'_>) {
        body.put(LOCAL_ID, self.local_id.value().to_be_bytes());
        body.put(REMOTE_ID, self.remote_id.value().to_be_bytes());
        body.put_bits(ABOUT, self.about.code());
        body.put_bits(ADDITIONAL_LENGTH, self.additional.length);
        body.put(REASON, u16::from(self.reason).to_be_bytes());
        body.put(ADDITIONAL, self.additional.bytes);
        body.put(PRIVATE_DATA, self.private_data);
    }
}

/// A receipt: the message has come, the answer takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Names the sender's part of the connection; unknown if it has none yet.
    pub local_id: CommunicationId,
    /// Names the receiver's part.
    pub remote_id: CommunicationId,
    /// The message that has come.
    pub about: About,
    /// How long the answer takes at most.
    pub service_timeout: Timeout,
}

impl Receipt {
    pub(super) fn read(body: Body<'_>) -> Self {
        Self {
            local_id: CommunicationId::new(body.u32(LOCAL_ID)),
            remote_id: CommunicationId::new(body.u32(REMOTE_ID)),
            about: About::of_code(body.bits(ABOUT)),
            service_timeout: Timeout::of_exponent(body.bits(SERVICE_TIMEOUT)),
        }
    }

    pub(super) fn write(&self, body: &mut BodyMut<'_>) {
        body.put(LOCAL_ID, self.local_id.value().to_be_bytes());
        body.put(REMOTE_ID, self.remote_id.value().to_be_bytes());
        body.put_bits(ABOUT, self.about.code());
        body.put_bits(SERVICE_TIMEOUT, self.service_timeout.exponent());
    }
}
