//! What kind of packet it is (9.2.1).

use thiserror::Error;

/// An operation code that is none of those used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("unknown operation code {0:#04x}")]
pub struct UnknownOpcode(pub u8);

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// The operation codes of reliable connections but for atomics, and the one of unreliable datagrams that connection
        /// management uses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Opcode {
            $($(#[$doc])* $name = $value,)*
        }

        impl Opcode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }

        impl TryFrom<u8> for Opcode {
            type Error = UnknownOpcode;

            #[inline]
            fn try_from(value: u8) -> Result<Self, UnknownOpcode> {
                match value {
                    $($value => Ok(Self::$name),)*
                    unknown => Err(UnknownOpcode(unknown)),
                }
            }
        }
    };
}

opcodes! {
    /// The first of several packets of a SEND.
    SendFirst = 0x00,
    /// Neither the first nor the last packet of a SEND.
    SendMiddle = 0x01,
    /// The last of several packets of a SEND.
    SendLast = 0x02,
    /// The last of several packets of a SEND, with immediate data.
    SendLastImmediate = 0x03,
    /// A SEND of one packet.
    SendOnly = 0x04,
    /// A SEND of one packet, with immediate data.
    SendOnlyImmediate = 0x05,
    /// The first of several packets of an RDMA WRITE.
    WriteFirst = 0x06,
    /// Neither the first nor the last packet of an RDMA WRITE.
    WriteMiddle = 0x07,
    /// The last of several packets of an RDMA WRITE.
    WriteLast = 0x08,
    /// The last of several packets of an RDMA WRITE, with immediate data.
    WriteLastImmediate = 0x09,
    /// An RDMA WRITE of one packet.
    WriteOnly = 0x0a,
    /// An RDMA WRITE of one packet, with immediate data.
    WriteOnlyImmediate = 0x0b,
    /// An RDMA READ request.
    ReadRequest = 0x0c,
    /// The first of several packets of an RDMA READ response.
    ReadResponseFirst = 0x0d,
    /// Neither the first nor the last packet of an RDMA READ response. It has no extension header.
    ReadResponseMiddle = 0x0e,
    /// The last of several packets of an RDMA READ response.
    ReadResponseLast = 0x0f,
    /// An RDMA READ response of one packet.
    ReadResponseOnly = 0x10,
    /// An acknowledgement, also a negative one.
    Acknowledge = 0x11,
    /// The last of several packets of a SEND with invalidate.
    SendLastInvalidate = 0x16,
    /// A SEND with invalidate of one packet.
    SendOnlyInvalidate = 0x17,
    /// A SEND of one packet as an unreliable datagram.
    DatagramSendOnly = 0x64,
}

impl Opcode {
    /// As in the first byte of a packet.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// Whether it goes from a responder to a requester.
    #[inline]
    #[must_use]
    pub const fn is_response(self) -> bool {
        matches!(
            self,
            Self::ReadResponseFirst
                | Self::ReadResponseMiddle
                | Self::ReadResponseLast
                | Self::ReadResponseOnly
                | Self::Acknowledge
        )
    }

    /// Whether such a packet can have a payload.
    #[inline]
    #[must_use]
    pub const fn has_payload(self) -> bool {
        !matches!(self, Self::ReadRequest | Self::Acknowledge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_an_opcode_or_an_error() {
        let known: Vec<u8> = (0..=0x11).chain([0x16, 0x17, 0x64]).collect();
        for value in 0..=u8::MAX {
            let expected = if known.contains(&value) { Ok(value) } else { Err(UnknownOpcode(value)) };
            assert_eq!(Opcode::try_from(value).map(Opcode::value), expected);
        }
        assert_eq!(Opcode::ALL.iter().map(|opcode| opcode.value()).collect::<Vec<_>>(), known);
    }

    #[test]
    fn responses_are_0d_to_11() {
        for opcode in Opcode::ALL {
            assert_eq!(opcode.is_response(), (0x0d..=0x11).contains(&opcode.value()));
            assert_eq!(opcode.has_payload(), ![0x0c, 0x11].contains(&opcode.value()));
        }
    }
}
