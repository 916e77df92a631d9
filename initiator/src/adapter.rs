//! The RDMA devices that this process has open: one for each local address, since an address has one owner.

use std::any::Any;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rdma::{DeviceOptions, OpenError, Provider, local_addresses};

use crate::error::ConnectError;

/// Most endpoints of an address, which several controllers may share: all that the soft provider can have.
pub(crate) const ENDPOINTS_MAX: u16 = 63;

/// The devices at addresses that were asked for, or that a route led to.
static SHARED: Mutex<Vec<Open>> = Mutex::new(Vec::new());

struct Open {
    provider: &'static str,
    address: IpAddr,
    device: Weak<dyn Any + Send + Sync>,
}

/// Opens a device to reach `peer` from: at the address that was `asked` for, or where the route leads. For a peer on the
/// loopback network it is a free address of it that nobody else gets, with `endpoints` endpoints.
pub(crate) fn open_adapter<P: Provider>(
    provider: &P,
    peer: IpAddr,
    asked: Option<IpAddr>,
    endpoints: u16,
) -> Result<Arc<P::Device>, ConnectError> {
    match local_addresses(peer, asked)?.as_slice() {
        [address] => open_shared(provider, *address),
        candidates => open_free(provider, candidates, endpoints),
    }
}

fn open_shared<P: Provider>(provider: &P, address: IpAddr) -> Result<Arc<P::Device>, ConnectError> {
    // Held while the device is opened, so that two threads do not both try; a panic leaves the list as it was.
    let mut open = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|open| open.device.strong_count() > 0);
    let known = open.iter().find(|open| open.provider == provider.name() && open.address == address);
    let known = known.and_then(|open| open.device.upgrade()).and_then(|any| any.downcast::<P::Device>().ok());
    if let Some(device) = known {
        return Ok(device);
    }
    let options = DeviceOptions { endpoints_max: ENDPOINTS_MAX, ..DeviceOptions::default() };
    let device = Arc::new(provider.open(address, &options)?);
    let any: Arc<dyn Any + Send + Sync> = Arc::<P::Device>::clone(&device);
    open.push(Open { provider: provider.name(), address, device: Arc::downgrade(&any) });
    Ok(device)
}

fn open_free<P: Provider>(
    provider: &P,
    candidates: &[IpAddr],
    endpoints: u16,
) -> Result<Arc<P::Device>, ConnectError> {
    let options = DeviceOptions { endpoints_max: endpoints, ..DeviceOptions::default() };
    let mut refused = None;
    for address in candidates {
        match provider.open(*address, &options) {
            Ok(device) => return Ok(Arc::new(device)),
            Err(source @ OpenError::PortTaken { .. }) => refused = Some((*address, source)),
            Err(source) => return Err(source.into()),
        }
    }
    let tried = candidates.len();
    let none = || OpenError::Unfit("no address to come from".to_owned());
    match refused {
        Some((last, source)) => Err(ConnectError::NoFreeAddress { tried, last, source }),
        None => Err(none().into()),
    }
}

#[cfg(test)]
mod tests {
    use rdma::Device;
    use rdma::soft::Soft;

    use super::*;

    #[test]
    fn an_address_that_was_asked_for_is_opened_once_for_as_long_as_it_is_used() {
        let (peer, local) = ("127.97.0.1".parse().unwrap(), "127.97.0.2".parse().unwrap());
        let first = open_adapter(&Soft, peer, Some(local), 1).unwrap();
        let second = open_adapter(&Soft, peer, Some(local), 1).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));
        assert_eq!(open_adapter(&Soft, peer, Some(local), 1).unwrap().address(), local);
    }

    #[test]
    fn loopback_peers_are_reached_from_addresses_of_their_own() {
        let peer = "127.97.0.1".parse().unwrap();
        let first = open_adapter(&Soft, peer, None, 1).unwrap();
        let second = open_adapter(&Soft, peer, None, 1).unwrap();
        assert_ne!(first.address(), second.address());
        assert!(first.address().is_loopback() && second.address().is_loopback());
    }
}
