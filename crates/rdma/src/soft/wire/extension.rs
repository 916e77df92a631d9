//! The headers behind the base transport header (9.3).

use std::time::Duration;

use super::number::{Qpn, from_be_bytes, to_be_bytes};
use super::opcode::Opcode;
use super::packet::PacketError;

/// The credit count that means: no limit is set by credits (9.7.7.2).
pub const CREDITS_UNLIMITED: u8 = 0x1f;

/// Room for the longest extension header: RETH with immediate data.
pub(super) const EXTENSION_BYTES_MAX: usize = 20;

/// RDMA extended transport header: where and how much (9.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reth {
    /// First byte, in the responder's addresses.
    pub address: u64,
    /// The responder's key.
    pub key: u32,
    /// Bytes of the whole message.
    pub bytes: u32,
}

/// How long to wait after "receiver not ready": a code of 5 bits (9.7.5.2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RnrTimer(u8);

impl RnrTimer {
    /// Durations by code, in units of 10 us.
    const TENS_OF_US: [u32; 32] = [
        65_536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1_024, 1_536,
        2_048, 3_072, 4_096, 6_144, 8_192, 12_288, 16_384, 24_576, 32_768, 49_152,
    ];

    /// The code's low 5 bits.
    #[inline]
    #[must_use]
    pub const fn new(code: u8) -> Self {
        Self(code & 0x1f)
    }

    /// Below 32. 0 is the longest.
    #[inline]
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// How long to wait at least.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_micros(10 * Self::TENS_OF_US[self.0 as usize] as u64)
    }
}

/// Why a request was not carried out (9.7.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NakCode {
    /// A packet is missing before this one.
    SequenceError = 0,
    /// Malformed, or longer than its receive.
    InvalidRequest = 1,
    /// Key, bounds or rights.
    RemoteAccess = 2,
    /// The responder failed.
    RemoteOperation = 3,
}

/// What an acknowledgement says (9.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syndrome {
    /// All up to this packet was done.
    Ack {
        /// The code of 5 bits for the receives that are left, or [`CREDITS_UNLIMITED`].
        credits: u8,
    },
    /// No receive is posted: send it again after a while.
    ReceiverNotReady {
        /// How long.
        timer: RnrTimer,
    },
    /// It was not done.
    Nak(NakCode),
}

impl Syndrome {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Ack { credits } => credits & 0x1f,
            Self::ReceiverNotReady { timer } => 0x20 | timer.code(),
            Self::Nak(code) => 0x60 | code as u8,
        }
    }

    const fn from_byte(byte: u8) -> Result<Self, PacketError> {
        Ok(match byte {
            0x00..=0x1f => Self::Ack { credits: byte },
            0x20..=0x3f => Self::ReceiverNotReady { timer: RnrTimer::new(byte) },
            0x60 => Self::Nak(NakCode::SequenceError),
            0x61 => Self::Nak(NakCode::InvalidRequest),
            0x62 => Self::Nak(NakCode::RemoteAccess),
            0x63 => Self::Nak(NakCode::RemoteOperation),
            _ => return Err(PacketError::Syndrome(byte)),
        })
    }
}

/// Acknowledgement extended transport header (9.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aeth {
    /// What it says.
    pub syndrome: Syndrome,
    /// Message sequence number: how many messages the responder has completed, modulo 2^24. Only the low 24 bits are sent.
    pub msn: u32,
}

/// Datagram extended transport header (9.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deth {
    /// The key of the destination's queue.
    pub queue_key: u32,
    /// The sender.
    pub source: Qpn,
}

/// What is behind the base transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Nothing.
    None,
    /// Where an RDMA READ or WRITE goes.
    Reth(Reth),
    /// An acknowledgement.
    Aeth(Aeth),
    /// The key to invalidate (IETH).
    Invalidate(u32),
    /// Immediate data.
    Immediate(u32),
    /// Where an RDMA WRITE goes, and immediate data.
    RethImmediate(Reth, u32),
    /// Sender of a datagram.
    Deth(Deth),
}

/// Which extension an operation code has (9.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    None,
    Reth,
    Aeth,
    Invalidate,
    Immediate,
    RethImmediate,
    Deth,
}

impl Kind {
    pub(super) const fn of(opcode: Opcode) -> Self {
        match opcode {
            Opcode::SendFirst
            | Opcode::SendMiddle
            | Opcode::SendLast
            | Opcode::SendOnly
            | Opcode::WriteMiddle
            | Opcode::WriteLast
            | Opcode::ReadResponseMiddle => Self::None,
            Opcode::WriteFirst | Opcode::WriteOnly | Opcode::ReadRequest => Self::Reth,
            Opcode::ReadResponseFirst
            | Opcode::ReadResponseLast
            | Opcode::ReadResponseOnly
            | Opcode::Acknowledge => Self::Aeth,
            Opcode::SendLastInvalidate | Opcode::SendOnlyInvalidate => Self::Invalidate,
            Opcode::SendLastImmediate | Opcode::SendOnlyImmediate | Opcode::WriteLastImmediate => {
                Self::Immediate
            }
            Opcode::WriteOnlyImmediate => Self::RethImmediate,
            Opcode::DatagramSendOnly => Self::Deth,
        }
    }
}

