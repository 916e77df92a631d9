//! Which RDMA devices there are, what they can do, and at which addresses.
#![allow(unsafe_code, reason = "walks librdmacm's list of devices")]

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ptr::NonNull;
use std::sync::Arc;

use rdma_sys::{ibv_context, ibv_mtu, ibv_port_state};

use super::NAME;
use super::address::of_this_machine;
use super::library::Libraries;
use super::manager::{EventChannel, Id};
use super::name::SLOTS_MAX;
use super::objects::Description;
use super::ring::ENTRIES_MAX;
use crate::device::{DeviceInfo, DeviceLimits, PathMtu, PortState};
use crate::error::DevicesError;

/// Most devices that are looked at.
const DEVICES_MAX: usize = 256;

/// The port of a device that no address belongs to.
const FIRST_PORT: u8 = 1;

/// Most segments of one piece of work that queue pairs are made for: each costs memory in every entry of a send queue.
const SEGMENTS_MAX: u32 = 16;

/// Send queue entries kept for windows on the smallest queue pair.
const WINDOW_ENTRIES: u32 = 16;

/// All devices with their addresses.
pub(super) fn devices() -> Result<Vec<DeviceInfo>, DevicesError> {
    let libraries = Libraries::get()?;
    match probe(libraries) {
        Ok(devices) => Ok(devices),
        // Without the kernel's part there is no device, which is no error.
        Err(error) if is_absence(&error) => Ok(Vec::new()),
        Err(error) => Err(DevicesError::System(error)),
    }
}

/// Whether an error says that there is no such thing.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::ENXIO | libc::EADDRNOTAVAIL))
}

fn probe(libraries: &'static Libraries) -> io::Result<Vec<DeviceInfo>> {
    let channel = EventChannel::new(libraries)?;
    let owners: Vec<(IpAddr, Id)> = of_this_machine()?
        .into_iter()
        .filter_map(|address| Some((address, Id::bound(&channel, SocketAddr::new(address, 0)).ok()?)))
        .collect();
    with_all(libraries, |contexts| {
        contexts.iter().map(|context| describe(libraries, *context, &owners)).collect()
    })
}

/// Hands over librdmacm's devices, which are open until this returns.
fn with_all<T>(
    libraries: &Libraries,
    work: impl FnOnce(&[NonNull<ibv_context>]) -> io::Result<T>,
) -> io::Result<T> {
    let mut count: c_int = 0;
    // SAFETY: `count` outlives the call.
    let list = unsafe { (libraries.manager.rdma_get_devices)(&raw mut count) };
    if list.is_null() {
        return Err(io::Error::last_os_error());
    }
    let count = usize::try_from(count).unwrap_or(0).min(DEVICES_MAX);
    // SAFETY: the list has as many entries as the call has said, and is ours until it is freed.
    let contexts: Vec<_> = unsafe { std::slice::from_raw_parts(list, count) }
        .iter()
        .filter_map(|one| NonNull::new(*one))
        .collect();
    let result = work(&contexts);
    // SAFETY: the list is freed once, and nobody has kept a pointer of it.
    unsafe { (libraries.manager.rdma_free_devices)(list) };
    result
}

fn describe(
    libraries: &Libraries,
    context: NonNull<ibv_context>,
    owners: &[(IpAddr, Id)],
) -> io::Result<DeviceInfo> {
    let own = || owners.iter().filter(|(_, id)| id.device() == context.as_ptr());
    let port = own().next().map_or(FIRST_PORT, |(_, id)| id.port());
    // SAFETY: `with_all` keeps the device open.
    let description = unsafe { Description::of(libraries, context, port) }?;
    Ok(info_of(&description, own().map(|(address, _)| *address).collect()))
}

/// What the seam tells of a device.
pub(super) fn info_of(description: &Description, addresses: Vec<IpAddr>) -> DeviceInfo {
    let is_active = description.port.state == ibv_port_state::IBV_PORT_ACTIVE;
    DeviceInfo {
        name: description.name.clone(),
        provider: NAME,
        addresses,
        guid: description.guid,
        mtu: mtu_of(description.port.active_mtu),
        state: if is_active { PortState::Active } else { PortState::Down },
        limits: limits_of(description),
    }
}

fn mtu_of(code: ibv_mtu::Type) -> PathMtu {
    match code {
        ibv_mtu::IBV_MTU_256 => PathMtu::Bytes256,
        ibv_mtu::IBV_MTU_512 => PathMtu::Bytes512,
        ibv_mtu::IBV_MTU_2048 => PathMtu::Bytes2048,
        ibv_mtu::IBV_MTU_4096 => PathMtu::Bytes4096,
        _ => PathMtu::Bytes1024,
    }
}

fn limits_of(description: &Description) -> DeviceLimits {
    let device = &description.device;
    let count = |value: c_int| u32::try_from(value).unwrap_or(0);
    let small = |value: c_int| u8::try_from(value.clamp(0, 255)).unwrap_or(u8::MAX);
    let depth = count(device.max_qp_wr).min(ENTRIES_MAX);
    let segments = if device.max_sge_rd > 0 { device.max_sge.min(device.max_sge_rd) } else { device.max_sge };
    DeviceLimits {
        queue_pairs_max: count(device.max_qp).min(SLOTS_MAX),
        completions_max: count(device.max_cqe),
        send_depth_max: depth.saturating_sub(WINDOW_ENTRIES),
        receive_depth_max: depth,
        shared_receive_depth_max: count(device.max_srq_wr).min(ENTRIES_MAX),
        segments_max: count(segments).min(SEGMENTS_MAX),
        responder_resources_max: small(device.max_qp_rd_atom),
        initiator_depth_max: small(device.max_qp_init_rd_atom),
        message_bytes_max: description.port.max_msg_sz,
    }
}

/// A channel and an identifier on it that is bound to an address.
pub(super) fn bind(libraries: &'static Libraries, address: IpAddr) -> io::Result<(Arc<EventChannel>, Id)> {
    let channel = EventChannel::new(libraries)?;
    let id = Id::bound(&channel, SocketAddr::new(address, 0))?;
    Ok((channel, id))
}
