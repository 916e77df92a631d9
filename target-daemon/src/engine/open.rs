//! From addresses to ports: which RDMA device serves which, one endpoint for each reactor.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use block::Waker;
use rdma::soft::Soft;
use rdma::{Device, DeviceOptions, EndpointOptions, Provider, ProviderChoice, ProviderTask, verbs_devices};

use super::error::EngineError;
use crate::reactor::{Buffers, DevicePort, Inboxes, Port, QUEUE_PAIRS_MAX};

/// Completions of an endpoint that wait to be polled.
const COMPLETIONS_MAX: u32 = 64 << 10;

/// The ports of one listener address, by reactor.
pub(super) type Ports = Vec<Box<dyn Port>>;

/// What the reactors have that devices must know.
pub(super) struct Crew<'a> {
    pub(super) wakers: &'a [Waker],
    pub(super) buffers: &'a [Buffers],
}

/// Addresses to listen at, each with its ports.
pub(super) type Addresses = BTreeMap<IpAddr, BTreeSet<u16>>;

/// What was named, and what a wildcard has become: the other addresses of this machine that RDMA may be able to use.
pub(super) fn addresses(
    listeners: &[SocketAddr],
    provider: ProviderChoice,
) -> Result<(Addresses, Addresses), EngineError> {
    let (mut named, mut found) = (Addresses::new(), Addresses::new());
    for listener in listeners.iter().filter(|listener| !listener.ip().is_unspecified()) {
        named.entry(listener.ip().to_canonical()).or_default().insert(listener.port());
    }
    for listener in listeners.iter().filter(|listener| listener.ip().is_unspecified()) {
        let of_its_family = |address: &IpAddr| address.is_ipv4() || listener.is_ipv6();
        for address in all_addresses(provider).into_iter().filter(of_its_family) {
            let map = if named.contains_key(&address) { &mut named } else { &mut found };
            map.entry(address).or_default().insert(listener.port());
        }
    }
    if named.is_empty() && found.is_empty() { Err(EngineError::NoListener) } else { Ok((named, found)) }
}

/// All addresses of this machine.
fn all_addresses(provider: ProviderChoice) -> Vec<IpAddr> {
    let soft =
        if provider == ProviderChoice::Verbs { Vec::new() } else { Soft.devices().unwrap_or_default() };
    let verbs =
        if provider == ProviderChoice::Soft { Vec::new() } else { verbs_devices().unwrap_or_default() };
    let mut all: Vec<IpAddr> = soft.into_iter().chain(verbs).flat_map(|device| device.addresses).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Opens the device of an address and makes an endpoint of it for each reactor; the first one listens.
pub(super) fn open(
    address: IpAddr,
    ports: &BTreeSet<u16>,
    provider: ProviderChoice,
    crew: &Crew<'_>,
) -> Result<Ports, EngineError> {
    let chosen = provider.choose_for(address);
    tracing::info!(%address, provider = %chosen, "opening");
    chosen.kind.run(Opening { address, ports, crew })?
}

struct Opening<'a> {
    address: IpAddr,
    ports: &'a BTreeSet<u16>,
    crew: &'a Crew<'a>,
}

impl ProviderTask for Opening<'_> {
    type Output = Result<Ports, EngineError>;

    fn run<P: Provider>(self, provider: &P) -> Self::Output {
        let Self { address, ports, crew } = self;
        let endpoints_max = u16::try_from(crew.wakers.len()).unwrap_or(u16::MAX);
        let options = DeviceOptions { endpoints_max, mtu: None };
        let device =
            provider.open(address, &options).map_err(|source| EngineError::Open { address, source })?;
        for region in crew.buffers.iter().flat_map(Buffers::all_regions) {
            device.attach_memory(region).map_err(|source| EngineError::Attach { address, source })?;
        }
        let inboxes = Arc::new(Inboxes::new(crew.wakers.iter().cloned()));
        let limits = device.info().limits;
        let options = EndpointOptions {
            queue_pairs_max: QUEUE_PAIRS_MAX.min(limits.queue_pairs_max),
            completions_max: COMPLETIONS_MAX.min(limits.completions_max),
        };
        let mut made = Ports::new();
        for reactor in 0..endpoints_max {
            let endpoint =
                device.endpoint(&options).map_err(|source| EngineError::Create { address, source })?;
            let mut one = DevicePort::new(device.clone(), endpoint, Arc::clone(&inboxes), reactor);
            for port in ports.iter().filter(|_| reactor == 0) {
                let address = SocketAddr::new(address, *port);
                one.listen(*port).map_err(|source| EngineError::Listen { address, source })?;
            }
            made.push(Box::new(one));
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn ports_of_one_address_share_its_device() {
        let asked = listeners(&["127.0.0.9:4420", "127.0.0.9:8009", "127.0.0.10:4420", "127.0.0.9:4420"]);
        let (named, found) = addresses(&asked, ProviderChoice::Soft).unwrap();
        let (first, second) = (asked[0].ip(), asked[2].ip());
        assert_eq!(named, [(first, [4420, 8009].into()), (second, [4420].into())].into());
        assert!(found.is_empty());
    }

    #[test]
    fn a_wildcard_is_every_address_of_the_machine() {
        let asked = listeners(&["0.0.0.0:4420", "127.0.0.1:8009"]);
        let (named, found) = addresses(&asked, ProviderChoice::Soft).unwrap();
        assert_eq!(
            named,
            [(asked[1].ip(), [4420, 8009].into())].into(),
            "the loopback address is one of them"
        );
        assert!(found.keys().all(|address| address.is_ipv4() && !address.is_unspecified()));
        assert!(matches!(addresses(&[], ProviderChoice::Soft), Err(EngineError::NoListener)));
    }
}