impl Extension {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::None => Kind::None,
            Self::Reth(_) => Kind::Reth,
            Self::Aeth(_) => Kind::Aeth,
            Self::Invalidate(_) => Kind::Invalidate,
            Self::Immediate(_) => Kind::Immediate,
            Self::RethImmediate(..) => Kind::RethImmediate,
            Self::Deth(_) => Kind::Deth,
        }
    }

    /// Takes the extension of `kind` off the front of `bytes`; gives the rest.
    pub(super) fn split(kind: Kind, bytes: &[u8]) -> Result<(Self, &[u8]), PacketError> {
        match kind {
            Kind::None => Ok((Self::None, bytes)),
            Kind::Reth => map_front(bytes, |bytes| Ok(Self::Reth(Reth::from_bytes(bytes)))),
            Kind::Aeth => map_front(bytes, |bytes| Aeth::from_bytes(bytes).map(Self::Aeth)),
            Kind::Invalidate => map_front(bytes, |&bytes| Ok(Self::Invalidate(u32::from_be_bytes(bytes)))),
            Kind::Immediate => map_front(bytes, |&bytes| Ok(Self::Immediate(u32::from_be_bytes(bytes)))),
            Kind::RethImmediate => {
                let (reth, rest) = map_front(bytes, |bytes| Ok(Reth::from_bytes(bytes)))?;
                map_front(rest, |&bytes| Ok(Self::RethImmediate(reth, u32::from_be_bytes(bytes))))
            }
            Kind::Deth => map_front(bytes, |bytes| Ok(Self::Deth(Deth::from_bytes(bytes)))),
        }
    }

    /// Writes it to the front of `into`; gives its length.
    pub(super) fn write(&self, into: &mut [u8; EXTENSION_BYTES_MAX]) -> usize {
        match *self {
            Self::None => 0,
            Self::Reth(reth) => put(into, &reth.to_bytes()),
            Self::Aeth(aeth) => put(into, &aeth.to_bytes()),
            Self::Invalidate(word) | Self::Immediate(word) => put(into, &word.to_be_bytes()),
            Self::RethImmediate(reth, immediate) => {
                let at = put(into, &reth.to_bytes());
                at + put(&mut into[at..], &immediate.to_be_bytes())
            }
            Self::Deth(deth) => put(into, &deth.to_bytes()),
        }
    }
}

fn put(into: &mut [u8], bytes: &[u8]) -> usize {
    into[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
}

fn map_front<const N: usize, T>(
    bytes: &[u8],
    map: impl FnOnce(&[u8; N]) -> Result<T, PacketError>,
) -> Result<(T, &[u8]), PacketError> {
    let (front, rest) = bytes.split_first_chunk().ok_or(PacketError::Truncated)?;
    Ok((map(front)?, rest))
}

impl Reth {
    fn from_bytes(&[a, b, c, d, e, f, g, h, k, l, m, n, s, t, u, v]: &[u8; 16]) -> Self {
        Self {
            address: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            key: u32::from_be_bytes([k, l, m, n]),
            bytes: u32::from_be_bytes([s, t, u, v]),
        }
    }

    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.address.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.key.to_be_bytes());
        bytes[12..].copy_from_slice(&self.bytes.to_be_bytes());
        bytes
    }
}

impl Aeth {
    fn from_bytes(&[syndrome, a, b, c]: &[u8; 4]) -> Result<Self, PacketError> {
        Ok(Self { syndrome: Syndrome::from_byte(syndrome)?, msn: from_be_bytes([a, b, c]) })
    }

    fn to_bytes(self) -> [u8; 4] {
        let [a, b, c] = to_be_bytes(self.msn);
        [self.syndrome.to_byte(), a, b, c]
    }
}

impl Deth {
    fn from_bytes(&[a, b, c, d, _, s, t, u]: &[u8; 8]) -> Self {
        Self { queue_key: u32::from_be_bytes([a, b, c, d]), source: Qpn::from_be_bytes([s, t, u]) }
    }

    fn to_bytes(self) -> [u8; 8] {
        let [a, b, c, d] = self.queue_key.to_be_bytes();
        let [s, t, u] = self.source.to_be_bytes();
        [a, b, c, d, 0, s, t, u]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_syndrome() {
        for byte in 0..=u8::MAX {
            let syndrome = Syndrome::from_byte(byte);
            match byte {
                0..0x20 => assert_eq!(syndrome, Ok(Syndrome::Ack { credits: byte })),
                0x20..0x40 => {
                    assert_eq!(syndrome, Ok(Syndrome::ReceiverNotReady { timer: RnrTimer(byte - 0x20) }));
                }
                0x60..0x64 => {
                    assert!(matches!(syndrome, Ok(Syndrome::Nak(code)) if code as u8 == byte - 0x60))
                }
                _ => assert_eq!(syndrome, Err(PacketError::Syndrome(byte))),
            }
            assert!(syndrome.is_err() || syndrome.map(Syndrome::to_byte) == Ok(byte));
        }
    }

    #[test]
    fn timers_are_as_tabled() {
        let us = |code| RnrTimer::new(code).duration().as_micros();
        assert_eq!((us(0), us(1), us(5), us(14), us(31)), (655_360, 10, 60, 1_280, 491_520));
        assert_eq!(RnrTimer::new(0x2e).code(), 14);
        assert!((1..31).all(|code| us(code) < us(code + 1)));
    }
}
