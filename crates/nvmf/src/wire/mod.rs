//! What only fabrics have, as bytes and as meaning.

mod bytes;
mod capsule;
mod connect;
mod disconnect;
mod name;
mod property;
pub mod rdma;

pub use capsule::{CapsuleTooShort, CommandCapsule, ResponseCapsule};
pub use connect::{
    AuthenticationRequirement, CONNECT_DATA_BYTES, ConnectAttributes, ConnectCommand, ConnectData,
    ConnectDataError, ConnectField, ConnectResponse,
};
pub use disconnect::DisconnectCommand;
pub use name::{HostId, NQN_BYTES_MAX, Nqn, NqnError};
pub use property::{PropertyCommandError, PropertyGet, PropertyOffset, PropertySet, PropertySize};
