//! The sockets of one address: one for each shard, all on the port of RoCEv2.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_reuseport,
    set_socket_send_buffer_size, set_socket_send_buffer_size_force, socket_recv_buffer_size,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use super::handover::Handover;
use super::interface::{Interface, interface_of};
use super::steering::{SHARDS_MAX, program};
use super::sys::options::{Switch, steer, switch_on};
use super::udp_link::UdpLink;
use super::watch::Watch;
use crate::device::DeviceEvent;
use crate::error::{DevicesError, OpenError};
use crate::soft::wire::UDP_PORT;

/// What each socket asks for as its buffers; the system's maximum is what it gets without privilege.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The sockets of one address. They live as long as this: closing one would renumber the others for the steering.
///
/// The port belongs to one owner. The first socket is bound without `SO_REUSEPORT`, which the kernel refuses if anybody
/// has the port, and so every owner of our kind excludes every other, in any process; the rest then join it. (A lock
/// beside the port was rejected: it would say nothing about others who have it, as rdma_rxe does.) A stranger of the same
/// user who joins later gets no packets, for the steering names our sockets only.
pub struct PortSet {
    address: IpAddr,
    interface: Interface,
    shards: Box<[Shard]>,
    watch: Mutex<Watch>,
    suspect: AtomicBool,
}

struct Shard {
    socket: OwnedFd,
    handover: Handover,
    taken: AtomicBool,
}

impl PortSet {
    /// Takes the port at an address of this machine, with so many sockets (1 to [`SHARDS_MAX`]).
    pub fn open(address: IpAddr, shards: u16) -> Result<Arc<Self>, OpenError> {
        let address = address.to_canonical();
        if shards == 0 || shards > SHARDS_MAX {
            let most = format!("between 1 and {SHARDS_MAX} endpoints can share an address, not {shards}");
            return Err(OpenError::Unfit(most));
        }
        if matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()) {
            return Err(OpenError::Unfit(format!("{address} is link-local, and names no interface")));
        }
        let found = interface_of(address).map_err(DevicesError::System)?;
        let interface = found.ok_or(OpenError::NoDevice { provider: "soft", address })?;
        let shards: Box<[Shard]> = sockets(address, shards)?
            .into_iter()
            .map(|socket| Ok(Shard { socket, handover: Handover::new()?, taken: AtomicBool::new(false) }))
            .collect::<io::Result<_>>()
            .map_err(|source| OpenError::System { what: "an eventfd", source })?;
        let watch = Mutex::new(Watch::new(address, interface.state));
        Ok(Arc::new(Self { address, interface, shards, watch, suspect: AtomicBool::new(false) }))
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The interface that has the address, as it was when this was opened.
    #[must_use]
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Number of sockets.
    #[must_use]
    pub fn shards(&self) -> u16 {
        // At most `SHARDS_MAX`.
        u16::try_from(self.shards.len()).unwrap_or(SHARDS_MAX)
    }

    /// The link of a shard, which one at a time can have: `None` if somebody has it, or there is no such shard. It comes back
    /// when the link is dropped. Packets that arrive while nobody has it wait in the socket, as far as there is room.
    pub fn link(self: &Arc<Self>, shard: u16) -> Result<Option<UdpLink>, OpenError> {
        let Some(entry) = self.shards.get(usize::from(shard)) else { return Ok(None) };
        if entry.taken.swap(true, Ordering::AcqRel) {
            return Ok(None);
        }
        // From here on the link's drop lets go of the shard.
        UdpLink::new(ShardHandle { ports: Arc::clone(self), shard }).map(Some)
    }

    /// Where packets for a shard are left that others have received. `None` if there is no such shard.
    #[must_use]
    pub fn handover(&self, shard: u16) -> Option<&Handover> {
        self.shards.get(usize::from(shard)).map(|shard| &shard.handover)
    }

    /// What a shard's socket can hold before packets are lost, in bytes as the kernel counts them: more than the packets'.
    #[must_use]
    pub fn receive_buffer_bytes(&self) -> usize {
        self.shards.first().and_then(|shard| socket_recv_buffer_size(&shard.socket).ok()).unwrap_or_default()
    }

