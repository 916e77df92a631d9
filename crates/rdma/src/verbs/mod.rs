//! RDMA by libibverbs and librdmacm: adapters, and the kernel's soft ones (rxe).
//!
//! The libraries are loaded at run time ([`DevicesError::Library`] says what is missing). C's objects are owned by values
//! that hold what they are made of; unsafe code lives in `library`, `address`, `manager`, `objects`, `queue_pair`, and where
//! work is posted.
//!
//! Beside the contract of [`crate::Endpoint`]:
//! - Requests beyond a backlog wait unanswered, and are handed over when others were answered; beyond a thousand they are
//!   refused.
//! - A path MTU other than the link's cannot be had: the connection manager chooses it.
//! - Waiting for a window to be unbound is bounded; a queue pair that does not get to it in time is put into its error state.

mod address;
mod device;
mod discover;
mod endpoint;
mod hub;
mod library;
mod manager;
mod name;
mod objects;
mod queue_pair;
mod ring;
mod status;

use std::net::IpAddr;

pub use device::VerbsDevice;
pub use endpoint::{VerbsEndpoint, VerbsRequest};

use crate::device::{DeviceInfo, DeviceOptions};
use crate::error::{DevicesError, OpenError};
use crate::provider::Provider;

/// The provider `verbs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verbs;

/// Its name.
const NAME: &str = "verbs";

impl Provider for Verbs {
    type Device = VerbsDevice;

    fn name(&self) -> &'static str {
        NAME
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>, DevicesError> {
        discover::devices()
    }

    fn open(&self, address: IpAddr, options: &DeviceOptions) -> Result<VerbsDevice, OpenError> {
        VerbsDevice::open(address, options)
    }
}
