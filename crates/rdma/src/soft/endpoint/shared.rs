//! What the endpoints of a device share. Nothing of it is on the I/O path.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dma::{AddressTable, AttachError, Attachment, DetachError, Region, RegionId};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::soft::cm::{SHARDS_MAX, Shard};
use crate::soft::link::{Arrived, Link};
use crate::{DeviceEvent, DeviceInfo, ListenError, OpenError};

/// Most ports that a device listens on.
pub(crate) const LISTENERS_MAX: u32 = 64;

/// What an address of the attachment table means for a region that the device knows: nothing but that.
const ATTACHED: u64 = 0;

/// Where a device's links come from: one for each endpoint, and one for the connection manager (shard 0).
pub trait Links: Send + Sync + 'static {
    /// Access to the network. Dropping it gives it back, for the next who asks.
    type Link: Link;

    /// How many there are: one more than endpoints.
    fn shards(&self) -> u16;

    /// The link of a shard; `None` if somebody has it.
    fn link(&self, shard: u16) -> Result<Option<Self::Link>, OpenError>;

    /// Passes a packet on to the link of another shard. `false` if it was dropped.
    fn hand_over(&self, shard: u16, arrived: Arrived<'_>) -> bool;

    /// The next thing that happened to the device.
    fn poll_event(&self) -> Option<DeviceEvent>;
}

/// What the endpoints of a device share.
pub(crate) struct Shared<K: Links> {
    pub(crate) info: DeviceInfo,
    pub(crate) address: IpAddr,
    pub(crate) links: K,
    /// The connection manager's link: packets to queue pair 1 arrive there, and whoever polls routes them.
    pub(crate) management: Mutex<K::Link>,
    pub(crate) attached: Arc<Attached>,
    /// Which shard listens on a port.
    listeners: Mutex<HashMap<u16, u16>>,
    /// What the random numbers of endpoints begin with.
    seeds: Mutex<StdRng>,
}

impl<K: Links> Shared<K> {
    pub(crate) fn new(links: K, address: IpAddr, info: DeviceInfo, seed: u64) -> Result<Self, OpenError> {
        let shards = links.shards();
        if !(2..=u16::from(SHARDS_MAX)).contains(&shards) {
            let most = SHARDS_MAX - 1;
            return Err(OpenError::Unfit(format!("a device has 1 to {most} endpoints")));
        }
        let management = links
            .link(0)?
            .ok_or_else(|| OpenError::Unfit("the connection manager's link is taken".to_owned()))?;
        Ok(Self {
            info,
            address,
            links,
            management: Mutex::new(management),
            attached: Arc::default(),
            listeners: Mutex::default(),
            seeds: Mutex::new(StdRng::seed_from_u64(seed)),
        })
    }

    /// The lowest shard whose link nobody has, with the link.
    pub(crate) fn claim(&self) -> Result<Option<(Shard, K::Link)>, OpenError> {
        for shard in 1..SHARDS_MAX.min(self.links.shards().try_into().unwrap_or(SHARDS_MAX)) {
            if let (Ok(shard), Some(link)) = (Shard::try_from(shard), self.links.link(u16::from(shard))?) {
                return Ok(Some((shard, link)));
            }
        }
        Ok(None)
    }

    pub(crate) fn random(&self) -> StdRng {
        StdRng::from_rng(&mut *lock(&self.seeds))
    }

    pub(crate) fn enter_listener(&self, port: u16, shard: u16) -> Result<(), ListenError> {
        let mut listeners = lock(&self.listeners);
        if listeners.contains_key(&port) {
            return Err(ListenError::PortTaken(port));
        }
        if listeners.len() >= LISTENERS_MAX as usize {
            return Err(ListenError::TooMany(LISTENERS_MAX));
        }
        listeners.insert(port, shard);
        Ok(())
    }

    pub(crate) fn remove_listener(&self, port: u16, shard: u16) {
        let mut listeners = lock(&self.listeners);
        if listeners.get(&port) == Some(&shard) {
            listeners.remove(&port);
        }
    }

    pub(crate) fn listener(&self, port: u16) -> Option<u16> {
        lock(&self.listeners).get(&port).copied()
    }
}

/// Which regions the device knows. Memory is reached through segments, so this only holds users to the contract that real
/// devices need.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    table: AddressTable,
}

impl Attached {
    pub(crate) fn attach(self: &Arc<Self>, region: &Region, device: &str) -> Result<(), AttachError> {
        if region.memory().as_ptr().is_none() {
            return Err(AttachError::NotMappable { device: device.to_owned() });
        }
        if self.table.get(region.id()).is_none() {
            self.table.set(region.id(), ATTACHED);
            let weak: Weak<dyn Attachment> = Arc::downgrade(self) as _;
            region.attached_to(weak);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn knows(&self, region: RegionId) -> bool {
        self.table.get(region).is_some()
    }
}

impl Attachment for Attached {
    fn detach(&self, region: RegionId) -> Result<(), DetachError> {
        self.table.clear(region);
        Ok(())
    }
}

/// No invariant spans a panic in these short sections, so a poisoned lock is taken as it is.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
