//! What Identify returns (Base and NVM, Identify Data Structures). Each structure has 4096 bytes.

mod command_set;
mod controller;
mod controller_flags;
mod descriptors;
mod lists;
mod namespace;
mod namespace_fields;

pub use command_set::{ExtendedLbaFormat, IndependentNamespace, NvmController, NvmNamespace};
pub use controller::{IdentifyController, PowerScale, PowerState, QueueEntrySizes};
pub use controller_flags::{
    AdminCommands, AnaCapabilities, ControllerAttributes, ControllerType, FormatAttributes, FusedOperations,
    LogAttributes, MultiPath, NvmCommands, SglAlignment, SglSupport, VolatileWriteCache,
};
pub use descriptors::{DescriptorError, NamespaceIds};
pub use lists::{NSIDS_MAX, NamespaceList};
pub use namespace::IdentifyNamespace;
pub use namespace_fields::{
    DeallocateFeatures, FormattedLba, LbaFormat, NamespaceAttributes, NamespaceFeatures, NamespaceSharing,
    NamespaceStatus, ReadAfterDeallocate, ReservationCapabilities,
};

/// The size of every structure that Identify returns, in bytes.
pub const IDENTIFY_BYTES: usize = 4096;

#[cfg(test)]
mod tests;
