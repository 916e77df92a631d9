//! Objects of libibverbs, each owned by one value that holds what it is made of, so that they go in the right order.
#![allow(unsafe_code, reason = "owns libibverbs' objects")]

use std::ffi::{CStr, c_int};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use dma::Memory;
use rdma_sys::{
    ibv_access_flags as access, ibv_comp_channel, ibv_context, ibv_cq, ibv_device_attr, ibv_mr, ibv_mw,
    ibv_mw_type, ibv_pd, ibv_port_attr, ibv_srq, ibv_srq_attr, ibv_srq_init_attr, ibv_wc,
};

use super::library::Libraries;
use super::manager::{Id, set_nonblocking};

/// What a C function that makes an object answered.
fn made<T>(pointer: *mut T) -> io::Result<NonNull<T>> {
    NonNull::new(pointer).ok_or_else(io::Error::last_os_error)
}

/// Turns libibverbs' 0 or error number into a result.
pub(super) fn check(answer: c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(answer)) }
}

/// An opened device. librdmacm opened it, and keeps it open for as long as an identifier is bound to it.
pub(super) struct Context {
    pub(super) libraries: &'static Libraries,
    pub(super) pointer: NonNull<ibv_context>,
    /// Keeps the device open.
    _anchor: Id,
}

// SAFETY: libibverbs locks what the threads of a process share, and the device outlives this value by its anchor.
unsafe impl Send for Context {}
// SAFETY: as for Send.
unsafe impl Sync for Context {}

impl Context {
    /// The device that an identifier is bound to; `None` if it is bound to none.
    pub(super) fn of(libraries: &'static Libraries, anchor: Id) -> Option<Self> {
        let pointer = NonNull::new(anchor.device())?;
        Some(Self { libraries, pointer, _anchor: anchor })
    }

    /// What the device tells of itself and of a port.
    pub(super) fn describe(&self, port: u8) -> io::Result<Description> {
        // SAFETY: the anchor keeps the device open.
        unsafe { Description::of(self.libraries, self.pointer, port) }
    }

    /// Where asynchronous events arrive, which are then read without blocking.
    pub(super) fn events_descriptor(&self) -> io::Result<RawFd> {
        // SAFETY: the device is open; the field never changes.
        let descriptor = unsafe { (*self.pointer.as_ptr()).async_fd };
        set_nonblocking(descriptor)?;
        Ok(descriptor)
    }

    /// The next asynchronous event.
    pub(super) fn next_event(&self) -> Option<AsyncEvent> {
        /// `ibv_async_event` with the type as what it is in C: later versions know more of them.
        #[repr(C, align(8))]
        struct Raw {
            element: [u32; 2],
            event_type: u32,
        }
        const _: () = assert!(size_of::<Raw>() == size_of::<rdma_sys::ibv_async_event>());
        let mut raw = Raw { element: [0; 2], event_type: 0 };
        // SAFETY: `raw` has the layout of C's structure, whose union begins with the port's number and is 8 bytes long.
        let answer = unsafe {
            (self.libraries.verbs.ibv_get_async_event)(self.pointer.as_ptr(), (&raw mut raw).cast())
        };
        if answer != 0 {
            return None;
        }
        let event = AsyncEvent { kind: raw.event_type, port: raw.element[0] };
        // SAFETY: the event is the one that was got, acknowledged once.
        unsafe { (self.libraries.verbs.ibv_ack_async_event)((&raw mut raw).cast()) };
        Some(event)
    }
}

/// Something that happened to a device, as libibverbs tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AsyncEvent {
    /// `IBV_EVENT_*`.
    pub(super) kind: u32,
    /// The port, if the event is one of a port.
    pub(super) port: u32,
}

/// What a device tells of itself and of one port.
pub(super) struct Description {
    pub(super) name: String,
    pub(super) guid: u64,
    pub(super) device: ibv_device_attr,
    pub(super) port: ibv_port_attr,
}