    /// The next change of the port's or the address's state.
    #[must_use]
    pub fn poll_event(&self) -> Option<DeviceEvent> {
        let suspect = self.suspect.swap(false, Ordering::AcqRel);
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).poll(suspect)
    }
}

/// One shard, had by one link.
pub(super) struct ShardHandle {
    ports: Arc<PortSet>,
    shard: u16,
}

impl ShardHandle {
    pub(super) fn address(&self) -> IpAddr {
        self.ports.address
    }

    #[inline]
    pub(super) fn number(&self) -> u16 {
        self.shard
    }

    #[inline]
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.ports.shards[usize::from(self.shard)].socket.as_fd()
    }

    #[inline]
    pub(super) fn handover(&self) -> &Handover {
        &self.ports.shards[usize::from(self.shard)].handover
    }

    /// The hand-over of another shard, by the number that a packet tells; `None` if it is this one or there is none.
    #[inline]
    pub(super) fn other(&self, shard: u32) -> Option<&Handover> {
        if shard == u32::from(self.shard) {
            return None;
        }
        self.ports.shards.get(shard as usize).map(|shard| &shard.handover)
    }

    /// Sending has failed in a way that hints at a change of the interface or the address.
    pub(super) fn suspect(&self) {
        self.ports.suspect.store(true, Ordering::Release);
    }
}

impl Drop for ShardHandle {
    fn drop(&mut self) {
        self.ports.shards[usize::from(self.shard)].taken.store(false, Ordering::Release);
    }
}

fn sockets(address: IpAddr, shards: u16) -> Result<Vec<OwnedFd>, OpenError> {
    let mut sockets = vec![bound(address, false)?];
    if shards > 1 {
        set_socket_reuseport(&sockets[0], true).map_err(|why| system("SO_REUSEPORT", why))?;
        for _ in 1..shards {
            sockets.push(bound(address, true)?);
        }
        steer(sockets[0].as_fd(), &program(shards))
            .map_err(|source| OpenError::System { what: "SO_ATTACH_REUSEPORT_CBPF", source })?;
    }
    Ok(sockets)
}

fn bound(address: IpAddr, join: bool) -> Result<OwnedFd, OpenError> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(family, SocketType::DGRAM, flags, None).map_err(|why| system("a UDP socket", why))?;
    if join {
        set_socket_reuseport(&socket, true).map_err(|why| system("SO_REUSEPORT", why))?;
    }
    prepare(&socket, address)?;
    bind(&socket, &SocketAddr::new(address, UDP_PORT)).map_err(|why| match why {
        Errno::ADDRINUSE => OpenError::PortTaken { address },
        Errno::ADDRNOTAVAIL => OpenError::NoDevice { provider: "soft", address },
        why => system("binding UDP port 4791", why),
    })?;
    Ok(socket)
}

fn prepare(socket: &OwnedFd, address: IpAddr) -> Result<(), OpenError> {
    match address {
        IpAddr::V4(_) => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DO),
        IpAddr::V6(_) => set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DO),
    }
    .map_err(|why| system("IP_MTU_DISCOVER", why))?;
    if address.is_ipv6() {
        switch_on(socket.as_fd(), Switch::NoCheck6Rx)
            .map_err(|source| OpenError::System { what: "UDP_NO_CHECK6_RX", source })?;
    }
    if let Err(why) = switch_on(socket.as_fd(), Switch::Gro) {
        tracing::info!("the kernel has no UDP_GRO ({why}): receiving costs more");
    }
    // Larger buffers are welcome and not necessary.
    let _ = set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER_BYTES)
        .or_else(|_| set_socket_recv_buffer_size(socket, SOCKET_BUFFER_BYTES));
    let _ = set_socket_send_buffer_size_force(socket, SOCKET_BUFFER_BYTES)
        .or_else(|_| set_socket_send_buffer_size(socket, SOCKET_BUFFER_BYTES));
    Ok(())
}

fn system(what: &'static str, why: Errno) -> OpenError {
    OpenError::System { what, source: why.into() }
}
