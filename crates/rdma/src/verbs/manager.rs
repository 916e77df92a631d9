//! Connection manager identifiers and their events (librdmacm), each owned by one value.
#![allow(unsafe_code, reason = "owns librdmacm's objects")]

use std::ffi::{c_int, c_void};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdma_sys::{
    ibv_context, ibv_event_type, ibv_pd, ibv_qp, ibv_qp_init_attr, rdma_cm_event,
    rdma_cm_event_type as events, rdma_cm_id, rdma_conn_param, rdma_event_channel, rdma_port_space,
};

use super::address::{RawAddress, from_storage};
use super::library::Libraries;
use crate::connection::{ConnectionParameters, PrivateData};
use crate::handle::Handle;

/// Time that one resolution of an address or of a route may take.
const RESOLVE_TIMEOUT_MS: c_int = 3000;

/// Option level and names of `rdma_set_option`, which the bindings lack (rdma_cma.h).
const RDMA_OPTION_ID: c_int = 0;
const RDMA_OPTION_ID_ACK_TIMEOUT: c_int = 3;

/// Time that an unanswered packet waits: 4.096 us times two to the power of this, 0.54 s. The kernel's own choice for
/// Ethernet is 4 s or more, times eight tries.
const ACK_TIMEOUT_EXPONENT: u8 = 17;

