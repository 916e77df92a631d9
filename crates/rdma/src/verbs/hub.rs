//! Asynchronous events of an RDMA device. librdmacm opens each device once for the whole process, and an event is read once;
//! here it is told to everybody who has the device open.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::objects::{AsyncEvent, Context};

/// Most events that are taken at once, and that wait for one who has the device open; the oldest go first.
const EVENTS_MAX: usize = 64;

/// The open devices of the process.
static HUBS: Mutex<Vec<Weak<Hub>>> = Mutex::new(Vec::new());

/// Who has one device open.
pub(super) struct Hub {
    /// Tells devices apart; not to be followed.
    device: usize,
    mailboxes: Mutex<Vec<Weak<Mutex<VecDeque<AsyncEvent>>>>>,
}

/// One's events of a device.
pub(super) struct Mailbox {
    hub: Arc<Hub>,
    events: Arc<Mutex<VecDeque<AsyncEvent>>>,
}

/// No invariant spans a panic in these short sections, so a poisoned lock is taken as it is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailbox {
    /// One more who has the device open.
    pub(super) fn of(context: &Context) -> Self {
        let hub = hub_of(context.pointer.as_ptr().addr());
        let events = Arc::default();
        let mut mailboxes = lock(&hub.mailboxes);
        mailboxes.retain(|mailbox| mailbox.strong_count() > 0);
        mailboxes.push(Arc::downgrade(&events));
        drop(mailboxes);
        Self { hub, events }
    }

    /// The next event.
    pub(super) fn next(&self, context: &Context) -> Option<AsyncEvent> {
        self.hub.look(context);
        lock(&self.events).pop_front()
    }
}

fn hub_of(device: usize) -> Arc<Hub> {
    let mut hubs = lock(&HUBS);
    hubs.retain(|hub| hub.strong_count() > 0);
    if let Some(hub) = hubs.iter().filter_map(Weak::upgrade).find(|hub| hub.device == device) {
        return hub;
    }
    let hub = Arc::new(Hub { device, mailboxes: Mutex::default() });
    hubs.push(Arc::downgrade(&hub));
    hub
}

impl Hub {
    fn look(&self, context: &Context) {
        let mailboxes = lock(&self.mailboxes);
        for _ in 0..EVENTS_MAX {
            let Some(event) = context.next_event() else { break };
            for mailbox in mailboxes.iter().filter_map(Weak::upgrade) {
                let mut events = lock(&mailbox);
                if events.len() == EVENTS_MAX {
                    events.pop_front();
                }
                events.push_back(event);
            }
        }
    }
}
