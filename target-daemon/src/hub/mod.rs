//! What all reactors share: the target's state, behind a lock that no I/O takes, and the mailboxes.
//!
//! Whatever the target has to say after a call ([`nvmf::controller::Event`]) is put into mailboxes before the lock is let go, so
//! that a reactor gets its messages in the order of the target's decisions.

mod changes;
mod exports;
mod hosts;
mod mailbox;
mod routes;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use block::{MonotonicClock, Timestamp, Waker};
use crossbeam_queue::ArrayQueue;
use nvme_spec::{QueueId, Sqe};
use nvmf::controller::{
    AdminAction, Arrival, Connected, ControllerKey, DropReason, Event, IoQueue, Limits, LimitsError,
    NamespaceMap, Target,
};
use nvmf::wire::{CommandCapsule, ConnectData, ResponseCapsule};

use self::exports::Exports;
use self::hosts::Hosts;
use self::routes::Routes;
use crate::engine::{ControllerView, DeviceNews, EVENTS_MAX, EngineEvent, EngineStatus, ReactorView};
use crate::reactor::{Cells, Gauges};

pub(crate) use exports::{ExportMap, ExportSlot};
pub(crate) use hosts::HostSlot;
pub(crate) use mailbox::{Mailbox, Message};
pub(crate) use routes::{ConnectionId, Place};

/// See the module's words.
pub(crate) struct Hub {
    state: Mutex<State>,
    /// Moves when namespaces do.
    version: Arc<AtomicU64>,
    limits: Limits,
    clock: MonotonicClock,
    mailboxes: Box<[Mailbox]>,
    gauges: Box<[Arc<Gauges>]>,
    events: ArrayQueue<EngineEvent>,
    event_waker: Mutex<Option<Waker>>,
}

struct State {
    target: Target,
    routes: Routes,
    hosts: Hosts,
    exports: Exports,
}

/// What became of a Connect.
pub(crate) enum Joined {
    /// The connection is the admin queue of a new controller.
    Admin { key: ControllerKey, response: ResponseCapsule },
    /// It is an I/O queue.
    Io { queue: Box<IoQueue>, response: ResponseCapsule, host: HostSlot, view: View, cells: Arc<Cells> },
    /// It is refused; another Connect may come.
    Refused(ResponseCapsule),
    /// A former association is being drained: ask again when told to.
    Busy,
}

/// The namespaces that an I/O queue serves, and the devices behind them, of one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) namespaces: Arc<NamespaceMap>,
    pub(crate) exports: Arc<ExportMap>,
}

