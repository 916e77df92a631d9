//! Connect: a queue's first command, which makes it part of a controller (Base, Connect Command).

use nvme_spec::command::FabricsType;
use nvme_spec::{CommandId, ControllerId, QueueId, Sqe};
use thiserror::Error;

use super::bytes::{entry, put, u16_at, u32_at};
use super::name::{HostId, NQN_FIELD_BYTES, Nqn, NqnError};

/// The size of the data that goes with a Connect command.
pub const CONNECT_DATA_BYTES: usize = 1024;

const RECORD_FORMAT: usize = 40;
const QUEUE_ID: usize = 42;
const SQ_SIZE: usize = 44;
const ATTRIBUTES: usize = 46;
const KEEP_ALIVE: usize = 48;

const HOST_ID: usize = 0;
const CONTROLLER_ID: usize = 16;
const SUBSYSTEM: usize = 256;
const HOST: usize = 512;

/// What of a Connect was not to our liking: where it begins tells the host (Base, Connect Response, IPO and IATTR).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectField {
    /// QID in the command.
    QueueId,
    /// SQSIZE in the command.
    SubmissionQueueSize,
    /// CATTR in the command.
    Attributes,
    /// KATO in the command.
    KeepAlive,
    /// HOSTID in the data.
    HostId,
    /// CNTLID in the data.
    ControllerId,
    /// SUBNQN in the data.
    SubsystemNqn,
    /// HOSTNQN in the data.
    HostNqn,
}

impl ConnectField {
    const ALL: [Self; 8] = [
        Self::QueueId,
        Self::SubmissionQueueSize,
        Self::Attributes,
        Self::KeepAlive,
        Self::HostId,
        Self::ControllerId,
        Self::SubsystemNqn,
        Self::HostNqn,
    ];

    /// Whether it lies in the data rather than in the command, and at which byte.
    const fn place(self) -> (bool, u16) {
        match self {
            Self::QueueId => (false, 42),
            Self::SubmissionQueueSize => (false, 44),
            Self::Attributes => (false, 46),
            Self::KeepAlive => (false, 48),
            Self::HostId => (true, 0),
            Self::ControllerId => (true, 16),
            Self::SubsystemNqn => (true, 256),
            Self::HostNqn => (true, 512),
        }
    }
}

/// CATTR: what the host wants of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnectAttributes {
    /// Bits 1:0, the priority class under weighted round robin.
    pub priority: u8,
    /// Bit 2: no flow control of the submission queue; SQHD means nothing then.
    pub without_flow_control: bool,
    /// Bit 3: the host may delete this I/O queue by itself, by a Disconnect command.
    pub individual_deletion: bool,
}

impl ConnectAttributes {
    const fn from_raw(raw: u8) -> Self {
        Self {
            priority: raw & 3,
            without_flow_control: raw & 1 << 2 != 0,
            individual_deletion: raw & 1 << 3 != 0,
        }
    }

    const fn raw(self) -> u8 {
        (self.priority & 3)
            | ((self.without_flow_control as u8) << 2)
            | ((self.individual_deletion as u8) << 3)
    }
}

/// The fields of the command itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectCommand {
    /// RECFMT: the format of the data; 0 is the only one there is. Another is answered with Connect Incompatible Format.
    pub record_format: u16,
    /// QID: the queue, 0 for the admin queue.
    pub queue: QueueId,
    /// SQSIZE: entries of the submission queue, less one. 0 is not valid.
    pub sq_size: u16,
    /// CATTR.
    pub attributes: ConnectAttributes,
    /// KATO in milliseconds, for the admin queue; 0 is no keep-alive.
    pub keep_alive_ms: u32,
}

impl ConnectCommand {
    /// Reads the entry of a Connect command: every value means something.
    #[must_use]
    pub fn from_sqe(sqe: &Sqe) -> Self {
        let bytes = sqe.to_bytes();
        Self {
            record_format: u16_at(&bytes, RECORD_FORMAT),
            queue: QueueId(u16_at(&bytes, QUEUE_ID)),
            sq_size: u16_at(&bytes, SQ_SIZE),
            attributes: ConnectAttributes::from_raw(bytes[ATTRIBUTES]),
            keep_alive_ms: u32_at(&bytes, KEEP_ALIVE),
        }
    }

