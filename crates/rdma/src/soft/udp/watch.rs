//! Whether a device's address and interface are still there and up.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::interface::interface_of;
use crate::device::{DeviceEvent, PortState};

/// Groups of rtnetlink(7): links, IPv4 addresses, IPv6 addresses.
const GROUPS: u32 = 1 | 0x10 | 0x100;
/// Most announcements thrown away at one look; the rest is for the next.
const ANNOUNCEMENTS_MAX: u32 = 64;

/// What is known of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Active,
    Down,
    Gone,
}

/// Watches one address. The kernel announces changes; what has changed is looked up.
pub(super) struct Watch {
    address: IpAddr,
    /// `None` where rtnetlink is not allowed: changes are then found when sending fails.
    announcements: Option<OwnedFd>,
    port: Port,
}

impl Watch {
    pub(super) fn new(address: IpAddr, state: PortState) -> Self {
        let port = if state == PortState::Active { Port::Active } else { Port::Down };
        let announcements = subscribe();
        if announcements.is_none() {
            tracing::warn!(
                "changes of network interfaces are not announced here: they are found when sending fails"
            );
        }
        Self { address, announcements, port }
    }

    /// The next change. `suspect`: something else hints at one.
    pub(super) fn poll(&mut self, suspect: bool) -> Option<DeviceEvent> {
        if !self.announced() && !suspect {
            return None;
        }
        let found = match interface_of(self.address) {
            Ok(Some(interface)) if interface.state == PortState::Active => Port::Active,
            Ok(Some(_)) => Port::Down,
            Ok(None) => Port::Gone,
            Err(why) => {
                tracing::warn!("the state of {} cannot be found out: {why}", self.address);
                return None;
            }
        };
        change(std::mem::replace(&mut self.port, found), found)
    }

    fn announced(&self) -> bool {
        let Some(socket) = &self.announcements else { return false };
        let mut any = false;
        for _ in 0..ANNOUNCEMENTS_MAX {
            match recv(socket, &mut [0u8; 64], RecvFlags::DONTWAIT) {
                Ok(_) => any = true,
                // Announcements were lost for want of room.
                Err(rustix::io::Errno::NOBUFS) => any = true,
                Err(_) => break,
            }
        }
        any
    }
}

fn change(from: Port, to: Port) -> Option<DeviceEvent> {
    match (from, to) {
        (Port::Active, Port::Active) | (Port::Down, Port::Down) | (Port::Gone, Port::Gone) => None,
        (Port::Down | Port::Gone, Port::Active) => Some(DeviceEvent::PortUp),
        (Port::Active | Port::Gone, Port::Down) => Some(DeviceEvent::PortDown),
        (Port::Active | Port::Down, Port::Gone) => Some(DeviceEvent::AddressGone),
    }
}

fn subscribe() -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).ok()?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS)).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_told_once() {
        use Port::{Active, Down, Gone};
        assert_eq!(change(Active, Down), Some(DeviceEvent::PortDown));
        assert_eq!(change(Gone, Down), Some(DeviceEvent::PortDown));
        assert_eq!(change(Down, Active), Some(DeviceEvent::PortUp));
        assert_eq!(change(Gone, Active), Some(DeviceEvent::PortUp));
        assert_eq!(change(Active, Gone), Some(DeviceEvent::AddressGone));
        assert_eq!(change(Down, Gone), Some(DeviceEvent::AddressGone));
        assert!([Active, Down, Gone].into_iter().all(|port| change(port, port).is_none()));
    }

    #[test]
    fn an_address_that_is_not_there_is_found_gone_on_suspicion() {
        // An address for documentation (RFC 5737), as if it had been there.
        let mut watch = Watch::new([192, 0, 2, 9].into(), PortState::Active);
        assert_eq!(watch.poll(true), Some(DeviceEvent::AddressGone));
        assert_eq!(watch.poll(true), None);
    }
}