impl Hub {
    /// A hub for reactors that are woken like this.
    pub(crate) fn new(
        limits: Limits,
        clock: MonotonicClock,
        wakers: impl IntoIterator<Item = Waker>,
    ) -> Result<Self, LimitsError> {
        let target = Target::new(limits)?;
        let mailboxes: Box<[Mailbox]> = wakers.into_iter().map(Mailbox::new).collect();
        let hosts = Hosts::new(mailboxes.len());
        Ok(Self {
            version: target.version(),
            state: Mutex::new(State {
                target,
                routes: Routes::default(),
                hosts,
                exports: Exports::default(),
            }),
            limits,
            clock,
            gauges: mailboxes.iter().map(|_| Arc::default()).collect(),
            mailboxes,
            events: ArrayQueue::new(EVENTS_MAX),
            event_waker: Mutex::new(None),
        })
    }

    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) const fn clock(&self) -> MonotonicClock {
        self.clock
    }

    pub(crate) const fn mailboxes(&self) -> &[Mailbox] {
        &self.mailboxes
    }

    /// What a reactor tells of itself.
    pub(crate) fn gauges(&self, reactor: u16) -> Arc<Gauges> {
        self.gauges.get(usize::from(reactor)).map_or_else(Arc::default, Arc::clone)
    }

    /// Another value than before: [`Self::view`] of each I/O queue has changed.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// A panic under the lock leaves a state that is as good as any: each call of the target is complete in itself.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the state, and passes on what the target has to say.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state);
        while let Some(event) = state.target.poll_event() {
            self.pass_on(&mut state, event);
        }
        result
    }

    fn pass_on(&self, state: &mut State, event: Event) {
        match event {
            Event::Response { controller, response } => {
                if let Some(place) = state.routes.get(controller).and_then(routes::Route::admin) {
                    self.send(place, |connection| Message::Respond { connection, response });
                }
            }
            Event::CloseIoQueues { controller } => {
                let Some(route) = state.routes.get(controller) else { return };
                route
                    .io()
                    .for_each(|place| self.close(place, "the host resets the controller or shuts it down"));
            }
            Event::DropController { controller, reason } => {
                let Some(route) = state.routes.get(controller) else { return };
                let why = words(reason);
                route.io().chain(route.admin()).for_each(|place| self.close(place, why));
            }
            Event::Gone { controller } => {
                if let Some(host) = state.routes.gone(controller) {
                    state.hosts.detached(host);
                }
                self.mailboxes.iter().for_each(|mailbox| mailbox.send(Message::RetryHeld));
            }
        }
    }

    fn close(&self, place: Place, why: &'static str) {
        self.send(place, |connection| Message::Close { connection, why });
    }

    fn send(&self, place: Place, message: impl FnOnce(ConnectionId) -> Message) {
        if let Some(mailbox) = self.mailboxes.get(usize::from(place.reactor)) {
            mailbox.send(message(place.connection));
        }
    }

    /// Answers a Connect that came on a connection of a reactor.
    pub(crate) fn connect(
        &self,
        now: Timestamp,
        sqe: &Sqe,
        data: &[u8],
        arrival: &Arrival,
        place: Place,
    ) -> Joined {
        self.with(|state| match state.target.connect(now, sqe, data, arrival) {
            Connected::Admin { controller: key, response } => {
                if let Ok(data) = ConnectData::read(data) {
                    let host = state.hosts.attached(&data.host);
                    state.routes.admin_connected(key, data.subsystem, host, place);
                }
                Joined::Admin { key, response }
            }
            Connected::Io { queue, response } => {
                let key = queue.controller();
                state.routes.io_connected(key, queue.id(), place);
                let host = state.routes.get(key).map_or(HostSlot(u32::MAX), |route| route.host);
                let cells = state.hosts.cells(host, usize::from(place.reactor));
                Joined::Io { queue, response, host, view: state.view(key), cells }
            }
            Connected::Refused(response) => Joined::Refused(response),
            Connected::Busy => Joined::Busy,
        })
    }

    /// What a controller's I/O queues serve now.
    pub(crate) fn view(&self, key: ControllerKey) -> View {
        self.lock().view(key)
    }

    pub(crate) fn handle_admin(
        &self,
        now: Timestamp,
        key: ControllerKey,
        capsule: &CommandCapsule<'_>,
    ) -> AdminAction {
        self.with(|state| state.target.handle_admin(now, key, capsule))
    }

    pub(crate) fn resume_admin(
        &self,
        now: Timestamp,
        key: ControllerKey,
        sqe: &Sqe,
        data: &[u8],
    ) -> AdminAction {
        self.with(|state| state.target.resume_admin(now, key, sqe, data))
    }

    /// A queue's connection is gone, and nothing of it is in a device any more.
    pub(crate) fn queue_gone(&self, key: ControllerKey, queue: QueueId) {
        self.with(|state| {
            state.routes.queue_gone(key, queue);
            state.target.queue_gone(key, queue);
        });
    }

    /// Drops controllers whose hosts were not heard of, as of the time at which every reactor has last looked.
    pub(crate) fn judge_keep_alives(&self) {
        let looked = self.gauges.iter().map(|gauges| gauges.looked_at()).min().unwrap_or_default();
        self.with(|state| {
            if state.target.next_timeout() <= looked {
                state.target.handle_timeout(looked);
            }
        });
    }

    /// Something happened to a device. Every reactor tells; what is known already changes nothing.
    pub(crate) fn device_news(&self, slot: ExportSlot, what: DeviceNews) {
        let event = self.with(|state| {
            let export = state.exports.get_mut(slot)?;
            let what = export.note(what)?;
            let (subsystem, nsid) = (export.subsystem.clone(), export.nsid);
            if let DeviceNews::Resized(geometry) = what
                && let Err(error) = state.target.resize_namespace(&subsystem, nsid, geometry)
            {
                tracing::warn!(%subsystem, %nsid, %error, "the device has another shape, and hosts keep the old one");
            }
            Some(EngineEvent { subsystem, nsid, what })
        });
        if let Some(event) = event {
            self.tell(event);
        }
    }

    fn tell(&self, event: EngineEvent) {
        if self.events.push(event).is_err() {
            tracing::warn!("an event of a device was dropped: nobody takes them");
        }
        let waker = self.event_waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = &*waker {
            waker.wake();
        }
    }

    pub(crate) fn poll_event(&self) -> Option<EngineEvent> {
        self.events.pop()
    }

    pub(crate) fn wake_on_event(&self, waker: Waker) {
        *self.event_waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    }

    pub(crate) fn status(&self) -> EngineStatus {
        let state = self.lock();
        let controllers = state.target.controllers().map(|controller| ControllerView {
            id: controller.id,
            subsystem: controller.subsystem.clone(),
            host: controller.host.clone(),
            peer: controller.peer,
            phase: controller.phase,
            io_queues: controller.io_queues,
            is_discovery: controller.is_discovery,
        });
        EngineStatus {
            controllers: controllers.collect(),
            namespaces: state.exports.views(),
            hosts: state.hosts.views(),
            reactors: self.gauges.iter().map(|gauges| ReactorView::from(&**gauges)).collect(),
        }
    }
}

impl State {
    fn view(&self, key: ControllerKey) -> View {
        let exports =
            self.routes.get(key).map_or_else(Arc::default, |route| self.exports.map(&route.subsystem));
        View { namespaces: self.target.namespaces(key), exports }
    }
}

const fn words(reason: DropReason) -> &'static str {
    match reason {
        DropReason::KeepAliveExpired => "the host was not heard of for its keep-alive timeout",
        DropReason::AdminQueueLost => "the admin queue's connection is gone",
        DropReason::NotAllowed => "the host may no longer attach",
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("reactors", &self.mailboxes.len()).finish_non_exhaustive()
    }
}