    /// The entry, without data pointer.
    #[must_use]
    pub fn to_sqe(&self, cid: CommandId) -> Sqe {
        entry(FabricsType::Connect.raw(), cid, |bytes| {
            put(bytes, RECORD_FORMAT, self.record_format.to_le_bytes());
            put(bytes, QUEUE_ID, self.queue.0.to_le_bytes());
            put(bytes, SQ_SIZE, self.sq_size.to_le_bytes());
            put(bytes, ATTRIBUTES, [self.attributes.raw()]);
            put(bytes, KEEP_ALIVE, self.keep_alive_ms.to_le_bytes());
        })
    }
}

/// Why Connect data cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnectDataError {
    /// Not [`CONNECT_DATA_BYTES`].
    #[error("{0} bytes of Connect data, not {CONNECT_DATA_BYTES}")]
    Length(usize),
    /// A name is none.
    #[error("{field:?}: {error}")]
    Name {
        /// Whose.
        field: ConnectField,
        /// Why.
        error: NqnError,
    },
}

/// The data that goes with the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectData {
    /// HOSTID.
    pub host_id: HostId,
    /// CNTLID: FFFFh for the admin queue of a new controller; for an I/O queue the controller that it becomes part of.
    pub controller: ControllerId,
    /// SUBNQN.
    pub subsystem: Nqn,
    /// HOSTNQN.
    pub host: Nqn,
}

impl ConnectData {
    /// Reads the data.
    pub fn read(bytes: &[u8]) -> Result<Self, ConnectDataError> {
        let bytes: &[u8; CONNECT_DATA_BYTES] =
            bytes.try_into().map_err(|_| ConnectDataError::Length(bytes.len()))?;
        let name = |at, field| {
            Nqn::from_field(&bytes[at..at + NQN_FIELD_BYTES])
                .map_err(|error| ConnectDataError::Name { field, error })
        };
        let mut host_id = [0; 16];
        host_id.copy_from_slice(&bytes[HOST_ID..CONTROLLER_ID]);
        Ok(Self {
            host_id: HostId(host_id),
            controller: ControllerId(u16_at(bytes, CONTROLLER_ID)),
            subsystem: name(SUBSYSTEM, ConnectField::SubsystemNqn)?,
            host: name(HOST, ConnectField::HostNqn)?,
        })
    }

    /// The data as it lies in memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; CONNECT_DATA_BYTES] {
        let mut bytes = [0; CONNECT_DATA_BYTES];
        put(&mut bytes, HOST_ID, self.host_id.0);
        put(&mut bytes, CONTROLLER_ID, self.controller.0.to_le_bytes());
        self.subsystem.write(&mut bytes[SUBSYSTEM..SUBSYSTEM + NQN_FIELD_BYTES]);
        self.host.write(&mut bytes[HOST..HOST + NQN_FIELD_BYTES]);
        bytes
    }
}

/// Which authentication the controller wants before anything else (AUTHREQ).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AuthenticationRequirement {
    /// ATR: an authentication transaction by NVMe in-band authentication.
    pub transaction: bool,
    /// ASCR: the same over a secure channel.
    pub secure_channel: bool,
}

/// Dword 0 of the response (Base, Connect Response).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectResponse {
    /// With Successful Completion.
    Connected {
        /// CNTLID.
        controller: ControllerId,
        /// AUTHREQ.
        authentication: AuthenticationRequirement,
    },
    /// With Connect Invalid Parameters; `None` if the place is none that we know.
    Invalid(Option<ConnectField>),
}

impl ConnectResponse {
    /// Reads the dword of a response with Successful Completion.
    #[must_use]
    pub const fn connected(dw0: u32) -> Self {
        Self::Connected {
            controller: ControllerId((dw0 & 0xffff) as u16),
            authentication: AuthenticationRequirement {
                transaction: dw0 & 1 << 17 != 0,
                secure_channel: dw0 & 1 << 18 != 0,
            },
        }
    }

    /// Reads the dword of a response with Connect Invalid Parameters.
    #[must_use]
    pub fn invalid(dw0: u32) -> Self {
        let is_there = |field: &ConnectField| Self::Invalid(Some(*field)).dw0() == dw0 & 0x1_ffff;
        Self::Invalid(ConnectField::ALL.into_iter().find(is_there))
    }

