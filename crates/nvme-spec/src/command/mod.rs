//! Commands: what the bytes of a submission queue entry ask for.
//!
//! A host builds a value and takes its [`Sqe`] with `sqe(cid)`, then sets the data pointer. A controller gets
//! the value back with `TryFrom<&Sqe>`, whose error is the status to answer with. Whether the namespace, the
//! queue or the blocks exist is the controller's to check.

mod admin;
mod block_io;
mod dataset;
mod feature;
mod identify;
mod log_page;
mod nvm;
mod opcode;
mod queue;
mod reservation;

use crate::sqe::Sqe;
use crate::status::{Status, StatusCode};

pub use admin::AdminCommand;
pub use block_io::{BlockIo, IoControl, ProtectionTags};
pub use dataset::{DatasetManagement, DsmAttributes, DsmRange, RangeCount};
pub use feature::{FeatureId, GetFeatures, Select, SetFeatures};
pub use identify::{Cns, CommandSetId, Identify};
pub use log_page::{DwordCount, GetLogPage, LogPageId};
pub use nvm::NvmCommand;
pub use opcode::{AdminOpcode, DataDirection, FABRICS_OPCODE, FabricsType, NvmOpcode, UnknownOpcode};
pub use queue::{CreateIoCq, CreateIoSq, QueuePriority, QueueSize};
pub use reservation::{
    AcquireAction, PersistChange, RegisterAction, ReleaseAction, ReservationAcquire, ReservationRegister,
    ReservationRelease, ReservationReport,
};

const INVALID_FIELD: Status = Status::permanent(StatusCode::INVALID_FIELD);
const INVALID_OPCODE: Status = Status::permanent(StatusCode::INVALID_OPCODE);

/// Reserved values of FUSE and PSDT are invalid fields in any command (Base, Command Dword 0).
fn check_common(sqe: &Sqe) -> Result<(), Status> {
    if sqe.fuse().is_some() && sqe.psdt().is_some() { Ok(()) } else { Err(INVALID_FIELD) }
}

/// A one-byte code that has names for some values and may have any.
macro_rules! named_codes {
    ($(#[$doc:meta])* $name:ident { $($constant:ident = $code:literal, $words:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u8);

        impl $name {
            $(
                #[doc = concat!($words, ", ", stringify!($code), ".")]
                pub const $constant: Self = Self($code);
            )*
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.0 {
                    $($code => f.write_str($words),)*
                    other => write!(f, "{other:#04x}"),
                }
            }
        }
    };
}
pub(crate) use named_codes;

#[cfg(test)]
mod tests;
