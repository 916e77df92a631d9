//! The providers that this program was built with: chosen once, and everything behind the choice is compiled for each.

use std::net::IpAddr;

use thiserror::Error;

use crate::choose::{Chosen, ProviderChoice, ProviderKind};
use crate::device::DeviceInfo;
use crate::error::DevicesError;
use crate::provider::Provider;
use crate::soft::Soft;

/// What is done with whichever provider was chosen. A closure cannot be: it would be compiled for one provider only.
pub trait ProviderTask {
    /// What comes of it.
    type Output;

    /// Does it.
    fn run<P: Provider>(self, provider: &P) -> Self::Output;
}

/// The provider that was asked for is not in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this program was built without {0}")]
pub struct NotBuilt(pub &'static str);

impl ProviderChoice {
    /// Chooses for an address of this machine among the devices that there are.
    #[must_use]
    pub fn choose_for(self, address: IpAddr) -> Chosen {
        self.choose(address, verbs_devices)
    }
}

impl ProviderKind {
    /// Does a task with the provider.
    pub fn run<T: ProviderTask>(self, task: T) -> Result<T::Output, NotBuilt> {
        match self {
            Self::Soft => Ok(task.run(&Soft)),
            Self::Verbs => with_verbs(task),
        }
    }
}

/// The RDMA devices of this machine, as libibverbs lists them.
#[cfg(feature = "verbs")]
pub fn verbs_devices() -> Result<Vec<DeviceInfo>, DevicesError> {
    crate::verbs::Verbs.devices()
}

#[cfg(feature = "verbs")]
fn with_verbs<T: ProviderTask>(task: T) -> Result<T::Output, NotBuilt> {
    Ok(task.run(&crate::verbs::Verbs))
}

/// The RDMA devices of this machine, as libibverbs lists them.
#[cfg(not(feature = "verbs"))]
pub fn verbs_devices() -> Result<Vec<DeviceInfo>, DevicesError> {
    let reason = "this program was built without it".to_owned();
    Err(DevicesError::Library { library: "libibverbs", reason })
}

#[cfg(not(feature = "verbs"))]
fn with_verbs<T: ProviderTask>(_task: T) -> Result<T::Output, NotBuilt> {
    Err(NotBuilt("libibverbs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Name;

    impl ProviderTask for Name {
        type Output = &'static str;

        fn run<P: Provider>(self, provider: &P) -> &'static str {
            provider.name()
        }
    }

    #[test]
    fn a_task_runs_with_the_provider_of_its_kind() {
        assert_eq!(ProviderKind::Soft.run(Name), Ok("soft"));
        let verbs = ProviderKind::Verbs.run(Name);
        assert_eq!(verbs, if cfg!(feature = "verbs") { Ok("verbs") } else { Err(NotBuilt("libibverbs")) });
    }
}
