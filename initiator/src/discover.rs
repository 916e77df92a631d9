//! Which subsystems there are: a discovery service is asked, and those that it refers to.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use nvmf::host::discovery::{DiscoveryLog, RdmaEndpoint, ReferralWalk};
use nvmf::host::{Failure, HostOptions};
use nvmf::wire::Nqn;

use crate::admin_client::control;
use crate::error::ConnectError;
use crate::options::RemoteOptions;

/// What one discovery service said.
#[derive(Debug)]
pub struct Service {
    /// Where it is.
    pub address: SocketAddr,
    /// Its log, or why there is none.
    pub log: Result<DiscoveryLog, ConnectError>,
}

/// What discovery services said.
#[derive(Debug)]
pub struct Discovery {
    /// The services that were asked, the first one first.
    pub services: Vec<Service>,
    /// Referrals that were not followed because there were too many.
    pub left_out: usize,
}

impl Discovery {
    /// The NVM subsystems that can be reached over RDMA, each once, in order.
    #[must_use]
    pub fn subsystems(&self) -> Vec<RdmaEndpoint> {
        let mut found = BTreeSet::new();
        for service in &self.services {
            if let Ok(log) = &service.log {
                // Referrals were followed before: here only the subsystems count.
                found.extend(ReferralWalk::new(endpoint(service.address)).read(log));
            }
        }
        found.into_iter().collect()
    }
}

/// Asks the discovery service at an address, and those that it refers to. That the first does not answer is an error; what
/// became of the others is in the result.
pub fn discover(first: SocketAddr, options: &RemoteOptions) -> Result<Discovery, ConnectError> {
    let host = options.discovery()?;
    let mut walk = ReferralWalk::new(endpoint(first));
    let mut services = Vec::new();
    while let Some(service) = walk.next_service() {
        let log = read_log(service.address, options, host.clone());
        match log {
            Ok(ref log) => drop(walk.read(log)),
            Err(error) if services.is_empty() => return Err(error),
            Err(_) => {}
        }
        services.push(Service { address: service.address, log });
    }
    Ok(Discovery { services, left_out: walk.left_out() })
}

fn read_log(
    address: SocketAddr,
    options: &RemoteOptions,
    host: HostOptions,
) -> Result<DiscoveryLog, ConnectError> {
    let control = control(address, options, host)?;
    let log = control.wait_for_log().ok_or(Failure::Silent("the discovery log"))?;
    Ok(log?)
}

fn endpoint(address: SocketAddr) -> RdmaEndpoint {
    RdmaEndpoint { address, subsystem: Nqn::discovery() }
}
