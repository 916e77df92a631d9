//! An opened device: the memory it knows, and what happens to it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dma::{AddressTable, AttachError, Attachment, DetachError, DmaBuf, Memory, Region, RegionId, Segment};
use rdma_sys::ibv_device_attr;

use super::NAME;
use super::address::of_this_machine;
use super::discover::{bind, info_of, is_absence};
use super::endpoint::VerbsEndpoint;
use super::hub::Mailbox;
use super::library::Libraries;
use super::manager::{EventChannel, EventKind, duplicate};
use super::objects::{Context, Domain, Registration, RegistrationName};
use super::queue_pair::Piece;
use crate::device::{DeviceEvent, DeviceInfo, DeviceOptions, EndpointOptions};
use crate::error::{CreateError, OpenError};
use crate::provider::Device;

/// `IBV_EVENT_*` that matter here. Those of queue pairs do not: completions and the connection manager tell the same.
const DEVICE_FATAL: u32 = 8;
const PORT_ACTIVE: u32 = 9;
const PORT_ERR: u32 = 10;
const GID_CHANGE: u32 = 18;

/// The vendor that rdma_rxe says it is of.
const RXE_VENDOR: u32 = 0xff_ffff;

/// What a device does in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quirks {
    /// rdma_rxe hands its completions to userspace with the kernel's flag for "with invalidate", 1 << 2. There it means
    /// "checksum is right", which connected queue pairs do not say.
    pub(super) invalidation_has_kernel_flag: bool,
}

/// Most events that wait to be asked for; the oldest go first.
const EVENTS_MAX: usize = 64;

/// A device that was opened at an address. A handle.
#[derive(Clone)]
pub struct VerbsDevice {
    pub(super) inner: Arc<Inner>,
}

/// What the handles share. Dropped from top to bottom: registrations before their domain.
pub(super) struct Inner {
    info: DeviceInfo,
    address: IpAddr,
    port: u8,
    pub(super) attributes: ibv_device_attr,
    /// Each attached region's key for this side's work.
    keys: AddressTable,
    /// Each attached region's registration, for binding windows to it.
    registrations: AddressTable,
    attached: Mutex<BTreeMap<RegionId, Registration>>,
    happened: Mutex<Happened>,
    descriptor: RawFd,
    mailbox: Mailbox,
    pub(super) domain: Arc<Domain>,
    pub(super) context: Arc<Context>,
    /// Where the anchor's events arrive.
    channel: Arc<EventChannel>,
}

#[derive(Default)]
struct Happened {
    events: VecDeque<DeviceEvent>,
    is_address_gone: bool,
    is_removed: bool,
}

