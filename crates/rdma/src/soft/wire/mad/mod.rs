//! Management datagrams of the connection manager, as bytes and as meaning (InfiniBand Architecture volume 1, chapters 12 and
//! 13.4). They travel in SEND-only datagrams to queue pair 1.

mod bytes;
mod private;
mod reason;
mod reject;
mod reply;
mod request;
mod short;
#[cfg(test)]
mod tests;
mod value;

use thiserror::Error;

use bytes::{Body, BodyMut};

pub use private::{HeaderError, RdmaCmHeader};
pub use reason::RejectReason;
pub use reject::{ADDITIONAL_BYTES, Additional, REJECT_PRIVATE_BYTES, Receipt, Rejection};
pub use reply::{REPLY_PRIVATE_BYTES, Reply};
pub use request::{ConnectionRequest, REQUEST_PRIVATE_BYTES};
pub use short::{DisconnectRequest, Ids};
pub use value::{About, CommunicationId, Gid, Guid, ServiceId, Timeout, TimeoutError, TransactionId};

/// Bytes of every MAD.
pub const MAD_BYTES: usize = 256;
/// The queue key of queue pair 1 (chapter 10.2, the well-known queue key).
pub const QUEUE_KEY: u32 = 0x8001_0000;

/// A MAD.
pub type MadBytes = [u8; MAD_BYTES];

const HEADER_BYTES: usize = 24;
const BASE_VERSION: u8 = 1;
/// The class of communication management (13.4.4).
const CLASS: u8 = 7;
const CLASS_VERSION: u8 = 2;
/// Every message of the connection manager is a Send (chapter 16.7): none is answered by the MAD layer itself.
const METHOD_SEND: u8 = 3;
const TRANSACTION: usize = 8;
const ATTRIBUTE: usize = 16;

/// Which message a MAD carries (chapter 16.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Attribute {
    /// REQ.
    Request = 0x10,
    /// MRA.
    Receipt = 0x11,
    /// REJ.
    Rejection = 0x12,
    /// REP.
    Reply = 0x13,
    /// RTU.
    ReadyToUse = 0x14,
    /// DREQ.
    DisconnectRequest = 0x15,
    /// DREP.
    DisconnectReply = 0x16,
}

impl Attribute {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Request,
        Self::Receipt,
        Self::Rejection,
        Self::Reply,
        Self::ReadyToUse,
        Self::DisconnectRequest,
        Self::DisconnectReply,
    ];

    /// Its name in the standard.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "REQ",
            Self::Receipt => "MRA",
            Self::Rejection => "REJ",
            Self::Reply => "REP",
            Self::ReadyToUse => "RTU",
            Self::DisconnectRequest => "DREQ",
            Self::DisconnectReply => "DREP",
        }
    }
}

impl TryFrom<u16> for Attribute {
    type Error = MadError;

    fn try_from(code: u16) -> Result<Self, MadError> {
        Self::ALL.into_iter().find(|attribute| *attribute as u16 == code).ok_or(MadError::Attribute(code))
    }
}

/// Why bytes are no message that the connection manager takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MadError {
    /// A MAD has 256 bytes.
    #[error("{0} bytes, not {MAD_BYTES}")]
    Length(usize),
    /// Another version of MADs.
    #[error("base version {0}")]
    BaseVersion(u8),
    /// It is for something else than the connection manager.
    #[error("management class {0:#x}")]
    Class(u8),
    /// Another version of the connection manager.
    #[error("class version {0}")]
    ClassVersion(u8),
    /// The connection manager sends, and does nothing else.
    #[error("method {0:#x}")]
    Method(u8),
    /// Service resolution, alternate paths, or nothing known.
    #[error("attribute {0:#x}")]
    Attribute(u16),
    /// A connection request that asks for what cannot be, and deserves an answer.
    #[error("a connection request to be rejected: {reason:?}")]
    Refused {
        /// Its transaction.
        transaction: TransactionId,
        /// Names the sender's part of the connection.
        id: CommunicationId,
        /// What to answer.
        reason: RejectReason,
    },
}

/// A message of the connection manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// REQ: connect.
    Request(ConnectionRequest),
    /// MRA: have patience.
    Receipt(Receipt),
    /// REJ: no.
    Rejection(Rejection),
    /// REP: yes.
    Reply(Reply),
    /// RTU: the reply has come.
    ReadyToUse(Ids),
    /// DREQ: this ends.
    DisconnectRequest(DisconnectRequest),
    /// DREP: it has ended.
    DisconnectReply(Ids),
}