    /// The dword.
    #[must_use]
    pub fn dw0(self) -> u32 {
        match self {
            Self::Connected { controller, authentication } => {
                let transaction = u32::from(authentication.transaction) << 17;
                let secure_channel = u32::from(authentication.secure_channel) << 18;
                u32::from(controller.0) | transaction | secure_channel
            }
            Self::Invalid(None) => 0,
            Self::Invalid(Some(field)) => {
                let (in_data, offset) = field.place();
                u32::from(in_data) << 16 | u32::from(offset)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> ConnectCommand {
        ConnectCommand {
            record_format: 0,
            queue: QueueId(0x0102),
            sq_size: 127,
            attributes: ConnectAttributes { without_flow_control: true, ..Default::default() },
            keep_alive_ms: 5000,
        }
    }

    #[test]
    fn the_commands_bytes() {
        let mut bytes = [0; 64];
        bytes[0] = 0x7f;
        bytes[2..5].copy_from_slice(&[0x34, 0x12, 0x01]);
        bytes[42..47].copy_from_slice(&[0x02, 0x01, 127, 0, 0b100]);
        bytes[48..52].copy_from_slice(&[0x88, 0x13, 0, 0]);
        assert_eq!(command().to_sqe(CommandId(0x1234)).to_bytes(), bytes);
        assert_eq!(ConnectCommand::from_sqe(&Sqe::from_bytes(&bytes)), command());
        bytes[40] = 7;
        bytes[46] = 0b1011;
        let read = ConnectCommand::from_sqe(&Sqe::from_bytes(&bytes));
        let attributes =
            ConnectAttributes { priority: 3, without_flow_control: false, individual_deletion: true };
        assert_eq!((read.record_format, read.attributes), (7, attributes));
    }

    #[test]
    fn the_datas_bytes() {
        let data = ConnectData {
            host_id: HostId([9; 16]),
            controller: ControllerId::DYNAMIC,
            subsystem: "nqn.2024-05.com.example:s".parse().unwrap(),
            host: "nqn.2024-05.com.example:h".parse().unwrap(),
        };
        let mut bytes = [0; CONNECT_DATA_BYTES];
        bytes[..16].fill(9);
        bytes[16..18].fill(0xff);
        bytes[256..281].copy_from_slice(b"nqn.2024-05.com.example:s");
        bytes[512..537].copy_from_slice(b"nqn.2024-05.com.example:h");
        assert_eq!(data.to_bytes(), bytes);
        assert_eq!(ConnectData::read(&bytes), Ok(data));
        assert_eq!(ConnectData::read(&bytes[1..]), Err(ConnectDataError::Length(1023)));
        bytes[512] = 0;
        let empty = ConnectDataError::Name { field: ConnectField::HostNqn, error: NqnError::Empty };
        assert_eq!(ConnectData::read(&bytes), Err(empty));
        bytes[256..512].fill(b'x');
        let long = ConnectDataError::Name { field: ConnectField::SubsystemNqn, error: NqnError::TooLong };
        assert_eq!(ConnectData::read(&bytes), Err(long));
    }

    #[test]
    fn responses_say_who_or_what() {
        let authentication = AuthenticationRequirement { transaction: true, secure_channel: false };
        let connected = ConnectResponse::Connected { controller: ControllerId(0x1234), authentication };
        assert_eq!(connected.dw0(), 0x0002_1234);
        assert_eq!(ConnectResponse::connected(0x0002_1234), connected);
        // IATTR 1 (data), IPO 16.
        assert_eq!(ConnectResponse::Invalid(Some(ConnectField::ControllerId)).dw0(), 0x1_0010);
        assert_eq!(ConnectResponse::Invalid(Some(ConnectField::SubmissionQueueSize)).dw0(), 44);
        for field in ConnectField::ALL {
            let response = ConnectResponse::Invalid(Some(field));
            assert_eq!(ConnectResponse::invalid(response.dw0()), response);
        }
        assert_eq!(ConnectResponse::invalid(0x1_0011), ConnectResponse::Invalid(None));
    }
}
