//! Soft devices and their provider.

use std::net::IpAddr;
use std::sync::Arc;

use dma::{AttachError, Region};
use rand::Rng;

use super::endpoint::{LIMITS, Links, Shared, SoftEndpoint};
use super::link::Arrived;
use super::udp::{PortSet, UdpLink, interfaces};
use crate::{
    CreateError, Device, DeviceEvent, DeviceInfo, DeviceOptions, DevicesError, EndpointOptions, OpenError,
    PathMtu, Provider,
};

/// The provider's name.
const NAME: &str = "soft";

/// RoCEv2 in userspace, on every interface of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Soft;

impl Provider for Soft {
    type Device = SoftDevice<Arc<PortSet>>;

    fn name(&self) -> &'static str {
        NAME
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>, DevicesError> {
        let interfaces = interfaces().map_err(DevicesError::System)?;
        let info = |interface: super::udp::Interface| {
            let mtu = interface.mtu?;
            let (name, addresses, state) = (interface.name, interface.addresses, interface.state);
            Some(DeviceInfo { name, provider: NAME, addresses, guid: 0, mtu, state, limits: LIMITS })
        };
        Ok(interfaces.into_iter().filter_map(info).collect())
    }

    fn open(&self, address: IpAddr, options: &DeviceOptions) -> Result<Self::Device, OpenError> {
        let shards = options.endpoints_max.saturating_add(1);
        let ports = PortSet::open(address, shards)?;
        let interface = ports.interface().clone();
        let Some(mtu) = interface.mtu else {
            let narrow = format!("{} is too narrow: not even 256 bytes of payload fit", interface.name);
            return Err(OpenError::Unfit(narrow));
        };
        let mut random = rand::rng();
        let info = DeviceInfo {
            name: interface.name,
            provider: NAME,
            addresses: interface.addresses,
            guid: random.next_u64(),
            mtu: options.mtu.map_or(mtu, |wanted: PathMtu| wanted.min(mtu)),
            state: interface.state,
            limits: LIMITS,
        };
        SoftDevice::new(ports, address.to_canonical(), info, random.next_u64())
    }
}

impl Links for Arc<PortSet> {
    type Link = UdpLink;

    fn shards(&self) -> u16 {
        PortSet::shards(self)
    }

    fn link(&self, shard: u16) -> Result<Option<UdpLink>, OpenError> {
        PortSet::link(self, shard)
    }

    fn hand_over(&self, shard: u16, arrived: Arrived<'_>) -> bool {
        self.handover(shard).is_some_and(|handover| handover.offer(arrived))
    }

    fn poll_event(&self) -> Option<DeviceEvent> {
        PortSet::poll_event(self)
    }
}

/// An opened soft device: links and what its endpoints share.
pub struct SoftDevice<K: Links> {
    shared: Arc<Shared<K>>,
}

impl<K: Links> Clone for SoftDevice<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Links> SoftDevice<K> {
    /// A device on links of any kind. What is random in it follows from the seed.
    pub fn new(links: K, address: IpAddr, info: DeviceInfo, seed: u64) -> Result<Self, OpenError> {
        Ok(Self { shared: Arc::new(Shared::new(links, address, info, seed)?) })
    }

    /// What a soft device can do.
    #[must_use]
    pub const fn limits() -> crate::DeviceLimits {
        LIMITS
    }
}

impl<K: Links> Device for SoftDevice<K> {
    type Endpoint = SoftEndpoint<K>;

    fn info(&self) -> &DeviceInfo {
        &self.shared.info
    }

    fn address(&self) -> IpAddr {
        self.shared.address
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        self.shared.attached.attach(region, &self.shared.info.name)
    }

    fn endpoint(&self, options: &EndpointOptions) -> Result<SoftEndpoint<K>, CreateError> {
        SoftEndpoint::new(Arc::clone(&self.shared), options)
    }

    fn poll_event(&self) -> Option<DeviceEvent> {
        self.shared.links.poll_event()
    }
}