impl Message {
    /// Which message it is.
    #[must_use]
    pub const fn attribute(&self) -> Attribute {
        match self {
            Self::Request(_) => Attribute::Request,
            Self::Receipt(_) => Attribute::Receipt,
            Self::Rejection(_) => Attribute::Rejection,
            Self::Reply(_) => Attribute::Reply,
            Self::ReadyToUse(_) => Attribute::ReadyToUse,
            Self::DisconnectRequest(_) => Attribute::DisconnectRequest,
            Self::DisconnectReply(_) => Attribute::DisconnectReply,
        }
    }
}

/// A MAD of the connection manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mad {
    /// Its transaction.
    pub transaction: TransactionId,
    /// What it says.
    pub message: Message,
}

impl Mad {
    /// Reads the payload of a datagram to queue pair 1.
    pub fn read(bytes: &[u8]) -> Result<Self, MadError> {
        let bytes: &MadBytes = bytes.try_into().map_err(|_| MadError::Length(bytes.len()))?;
        let attribute = check_header(bytes)?;
        let transaction = transaction(bytes);
        let body = Body::new(bytes);
        let message = match attribute {
            Attribute::Request => ConnectionRequest::read(body)
                .map(Message::Request)
                .map_err(|reason| MadError::Refused { transaction, id: request::local_id(body), reason })?,
            Attribute::Receipt => Message::Receipt(Receipt::read(body)),
            Attribute::Rejection => Message::Rejection(Rejection::read(body)),
            Attribute::Reply => Message::Reply(Reply::read(body)),
            Attribute::ReadyToUse => Message::ReadyToUse(Ids::read(body)),
            Attribute::DisconnectRequest => Message::DisconnectRequest(DisconnectRequest::read(body)),
            Attribute::DisconnectReply => Message::DisconnectReply(Ids::read(body)),
        };
        Ok(Self { transaction, message })
    }

    /// The bytes to send.
    #[must_use]
    pub fn write(&self) -> MadBytes {
        let mut bytes = [0; MAD_BYTES];
        bytes[..4].copy_from_slice(&[BASE_VERSION, CLASS, CLASS_VERSION, METHOD_SEND]);
        bytes[TRANSACTION..ATTRIBUTE].copy_from_slice(&self.transaction.0.to_be_bytes());
        let attribute = self.message.attribute() as u16;
        bytes[ATTRIBUTE..ATTRIBUTE + 2].copy_from_slice(&attribute.to_be_bytes());
        let mut body = BodyMut::new(&mut bytes);
        match &self.message {
            Message::Request(message) => message.write(&mut body),
            Message::Receipt(message) => message.write(&mut body),
            Message::Rejection(message) => message.write(&mut body),
            Message::Reply(message) => message.write(&mut body),
            Message::ReadyToUse(message) | Message::DisconnectReply(message) => message.write(&mut body),
            Message::DisconnectRequest(message) => message.write(&mut body),
        }
        bytes
    }
}

/// Who a message is for, found without reading all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Whoever listens for that.
    Service(ServiceId),
    /// The owner of that part of a connection.
    Connection(CommunicationId),
}

impl Recipient {
    /// Who the message is for.
    pub fn read(bytes: &[u8]) -> Result<Self, MadError> {
        let bytes: &MadBytes = bytes.try_into().map_err(|_| MadError::Length(bytes.len()))?;
        let attribute = check_header(bytes)?;
        let body = Body::new(bytes);
        Ok(match attribute {
            Attribute::Request => Self::Service(request::service(body)),
            _ => Self::Connection(Ids::read(body).remote),
        })
    }
}

fn check_header(bytes: &MadBytes) -> Result<Attribute, MadError> {
    let [base_version, class, class_version, method, ..] = *bytes;
    if base_version != BASE_VERSION {
        return Err(MadError::BaseVersion(base_version));
    }
    if class != CLASS {
        return Err(MadError::Class(class));
    }
    if class_version != CLASS_VERSION {
        return Err(MadError::ClassVersion(class_version));
    }
    if method != METHOD_SEND {
        return Err(MadError::Method(method));
    }
    Attribute::try_from(u16::from_be_bytes([bytes[ATTRIBUTE], bytes[ATTRIBUTE + 1]]))
}

fn transaction(bytes: &MadBytes) -> TransactionId {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[TRANSACTION..ATTRIBUTE]);
    TransactionId(u64::from_be_bytes(value))
}