/// Turns librdmacm's 0 or -1 into a result.
fn check(answer: c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a descriptor's reads not block.
pub(super) fn set_nonblocking(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: the call takes integers only; a bad descriptor is an error.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    let answer = unsafe { libc::fcntl(descriptor, libc::F_SETFL, flags | libc::O_NONBLOCK) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Another descriptor of the same thing.
pub(super) fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes integers only; a bad descriptor is an error.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Where events of identifiers arrive.
pub(super) struct EventChannel {
    libraries: &'static Libraries,
    pointer: NonNull<rdma_event_channel>,
}

// SAFETY: librdmacm locks what it shares; `pointer` is owned by this value alone, and its one field is only read.
unsafe impl Send for EventChannel {}
// SAFETY: as for Send: identifiers of several threads may use one channel at once.
unsafe impl Sync for EventChannel {}

impl EventChannel {
    pub(super) fn new(libraries: &'static Libraries) -> io::Result<Arc<Self>> {
        // SAFETY: takes nothing; answers with a channel that is the caller's, or null.
        let pointer = unsafe { (libraries.manager.rdma_create_event_channel)() };
        let pointer = NonNull::new(pointer).ok_or_else(io::Error::last_os_error)?;
        let channel = Arc::new(Self { libraries, pointer });
        set_nonblocking(channel.descriptor())?;
        Ok(channel)
    }

    pub(super) fn descriptor(&self) -> RawFd {
        // SAFETY: the channel lives as long as this value; its descriptor never changes.
        unsafe { (*self.pointer.as_ptr()).fd }
    }

    /// The next event that has arrived; `None` if there is none.
    pub(super) fn next(&self) -> io::Result<Option<Event>> {
        let mut event: *mut rdma_cm_event = ptr::null_mut();
        // SAFETY: the channel is ours; `event` outlives the call.
        let answer =
            unsafe { (self.libraries.manager.rdma_get_cm_event)(self.pointer.as_ptr(), &raw mut event) };
        if let Err(error) = check(answer) {
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        }
        // SAFETY: a successful call leaves an event that is valid until it is acknowledged.
        let meaning = unsafe { event.as_ref() }.map(Event::read);
        // SAFETY: the event is acknowledged once; `meaning` holds copies, no pointer into it.
        unsafe { (self.libraries.manager.rdma_ack_cm_event)(event) };
        Ok(meaning)
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        // SAFETY: every identifier holds its channel by an Arc, so none is left.
        unsafe { (self.libraries.manager.rdma_destroy_event_channel)(self.pointer.as_ptr()) };
    }
}

/// Tells identifiers apart; not to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdName(usize);

/// What an event says; all of it copied.
#[derive(Debug)]
pub(super) struct Event {
    /// The identifier that it happened to.
    pub(super) id: IdName,
    /// What was noted at that identifier ([`Id::note`]); of a request what was noted at the listener.
    pub(super) note: Handle,
    /// What happened.
    pub(super) kind: EventKind,
    /// For a request: the new identifier, not yet owned by anyone.
    request: Option<NonNull<rdma_cm_id>>,
}

/// What happened to an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    /// The peer's address is known.
    AddressResolved,
    /// The route is known.
    RouteResolved,
    /// A peer wants to connect.
    Request(Conditions),
    /// The connection is made.
    Established(Conditions),
    /// No address or no route.
    NoRoute,
    /// The peer could not be reached, or something failed while connecting; a negative error number.
    Failed(c_int),
    /// The peer refused, for a reason of the connection manager, with private data.
    Rejected(u16, PrivateData),
    /// The peer or this side disconnected.
    Disconnected,
    /// The device is being removed.
    DeviceRemoved,
    /// Nothing that matters here.
    Other,
}

/// What one side offers or agrees to, in this side's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) responder_resources: u8,
    pub(super) initiator_depth: u8,
    pub(super) private_data: PrivateData,
}

impl Event {
    fn read(event: &rdma_cm_event) -> Self {
        // SAFETY: an event's identifier lives at least until the event is acknowledged, which `next` does after this.
        let context = unsafe { (*event.id).context };
        let is_request = event.event == events::RDMA_CM_EVENT_CONNECT_REQUEST;
        Self {
            id: IdName(event.id.addr()),
            note: handle_of(context),
            kind: kind_of(event),
            request: if is_request { NonNull::new(event.id) } else { None },
        }
    }

    /// Takes the identifier of a request. Whoever calls must do so once; an identifier that nobody takes is never freed.
    pub(super) fn take_request(&mut self, channel: &Arc<EventChannel>) -> Option<Id> {
        let pointer = self.request.take()?;
        Some(Id { libraries: channel.libraries, pointer, channel: Arc::clone(channel) })
    }
}

fn kind_of(event: &rdma_cm_event) -> EventKind {
    match event.event {
        events::RDMA_CM_EVENT_ADDR_RESOLVED => EventKind::AddressResolved,
        events::RDMA_CM_EVENT_ROUTE_RESOLVED => EventKind::RouteResolved,
        events::RDMA_CM_EVENT_CONNECT_REQUEST => EventKind::Request(conditions_of(event)),
        events::RDMA_CM_EVENT_ESTABLISHED => EventKind::Established(conditions_of(event)),
        events::RDMA_CM_EVENT_ADDR_ERROR | events::RDMA_CM_EVENT_ROUTE_ERROR => EventKind::NoRoute,
        events::RDMA_CM_EVENT_CONNECT_ERROR | events::RDMA_CM_EVENT_UNREACHABLE => {
            EventKind::Failed(event.status)
        }
        events::RDMA_CM_EVENT_REJECTED => {
            let reason = u16::try_from(event.status.unsigned_abs()).unwrap_or(u16::MAX);
            EventKind::Rejected(reason, conditions_of(event).private_data)
        }
        events::RDMA_CM_EVENT_DISCONNECTED => EventKind::Disconnected,
        events::RDMA_CM_EVENT_DEVICE_REMOVAL => EventKind::DeviceRemoved,
        // ADDR_CHANGE (a bond has moved), TIMEWAIT_EXIT, multicast, and what later versions may tell.
        _ => EventKind::Other,
    }
}

fn conditions_of(event: &rdma_cm_event) -> Conditions {
    // SAFETY: identifiers of port space TCP have connection parameters; all bytes of the union were written by librdmacm.
    let parameters = unsafe { &event.param.conn };
    let length = usize::from(parameters.private_data_len);
    let private_data = if parameters.private_data.is_null() {
        PrivateData::default()
    } else {
        // SAFETY: the event has so many bytes of private data, until it is acknowledged.
        let bytes = unsafe { std::slice::from_raw_parts(parameters.private_data.cast::<u8>(), length) };
        PrivateData::new(&bytes[..length.min(crate::REPLY_PRIVATE_BYTES_MAX)]).unwrap_or_default()
    };
    Conditions {
        responder_resources: parameters.responder_resources,
        initiator_depth: parameters.initiator_depth,
        private_data,
    }
}

/// A handle as an identifier's context: a number, never followed.
fn context_of(handle: Handle) -> *mut c_void {
    let bits = u64::from(handle.slot()) << 32 | u64::from(handle.generation());
    ptr::without_provenance_mut(usize::try_from(bits).unwrap_or(usize::MAX))
}

fn handle_of(context: *mut c_void) -> Handle {
    let bits = context.addr() as u64;
    let part = |shift: u32| u32::try_from(bits >> shift & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    Handle::from_parts(part(32), part(0))
}

/// An identifier: a listener, or one side of a connection. Dropping it ends what it stands for.
pub(super) struct Id {
    libraries: &'static Libraries,
    pointer: NonNull<rdma_cm_id>,
    channel: Arc<EventChannel>,
}

// SAFETY: `pointer` is owned by this value alone and used through `&self` and `&mut self` as librdmacm's own locks allow;
// nothing in it belongs to a thread.
unsafe impl Send for Id {}
// SAFETY: through a shared reference only fields are read that do not change once the identifier is bound.
unsafe impl Sync for Id {}

impl Id {
    /// An identifier bound to an address of this machine (port 0: any).
    pub(super) fn bound(channel: &Arc<EventChannel>, address: SocketAddr) -> io::Result<Self> {
        let libraries = channel.libraries;
        let mut pointer: *mut rdma_cm_id = ptr::null_mut();
        // SAFETY: the channel is alive; `pointer` outlives the call. The context is a number.
        check(unsafe {
            (libraries.manager.rdma_create_id)(
                channel.pointer.as_ptr(),
                &raw mut pointer,
                ptr::null_mut(),
                rdma_port_space::RDMA_PS_TCP,
            )
        })?;
        let pointer = NonNull::new(pointer).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let id = Self { libraries, pointer, channel: Arc::clone(channel) };
        let mut address = RawAddress::new(address);
        // SAFETY: the identifier is ours, the address is read during the call.
        check(unsafe { (libraries.manager.rdma_bind_addr)(id.pointer.as_ptr(), address.as_mut_ptr()) })?;
        Ok(id)
    }

    pub(super) fn name(&self) -> IdName {
        IdName(self.pointer.as_ptr().addr())
    }

    /// Notes a handle, which events of this identifier tell.
    pub(super) fn note(&mut self, handle: Handle) {
        // SAFETY: the identifier is ours, and librdmacm only copies the field.
        unsafe { (*self.pointer.as_ptr()).context = context_of(handle) };
    }

    /// The device that it is bound to; null if to none.
    pub(super) fn device(&self) -> *mut ibv_context {
        // SAFETY: the identifier is ours; the field is set when it is bound.
        unsafe { (*self.pointer.as_ptr()).verbs }
    }

    /// The port of that device.
    pub(super) fn port(&self) -> u8 {
        // SAFETY: as above.
        unsafe { (*self.pointer.as_ptr()).port_num }
    }

    /// This side's address.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        // SAFETY: the identifier is ours, and its route was zeroed when it was made.
        let route = unsafe { &(*self.pointer.as_ptr()).route };
        // SAFETY: a sockaddr_storage is all integers, and the union was zeroed.
        from_storage(unsafe { &route.addr.src_addr_union.src_storage })
    }

    /// The peer's address.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        // SAFETY: the identifier is ours, and its route was zeroed when it was made.
        let route = unsafe { &(*self.pointer.as_ptr()).route };
        // SAFETY: a sockaddr_storage is all integers, and the union was zeroed.
        from_storage(unsafe { &route.addr.dst_addr_union.dst_storage })
    }

    pub(super) fn listen(&mut self, backlog: u32) -> io::Result<()> {
        let backlog = c_int::try_from(backlog).unwrap_or(c_int::MAX);
        // SAFETY: the identifier is ours.
        check(unsafe { (self.libraries.manager.rdma_listen)(self.pointer.as_ptr(), backlog) })
    }

    /// Lets events arrive at another channel from now on.
    pub(super) fn migrate(&mut self, channel: &Arc<EventChannel>) -> io::Result<()> {
        if Arc::ptr_eq(channel, &self.channel) {
            return Ok(());
        }
        // SAFETY: the identifier is ours, both channels are alive. The call waits until events that were fetched are
        // acknowledged, which `EventChannel::next` does at once.
        check(unsafe {
            (self.libraries.manager.rdma_migrate_id)(self.pointer.as_ptr(), channel.pointer.as_ptr())
        })?;
        self.channel = Arc::clone(channel);
        Ok(())
    }

    pub(super) fn resolve_address(&mut self, to: IpAddr, port: u16) -> io::Result<()> {
        let mut to = RawAddress::new(SocketAddr::new(to, port));
        // SAFETY: the identifier is ours; the address is read during the call; no source is given as it is bound.
        check(unsafe {
            (self.libraries.manager.rdma_resolve_addr)(
                self.pointer.as_ptr(),
                ptr::null_mut(),
                to.as_mut_ptr(),
                RESOLVE_TIMEOUT_MS,
            )
        })
    }

    pub(super) fn resolve_route(&mut self) -> io::Result<()> {
        self.shorten_ack_timeout();
        // SAFETY: the identifier is ours.
        check(unsafe {
            (self.libraries.manager.rdma_resolve_route)(self.pointer.as_ptr(), RESOLVE_TIMEOUT_MS)
        })
    }

    /// Older kernels (before 5.1) do not know the option; then their own choice stays.
    fn shorten_ack_timeout(&mut self) {
        let mut exponent = ACK_TIMEOUT_EXPONENT;
        // SAFETY: the identifier is ours; the value is one byte, as the option wants, and is read during the call.
        unsafe {
            (self.libraries.manager.rdma_set_option)(
                self.pointer.as_ptr(),
                RDMA_OPTION_ID,
                RDMA_OPTION_ID_ACK_TIMEOUT,
                (&raw mut exponent).cast(),
                1,
            )
        };
    }

    /// Makes the identifier's queue pair, ready for receives. It has to be destroyed before the identifier.
    ///
    /// # Safety
    /// The protection domain and what `attributes` points to are alive, and stay so until the queue pair is destroyed.
    pub(super) unsafe fn create_queue_pair(
        &mut self,
        domain: *mut ibv_pd,
        attributes: &mut ibv_qp_init_attr,
    ) -> io::Result<NonNull<ibv_qp>> {
        // SAFETY: the identifier is ours and bound; the caller upholds the rest.
        check(unsafe { (self.libraries.manager.rdma_create_qp)(self.pointer.as_ptr(), domain, attributes) })?;
        // SAFETY: the identifier is ours; the field was set by the call.
        let queue_pair = unsafe { (*self.pointer.as_ptr()).qp };
        NonNull::new(queue_pair).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Makes librdmacm forget the queue pair, which its owner destroys now.
    pub(super) fn forget_queue_pair(&mut self) {
        // SAFETY: the identifier is ours; librdmacm allows for identifiers without queue pair.
        unsafe { (*self.pointer.as_ptr()).qp = ptr::null_mut() };
    }

    pub(super) fn connect(&mut self, parameters: &ConnectionParameters) -> io::Result<()> {
        let mut raw = raw_parameters(parameters);
        // SAFETY: the identifier is ours; the parameters and the private data behind them are read during the call.
        check(unsafe { (self.libraries.manager.rdma_connect)(self.pointer.as_ptr(), &raw mut raw) })
    }

    pub(super) fn accept(&mut self, parameters: &ConnectionParameters) -> io::Result<()> {
        self.shorten_ack_timeout();
        let mut raw = raw_parameters(parameters);
        // SAFETY: as for connect.
        check(unsafe { (self.libraries.manager.rdma_accept)(self.pointer.as_ptr(), &raw mut raw) })
    }

    pub(super) fn reject(&mut self, private_data: &[u8]) -> io::Result<()> {
        let length = u8::try_from(private_data.len()).unwrap_or(0);
        // SAFETY: the identifier is ours; the bytes are read during the call.
        check(unsafe {
            (self.libraries.manager.rdma_reject)(self.pointer.as_ptr(), private_data.as_ptr().cast(), length)
        })
    }

    /// Says that the peer has sent a message, so the connection is made even if its last word on that was lost.
    pub(super) fn has_spoken(&mut self) {
        // SAFETY: the identifier is ours. A refusal means that the connection manager knows already.
        unsafe {
            (self.libraries.manager.rdma_notify)(self.pointer.as_ptr(), ibv_event_type::IBV_EVENT_COMM_EST)
        };
    }

    /// Puts the queue pair into its error state and tells the peer.
    pub(super) fn disconnect(&mut self) -> io::Result<()> {
        // SAFETY: the identifier is ours and has a queue pair, or none, which is an error.
        check(unsafe { (self.libraries.manager.rdma_disconnect)(self.pointer.as_ptr()) })
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: the identifier is ours and its queue pair is destroyed. The call waits for events that were fetched to be
        // acknowledged, which `EventChannel::next` does at once.
        unsafe { (self.libraries.manager.rdma_destroy_id)(self.pointer.as_ptr()) };
    }
}

/// The result points into `parameters`.
fn raw_parameters(parameters: &ConnectionParameters) -> rdma_conn_param {
    let private_data = parameters.private_data.bytes();
    rdma_conn_param {
        private_data: private_data.as_ptr().cast(),
        private_data_len: u8::try_from(private_data.len()).unwrap_or(0),
        responder_resources: parameters.responder_resources,
        initiator_depth: parameters.initiator_depth,
        flow_control: 1,
        retry_count: parameters.retries.min(7),
        rnr_retry_count: parameters.rnr_retries.min(7),
        // Both are the queue pair's that librdmacm knows.
        srq: 0,
        qp_num: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_survives_as_a_context() {
        let handle = Handle::from_parts(7, 0xffff_fffe);
        assert_eq!(handle_of(context_of(handle)), handle);
        assert_eq!(context_of(handle).addr(), 0x7_ffff_fffe);
    }
}