impl Description {
    /// Asks an open device.
    ///
    /// # Safety
    /// The device is open.
    pub(super) unsafe fn of(
        libraries: &Libraries,
        context: NonNull<ibv_context>,
        port: u8,
    ) -> io::Result<Self> {
        let verbs = &libraries.verbs;
        // SAFETY: all zeroes are a valid value: integers only.
        let mut device: ibv_device_attr = unsafe { mem::zeroed() };
        // SAFETY: the device is open; `device` outlives the call.
        check(unsafe { (verbs.ibv_query_device)(context.as_ptr(), &raw mut device) })?;
        // SAFETY: all zeroes are a valid value: integers only.
        let mut attributes: ibv_port_attr = unsafe { mem::zeroed() };
        // SAFETY: as above. The function writes the older part of the structure, which is its beginning, and what we read.
        check(unsafe { (verbs.ibv_query_port)(context.as_ptr(), port, (&raw mut attributes).cast()) })?;
        // SAFETY: the device is open; the field never changes.
        let raw = unsafe { (*context.as_ptr()).device };
        // SAFETY: the device of an open context is alive.
        let guid = u64::from_be(unsafe { (verbs.ibv_get_device_guid)(raw) });
        // SAFETY: as above.
        let name = unsafe { (verbs.ibv_get_device_name)(raw) };
        let name = if name.is_null() {
            String::new()
        } else {
            // SAFETY: the name is a terminated string inside the device's structure.
            unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
        };
        Ok(Self { name, guid, device, port: attributes })
    }
}

/// A protection domain: what may be used together.
pub(super) struct Domain {
    pub(super) pointer: NonNull<ibv_pd>,
    pub(super) context: Arc<Context>,
}

// SAFETY: libibverbs allows several threads to use a protection domain; its fields are only read.
unsafe impl Send for Domain {}
// SAFETY: as for Send.
unsafe impl Sync for Domain {}

impl Domain {
    pub(super) fn new(context: &Arc<Context>) -> io::Result<Arc<Self>> {
        // SAFETY: the device is open.
        let pointer = made(unsafe { (context.libraries.verbs.ibv_alloc_pd)(context.pointer.as_ptr()) })?;
        Ok(Arc::new(Self { pointer, context: Arc::clone(context) }))
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: all that was made in the domain holds it by an Arc, so nothing is left.
        unsafe { (self.context.libraries.verbs.ibv_dealloc_pd)(self.pointer.as_ptr()) };
    }
}

/// Memory that the device knows.
pub(super) struct Registration {
    pointer: NonNull<ibv_mr>,
    domain: Arc<Domain>,
    memory: Arc<Memory>,
}

// SAFETY: a registration is only read and deregistered, which libibverbs allows to any thread.
unsafe impl Send for Registration {}
// SAFETY: as for Send.
unsafe impl Sync for Registration {}

impl Registration {
    /// Registers a memory for this side's work, and for windows if the device has them.
    pub(super) fn new(domain: &Arc<Domain>, memory: &Arc<Memory>) -> io::Result<Self> {
        let with_windows = access::IBV_ACCESS_LOCAL_WRITE | access::IBV_ACCESS_MW_BIND;
        let pointer = match Self::register(domain, memory, with_windows) {
            Ok(pointer) => pointer,
            Err(_) => Self::register(domain, memory, access::IBV_ACCESS_LOCAL_WRITE)?,
        };
        Ok(Self { pointer, domain: Arc::clone(domain), memory: Arc::clone(memory) })
    }

    fn register(domain: &Domain, memory: &Memory, rights: access) -> io::Result<NonNull<ibv_mr>> {
        let libraries = domain.context.libraries;
        let rights = c_int::try_from(rights.0).unwrap_or(0);
        let bytes = memory.bytes();
        if let Some(descriptor) = memory.dma_buf() {
            let register =
                libraries.register_dma_buf.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
            // SAFETY: the descriptor is open, and the memory is kept until the registration ends.
            return made(unsafe {
                register(domain.pointer.as_ptr(), 0, bytes, 0, descriptor.as_raw_fd(), rights)
            });
        }
        let start = memory.as_ptr().ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        // SAFETY: the range is the whole mapping of the memory, which is kept until the registration ends.
        made(unsafe {
            (libraries.verbs.ibv_reg_mr)(domain.pointer.as_ptr(), start.as_ptr().cast(), bytes, rights)
        })
    }

    /// The key for this side's work.
    pub(super) fn local_key(&self) -> u32 {
        // SAFETY: the registration is ours; the field never changes.
        unsafe { (*self.pointer.as_ptr()).lkey }
    }

    /// For work that binds a window to it, as a number.
    pub(super) fn for_windows(&self) -> RegistrationName {
        RegistrationName(self.pointer.as_ptr().expose_provenance() as u64)
    }

