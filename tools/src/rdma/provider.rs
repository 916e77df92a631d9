//! The provider: chosen once, and everything behind it is compiled for it.

use std::io::{self, Write};
use std::net::IpAddr;

use rdma::soft::Soft;
use rdma::{DeviceInfo, DevicesError, Provider, ProviderChoice, ProviderKind};

use super::error::RdmaError;

/// What is done with whichever provider was chosen.
pub trait Task {
    /// What comes of it.
    type Output;

    /// Does it.
    fn run<P: Provider>(self, provider: &P) -> Result<Self::Output, RdmaError>;
}

/// Chooses the provider for an address of this machine, says which and why, and does the task with it.
pub fn with_provider<T: Task>(
    choice: ProviderChoice,
    address: IpAddr,
    task: T,
) -> Result<T::Output, RdmaError> {
    let chosen = choice.choose(address, verbs_devices);
    // Nothing is to be done if nobody reads it.
    let _ = writeln!(io::stderr(), "remora: provider {chosen}");
    match chosen.kind {
        ProviderKind::Soft => task.run(&Soft),
        ProviderKind::Verbs => with_verbs(task),
    }
}

/// The RDMA devices of this machine.
#[cfg(feature = "verbs")]
pub fn verbs_devices() -> Result<Vec<DeviceInfo>, DevicesError> {
    rdma::verbs::Verbs.devices()
}

#[cfg(feature = "verbs")]
fn with_verbs<T: Task>(task: T) -> Result<T::Output, RdmaError> {
    task.run(&rdma::verbs::Verbs)
}

/// The RDMA devices of this machine.
#[cfg(not(feature = "verbs"))]
pub fn verbs_devices() -> Result<Vec<DeviceInfo>, DevicesError> {
    let reason = "this program was built without it".to_owned();
    Err(DevicesError::Library { library: "libibverbs", reason })
}

#[cfg(not(feature = "verbs"))]
fn with_verbs<T: Task>(_task: T) -> Result<T::Output, RdmaError> {
    Err(RdmaError::NotBuilt("libibverbs"))
}
