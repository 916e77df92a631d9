//! Memory windows: how a peer gets to reach memory, and how it loses that again.

use std::collections::VecDeque;

use dma::Segment;
use rdma_sys::{ibv_device_attr, ibv_device_cap_flags as abilities};

use super::VerbsEndpoint;
use super::connection::{Bound, Sent, State};
use super::post::post_batch;
use crate::connection::ConnectionError;
use crate::error::BindError;
use crate::handle::Handle;
use crate::verbs::device::bus_address;
use crate::verbs::name::{Kind, WorkName};
use crate::verbs::objects::Window;
use crate::verbs::queue_pair::{Binding, Treatment};
use crate::work::{RemoteKey, RemoteMemory, Rights};

/// Most windows of an endpoint, where the device does not have fewer.
const WINDOWS_MAX: u32 = 65_536;

/// How long the thread waits for a window to be unbound. Longer takes only a queue pair whose peer does not answer.
const UNBIND_MAX_NS: u64 = 500_000_000;

/// Windows that are not bound, to be used again, the oldest first so that keys repeat late.
pub(super) struct Windows {
    free: VecDeque<Window>,
    made: u32,
    max: u32,
}

impl Extend<Window> for Windows {
    fn extend<T: IntoIterator<Item = Window>>(&mut self, windows: T) {
        self.free.extend(windows);
    }
}

impl Windows {
    pub(super) fn new(device: &ibv_device_attr) -> Self {
        let type_2 = abilities::IBV_DEVICE_MEM_WINDOW_TYPE_2A | abilities::IBV_DEVICE_MEM_WINDOW_TYPE_2B;
        let has_them = device.device_cap_flags & type_2.0 != 0;
        // Some devices do not say how many.
        let most = u32::try_from(device.max_mw).ok().filter(|most| *most > 0).unwrap_or(WINDOWS_MAX);
        Self { free: VecDeque::new(), made: 0, max: if has_them { most.min(WINDOWS_MAX) } else { 0 } }
    }

    /// Windows that ended with their queue pair.
    pub(super) fn ended(&mut self, count: usize) {
        self.made = self.made.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

impl VerbsEndpoint {
    fn take_window(&mut self) -> Result<Window, BindError> {
        if let Some(window) = self.windows.free.pop_front() {
            return Ok(window);
        }
        if self.windows.max == 0 {
            return Err(BindError::Device(libc::EOPNOTSUPP));
        }
        if self.windows.made >= self.windows.max {
            return Err(BindError::TooMany);
        }
        let window = Window::new(&self.device.inner.domain)
            .map_err(|error| BindError::Device(error.raw_os_error().unwrap_or(libc::EIO)))?;
        self.windows.made += 1;
        Ok(window)
    }

    pub(super) fn bind_window(
        &mut self,
        handle: Handle,
        segment: &Segment,
        rights: Rights,
    ) -> Result<RemoteMemory, BindError> {
        if segment.bytes() == 0 || rights.is_empty() {
            return Err(BindError::Empty);
        }
        let registration = self.device.inner.registration(segment).ok_or(BindError::NotAttached)?;
        let address = bus_address(segment.memory(), segment.region_offset(), segment.bytes())
            .ok_or(BindError::NotAttached)?;
        self.make_room(handle)?;
        let mut window = self.take_window()?;
        let key = window.next_key();
        let bytes = u64::from(segment.bytes());
        let binding = Binding { window: &window, key, registration, address, bytes, rights };
        let Some(connection) = self.connections.get_mut(handle) else {
            self.windows.extend([window]);
            return Err(BindError::QueuePair);
        };
        let name = WorkName::new(Kind::Send, handle, connection.work.sends.position(0));
        let treatment = Treatment { signaled: connection.work.is_reported(false), fenced: false };
        self.sends.clear();
        self.sends.bind(name, treatment, &binding);
        let posted = post_batch(connection, &mut self.sends);
        if posted.taken == 0 {
            self.windows.extend([window]);
            return Err(if posted.is_full() { BindError::TooMany } else { BindError::Device(posted.errno) });
        }
        window.set_key(key);
        connection.work.sends.push(Sent::Bind);
        connection.windows.insert(key, Bound::new(window, segment.clone()));
        Ok(RemoteMemory { address, key: RemoteKey(key) })
    }

    /// Sees to it that the send queue has room for a window's work, besides what is kept for the user's.
    fn make_room(&mut self, handle: Handle) -> Result<(), BindError> {
        for is_last_try in [false, true] {
            let connection = self.connections.get(handle).ok_or(BindError::QueuePair)?;
            if connection.state != State::Established {
                return Err(BindError::QueuePair);
            }
            if connection.work.room_for_windows() > 0 {
                return Ok(());
            }
            if !is_last_try {
                self.gather(usize::MAX);
            }
        }
        Err(BindError::TooMany)
    }

    pub(super) fn unbind_window(&mut self, handle: Handle, key: u32) {
        // The peer may have invalidated it with a message that was not looked at yet.
        self.gather(usize::MAX);
        if !self.is_bound(handle, key) {
            return;
        }
        if !self.unbind_by_work(handle, key) {
            // In its error state the queue pair lets nobody in; what is left of the window ends here.
            self.close(handle, ConnectionError::QueuePair);
            self.gather(usize::MAX);
            if let Some(connection) = self.connections.get_mut(handle)
                && connection.windows.remove(&key).is_some()
            {
                self.windows.ended(1);
            }
        }
    }

    fn is_bound(&self, handle: Handle, key: u32) -> bool {
        self.connections.get(handle).is_some_and(|connection| connection.windows.contains_key(&key))
    }

    /// Unbinds in order with the work before it, and waits until that is done. Says whether it is.
    fn unbind_by_work(&mut self, handle: Handle, key: u32) -> bool {
        let deadline = self.watch.clock.now().after_ns(UNBIND_MAX_NS);
        let mut is_posted = false;
        loop {
            let Some(connection) = self.connections.get_mut(handle) else { return true };
            if !connection.windows.contains_key(&key) {
                return true;
            }
            if !connection.is_live() || connection.work.has_failed {
                return false;
            }
            if !is_posted && connection.work.room_for_windows() > 0 {
                let name = WorkName::new(Kind::Send, handle, connection.work.sends.position(0));
                let treatment = Treatment { signaled: connection.work.is_reported(true), fenced: false };
                self.sends.clear();
                self.sends.invalidate(name, treatment, key);
                if post_batch(connection, &mut self.sends).taken == 0 {
                    return false;
                }
                connection.work.sends.push(Sent::Invalidate(key));
                is_posted = true;
            }
            if self.gather(super::COMPLETIONS_AT_ONCE) == 0 && self.watch.clock.now() >= deadline {
                return false;
            }
        }
    }
}