    /// Takes the memory out of the device's reach; hands the registration back if that fails.
    pub(super) fn end(self) -> Result<(), Self> {
        // SAFETY: the registration is ours and ends here; if the call fails it lives on.
        let answer = unsafe { (self.domain.context.libraries.verbs.ibv_dereg_mr)(self.pointer.as_ptr()) };
        if answer != 0 {
            return Err(self);
        }
        let mut ended = mem::ManuallyDrop::new(self);
        // SAFETY: `ended` is not used again, so each field is dropped once.
        unsafe { ptr::drop_in_place(&raw mut ended.domain) };
        // SAFETY: as above.
        unsafe { ptr::drop_in_place(&raw mut ended.memory) };
        Ok(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: the registration is ours and was not ended yet.
        let answer = unsafe { (self.domain.context.libraries.verbs.ibv_dereg_mr)(self.pointer.as_ptr()) };
        if answer != 0 {
            // Freed memory that a device still writes is the one thing worse than a leak.
            tracing::error!(
                bytes = self.memory.bytes(),
                "an RDMA device does not let go of memory: it is kept"
            );
            mem::forget(Arc::clone(&self.memory));
        }
    }
}

/// A registration, named in a table of numbers. Good for as long as the region is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegistrationName(pub(super) u64);

impl RegistrationName {
    /// For a work request.
    pub(super) fn pointer(self) -> *mut ibv_mr {
        ptr::with_exposed_provenance_mut(usize::try_from(self.0).unwrap_or(0))
    }
}

/// A memory window of type 2: bound and unbound by work of a queue pair.
pub(super) struct Window {
    pointer: NonNull<ibv_mw>,
    domain: Arc<Domain>,
}

// SAFETY: a window is owned by one endpoint and used by its thread only, wherever that moves.
unsafe impl Send for Window {}

impl Window {
    pub(super) fn new(domain: &Arc<Domain>) -> io::Result<Self> {
        // SAFETY: the domain is alive; the function looks at the device's operations itself.
        let pointer = unsafe { rdma_sys::ibv_alloc_mw(domain.pointer.as_ptr(), ibv_mw_type::IBV_MW_TYPE_2) };
        let pointer = made(pointer.unwrap_or_else(ptr::null_mut))?;
        Ok(Self { pointer, domain: Arc::clone(domain) })
    }

    /// For a work request.
    pub(super) fn pointer(&self) -> *mut ibv_mw {
        self.pointer.as_ptr()
    }

    /// The key that it will have when it is bound next: the low byte counts.
    pub(super) fn next_key(&self) -> u32 {
        // SAFETY: the window is ours.
        let key = unsafe { (*self.pointer.as_ptr()).rkey };
        key & !0xff | (key.wrapping_add(1) & 0xff)
    }

    /// Notes the key that work just posted binds it under.
    pub(super) fn set_key(&mut self, key: u32) {
        // SAFETY: the window is ours.
        unsafe { (*self.pointer.as_ptr()).rkey = key };
    }

    /// Takes the window away, bound or not. If this fails the peer may still reach the memory.
    pub(super) fn end(self) -> io::Result<()> {
        let ended = mem::ManuallyDrop::new(self);
        // SAFETY: `ended` is not used again, so the field is taken once.
        let domain = unsafe { ptr::read(&raw const ended.domain) };
        // SAFETY: the window is ours and ends here.
        check(unsafe { rdma_sys::ibv_dealloc_mw(ended.pointer.as_ptr()) })
            .inspect_err(|_| mem::forget(domain))
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the window is ours and is not bound: who holds one that is bound calls `end`.
        unsafe { rdma_sys::ibv_dealloc_mw(self.pointer.as_ptr()) };
    }
}

/// A completion queue with a channel to sleep on.
pub(super) struct CompletionQueue {
    pub(super) pointer: NonNull<ibv_cq>,
    channel: NonNull<ibv_comp_channel>,
    context: Arc<Context>,
}

// SAFETY: libibverbs locks a completion queue; its fields are only read.
unsafe impl Send for CompletionQueue {}
// SAFETY: as for Send.
unsafe impl Sync for CompletionQueue {}

impl CompletionQueue {
    pub(super) fn new(context: &Arc<Context>, entries: u32) -> io::Result<Arc<Self>> {
        let verbs = &context.libraries.verbs;
        // SAFETY: the device is open.
        let channel = made(unsafe { (verbs.ibv_create_comp_channel)(context.pointer.as_ptr()) })?;
        let entries = c_int::try_from(entries).unwrap_or(c_int::MAX);
        // SAFETY: the device is open, the channel belongs to it and lives as long as the queue.
        let pointer = made(unsafe {
            (verbs.ibv_create_cq)(context.pointer.as_ptr(), entries, ptr::null_mut(), channel.as_ptr(), 0)
        });
        let pointer = pointer.inspect_err(|_| {
            // SAFETY: the channel is ours and nothing uses it.
            unsafe { (verbs.ibv_destroy_comp_channel)(channel.as_ptr()) };
        })?;
        let queue = Self { pointer, channel, context: Arc::clone(context) };
        set_nonblocking(queue.descriptor())?;
        Ok(Arc::new(queue))
    }

