//! Bits of the protocol.

use bitflags::bitflags;

bitflags! {
    /// What a server can do in the handshake ("Handshake flags").
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct HandshakeFlags: u16 {
        /// The server speaks fixed newstyle: an option that it does not know is no end.
        const FIXED_NEWSTYLE = 1 << 0;
        /// It can leave out the 124 zeroes after `EXPORT_NAME`.
        const NO_ZEROES = 1 << 1;
    }

    /// What a client says of itself ("Client flags"). Unknown bits end the connection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ClientFlags: u32 {
        /// The client speaks fixed newstyle.
        const FIXED_NEWSTYLE = 1 << 0;
        /// It wants no 124 zeroes after `EXPORT_NAME`.
        const NO_ZEROES = 1 << 1;
    }

    /// What an export can do ("Transmission flags").
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TransmissionFlags: u16 {
        /// There are flags; always set.
        const HAS_FLAGS = 1 << 0;
        /// Writes are refused.
        const READ_ONLY = 1 << 1;
        /// It takes `FLUSH`.
        const SEND_FLUSH = 1 << 2;
        /// It takes the flag `FUA`.
        const SEND_FUA = 1 << 3;
        /// Seeks cost time.
        const ROTATIONAL = 1 << 4;
        /// It takes `TRIM`.
        const SEND_TRIM = 1 << 5;
        /// It takes `WRITE_ZEROES`.
        const SEND_WRITE_ZEROES = 1 << 6;
        /// It takes the flag `DF`.
        const SEND_DF = 1 << 7;
        /// Several connections see one device: what one was told to be durable, or has read, holds for all.
        const CAN_MULTI_CONN = 1 << 8;
        /// It takes the flag `FAST_ZERO`.
        const SEND_FAST_ZERO = 1 << 11;
    }

    /// How a command is to be carried out ("Command flags").
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CommandFlags: u16 {
        /// Durable when it is acknowledged.
        const FUA = 1 << 0;
        /// `WRITE_ZEROES` must not give the space back.
        const NO_HOLE = 1 << 1;
        /// `READ`: one chunk only.
        const DF = 1 << 2;
        /// `BLOCK_STATUS`: one extent only.
        const REQ_ONE = 1 << 3;
        /// `WRITE_ZEROES`: fail rather than be as slow as a write.
        const FAST_ZERO = 1 << 4;
    }

    /// What an extent holds, in the context `base:allocation`. No bit: data.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ExtentFlags: u32 {
        /// It takes no space.
        const HOLE = 1 << 0;
        /// It reads as zeroes.
        const ZERO = 1 << 1;
    }
}