impl Happened {
    fn add(&mut self, event: DeviceEvent) {
        match event {
            DeviceEvent::Removed if std::mem::replace(&mut self.is_removed, true) => return,
            DeviceEvent::AddressGone if std::mem::replace(&mut self.is_address_gone, true) => return,
            _ => {}
        }
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// No invariant spans a panic in these short sections, so a poisoned lock is taken as it is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VerbsDevice {
    pub(super) fn open(address: IpAddr, options: &DeviceOptions) -> Result<Self, OpenError> {
        let libraries = Libraries::get()?;
        let none = || OpenError::NoDevice { provider: NAME, address };
        let system = |what| move |source| OpenError::System { what, source };
        let (channel, anchor) = bind(libraries, address).map_err(|error| {
            if is_absence(&error) { none() } else { system("bind to the address")(error) }
        })?;
        let port = anchor.port();
        let context = Arc::new(Context::of(libraries, anchor).ok_or_else(none)?);
        let description = context.describe(port).map_err(system("ask the device what it is"))?;
        let info = info_of(&description, vec![address]);
        if let Some(mtu) = options.mtu.filter(|mtu| *mtu < info.mtu) {
            let (wanted, has) = (mtu.bytes(), info.mtu.bytes());
            let words =
                format!("{} sends packets of {has} bytes, and cannot be told to send {wanted}", info.name);
            return Err(OpenError::Unfit(words));
        }
        let descriptor = context.events_descriptor().map_err(system("watch the device"))?;
        let domain = Domain::new(&context).map_err(system("make a protection domain"))?;
        let inner = Inner {
            info,
            address,
            port,
            attributes: description.device,
            keys: AddressTable::default(),
            registrations: AddressTable::default(),
            attached: Mutex::default(),
            happened: Mutex::default(),
            descriptor,
            mailbox: Mailbox::of(&context),
            domain,
            context,
            channel,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    /// What the device is to be told of a segment; `None` if its region is not attached.
    #[inline]
    pub(super) fn piece(&self, segment: &Segment) -> Option<Piece> {
        let key = u32::try_from(self.keys.get(segment.region())?).ok()?;
        let address = bus_address(segment.memory(), segment.region_offset(), segment.bytes())?;
        Some(Piece { address, bytes: segment.bytes(), key })
    }

    /// What the device is to be told of a buffer; `None` if its region is not attached.
    #[inline]
    pub(super) fn piece_of_buffer(&self, buffer: &DmaBuf) -> Option<Piece> {
        let key = u32::try_from(self.keys.get(buffer.region())?).ok()?;
        let address = bus_address(buffer.memory(), buffer.region_offset(), buffer.bytes())?;
        Some(Piece { address, bytes: buffer.bytes(), key })
    }

    /// The registration that a window onto the segment is bound to.
    pub(super) fn registration(&self, segment: &Segment) -> Option<RegistrationName> {
        self.registrations.get(segment.region()).map(RegistrationName)
    }

    pub(super) fn quirks(&self) -> Quirks {
        Quirks { invalidation_has_kernel_flag: self.attributes.vendor_id == RXE_VENDOR }
    }

    /// Takes in what has happened to the device.
    pub(super) fn look(&self) {
        let mut happened = lock(&self.happened);
        for _ in 0..EVENTS_MAX {
            let Some(event) = self.mailbox.next(&self.context) else { break };
            match event.kind {
                DEVICE_FATAL => happened.add(DeviceEvent::Removed),
                PORT_ACTIVE if event.port == u32::from(self.port) => happened.add(DeviceEvent::PortUp),
                PORT_ERR if event.port == u32::from(self.port) => happened.add(DeviceEvent::PortDown),
                GID_CHANGE if self.is_address_gone() => happened.add(DeviceEvent::AddressGone),
                _ => {}
            }
        }
        for _ in 0..EVENTS_MAX {
            let Ok(Some(event)) = self.channel.next() else { break };
            if event.kind == EventKind::DeviceRemoved {
                happened.add(DeviceEvent::Removed);
            }
        }
    }

    fn is_address_gone(&self) -> bool {
        of_this_machine().is_ok_and(|addresses| !addresses.contains(&self.address))
    }

    /// Descriptors that are readable when something has happened to the device. Copies, as several endpoints of one thread
    /// sleep on them.
    pub(super) fn descriptors(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([duplicate(self.descriptor)?, duplicate(self.channel.descriptor())?])
    }

    fn register(&self, region: &Region) -> io::Result<()> {
        let mut attached = lock(&self.attached);
        if attached.contains_key(&region.id()) {
            return Ok(());
        }
        let registration = Registration::new(&self.domain, region.memory())?;
        self.registrations.set(region.id(), registration.for_windows().0);
        self.keys.set(region.id(), u64::from(registration.local_key()));
        attached.insert(region.id(), registration);
        Ok(())
    }
}

/// The address of memory in work requests, this side's and the peer's: that of the CPU, or the offset in a dma-buf.
#[inline]
pub(super) fn bus_address(memory: &Memory, offset: u64, bytes: u32) -> Option<u64> {
    if memory.dma_buf().is_some() {
        return Some(offset);
    }
    let address = memory.address(offset, bytes as usize).ok()?;
    Some(address.as_ptr().addr() as u64)
}

impl Attachment for Inner {
    fn detach(&self, region: RegionId) -> Result<(), DetachError> {
        let mut attached = lock(&self.attached);
        self.keys.clear(region);
        self.registrations.clear(region);
        let Some(registration) = attached.remove(&region) else { return Ok(()) };
        registration.end().map_err(|kept| {
            attached.insert(region, kept);
            DetachError
        })
    }
}

impl Device for VerbsDevice {
    type Endpoint = VerbsEndpoint;

    fn info(&self) -> &DeviceInfo {
        &self.inner.info
    }

    fn address(&self) -> IpAddr {
        self.inner.address
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        let is_known = self.inner.keys.get(region.id()).is_some();
        self.inner.register(region).map_err(|error| self.refusal(region, &error))?;
        if !is_known {
            let weak: Weak<Inner> = Arc::downgrade(&self.inner);
            region.attached_to(weak);
        }
        Ok(())
    }

    fn endpoint(&self, options: &EndpointOptions) -> Result<VerbsEndpoint, CreateError> {
        VerbsEndpoint::new(self, options)
    }

    fn poll_event(&self) -> Option<DeviceEvent> {
        self.inner.look();
        lock(&self.inner.happened).events.pop_front()
    }
}

impl VerbsDevice {
    fn refusal(&self, region: &Region, error: &io::Error) -> AttachError {
        let device = self.inner.info.name.clone();
        match error.raw_os_error() {
            Some(libc::ENODEV | libc::EIO) => AttachError::Gone { device },
            None => AttachError::NotMappable { device },
            Some(code) => {
                let help = if code == libc::ENOMEM { "; raise `ulimit -l` (LimitMEMLOCK=)" } else { "" };
                AttachError::Refused {
                    device,
                    bytes: region.memory().bytes(),
                    reason: format!("{error}{help}"),
                }
            }
        }
    }
}

impl fmt::Debug for VerbsDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerbsDevice").field("info", &self.inner.info).finish_non_exhaustive()
    }
}