    pub(super) fn descriptor(&self) -> RawFd {
        // SAFETY: the channel is ours; its descriptor never changes.
        unsafe { (*self.channel.as_ptr()).fd }
    }

    /// Takes completions; says how many were written.
    #[inline]
    pub(super) fn poll(&self, into: &mut [ibv_wc]) -> usize {
        let room = c_int::try_from(into.len()).unwrap_or(c_int::MAX);
        // SAFETY: the queue is ours, and `into` has room for as many as the call is told.
        let taken = unsafe { rdma_sys::ibv_poll_cq(self.pointer.as_ptr(), room, into.as_mut_ptr()) };
        usize::try_from(taken).unwrap_or(0)
    }

    /// Asks for the channel to become readable at the next completion.
    pub(super) fn arm(&self) -> io::Result<()> {
        // SAFETY: the queue is ours.
        check(unsafe { rdma_sys::ibv_req_notify_cq(self.pointer.as_ptr(), 0) })
    }

    /// Takes the channel's event, if there is one.
    pub(super) fn take_event(&self) -> bool {
        let verbs = &self.context.libraries.verbs;
        let mut queue = ptr::null_mut();
        let mut noted = ptr::null_mut();
        // SAFETY: the channel is ours; both places outlive the call.
        let answer =
            unsafe { (verbs.ibv_get_cq_event)(self.channel.as_ptr(), &raw mut queue, &raw mut noted) };
        if answer != 0 {
            return false;
        }
        // SAFETY: the channel has this one queue, and one event of it was got.
        unsafe { (verbs.ibv_ack_cq_events)(self.pointer.as_ptr(), 1) };
        true
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        let verbs = &self.context.libraries.verbs;
        // SAFETY: queue pairs hold the queue by an Arc, so none uses it; all its events are acknowledged.
        unsafe { (verbs.ibv_destroy_cq)(self.pointer.as_ptr()) };
        // SAFETY: the channel's one queue is gone.
        unsafe { (verbs.ibv_destroy_comp_channel)(self.channel.as_ptr()) };
    }
}

/// A receive queue that queue pairs share.
pub(super) struct SharedReceives {
    pub(super) pointer: NonNull<ibv_srq>,
    domain: Arc<Domain>,
}

// SAFETY: libibverbs locks a shared receive queue; its fields are only read.
unsafe impl Send for SharedReceives {}
// SAFETY: as for Send.
unsafe impl Sync for SharedReceives {}

impl SharedReceives {
    pub(super) fn new(domain: &Arc<Domain>, depth: u32) -> io::Result<Arc<Self>> {
        let mut attributes = ibv_srq_init_attr {
            srq_context: ptr::null_mut(),
            attr: ibv_srq_attr { max_wr: depth, max_sge: 1, srq_limit: 0 },
        };
        let create = domain.context.libraries.verbs.ibv_create_srq;
        // SAFETY: the domain is alive; the attributes outlive the call.
        let pointer = made(unsafe { create(domain.pointer.as_ptr(), &raw mut attributes) })?;
        Ok(Arc::new(Self { pointer, domain: Arc::clone(domain) }))
    }
}

impl Drop for SharedReceives {
    fn drop(&mut self) {
        // SAFETY: queue pairs hold the queue by an Arc, so none uses it.
        unsafe { (self.domain.context.libraries.verbs.ibv_destroy_srq)(self.pointer.as_ptr()) };
    }
}
