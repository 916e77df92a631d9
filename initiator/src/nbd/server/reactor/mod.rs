//! The loop over clients and the device. [`arrivals`]: who is let in. [`ending`]: how it ends.

mod arrivals;
mod ending;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use block::{BlockDevice, MonotonicClock, Sleeper, Timestamp, Wait, Waker};

use super::client::Client;
use super::clients::{ClientKey, Clients, MemoryLine};
use super::engine::Engine;
use super::listener::Listener;
use super::spin::Spin;
use super::{DEPTH, Poll, ServerError, ServerOptions, Shared, StopError};
use crate::nbd::export::Export;

/// A busy thread looks for new clients this often, in turns. An idle one is woken.
const ACCEPT_TURNS: u64 = 256;

/// A client that was silent for so many turns is looked at only every [`QUIET_TURNS_SKIPPED`] turns while others are busy.
const QUIET_TURNS: u32 = 64;
const QUIET_TURNS_SKIPPED: u64 = 16;

/// A client whose socket was found empty is asked again after so many busy turns, if no sleep tells of it before.
const DRAINED_TURNS_SKIPPED: u64 = 4;

/// How long a client may hold memory and do nothing while others wait for it.
const STALL_NS_MAX: u64 = 10_000_000_000;

/// How often that is looked at.
const STALL_TICK_NS: u64 = 1_000_000_000;

/// How long writes whose data is on its way may take then.
const RECEIVE_NS_MAX: u64 = 1_000_000_000;

/// ```text
///   Serving ─ stop, device gone ─► Draining ─ all ended, or time ─► Flushing ─ flushed, or time ─► Parting ─► Done
/// ```
///
/// Draining: new commands are answered with ESHUTDOWN. Flushing: so they are, and the device makes durable what was
/// acknowledged. Parting: replies go out, then the connections are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining { since: Timestamp },
    Flushing { until: Timestamp },
    Parting { until: Timestamp },
    Done,
}

/// The thread's state.
pub(super) struct Reactor {
    engine: Engine,
    clients: Clients,
    line: MemoryLine,
    listeners: Vec<Listener>,
    sleeper: Sleeper,
    clock: MonotonicClock,
    shared: Arc<Shared>,
    poll: Poll,
    clients_max: usize,
    phase: Phase,
    /// What did not go well.
    error: Option<StopError>,
    keys: Vec<ClientKey>,
    turns: u64,
    has_slept: bool,
    has_warned_full: bool,
    /// Nobody is accepted until then.
    accepts_at: Option<Timestamp>,
    spin: Spin,
}

impl Reactor {
    pub(super) fn new(
        device: Arc<dyn BlockDevice>,
        export: Export,
        options: ServerOptions,
        listeners: Vec<Listener>,
        shared: Arc<Shared>,
    ) -> Result<Self, ServerError> {
        let mut sleeper = Sleeper::new()?;
        let counters = Arc::clone(&shared.counters);
        let engine = Engine::new(device, export, DEPTH, counters, sleeper.waker())?;
        let mut descriptors: Vec<_> = listeners.iter().map(Listener::descriptor).collect();
        engine.wake_descriptors(&mut descriptors);
        descriptors.into_iter().try_for_each(|descriptor| sleeper.add(descriptor))?;
        let clock = MonotonicClock::start();
        Ok(Self {
            engine,
            clients: Clients::default(),
            line: MemoryLine::default(),
            listeners,
            sleeper,
            clock,
            shared,
            poll: options.poll,
            clients_max: options.clients_max,
            phase: Phase::Serving,
            error: None,
            keys: Vec::new(),
            turns: 0,
            has_slept: true,
            has_warned_full: false,
            accepts_at: None,
            spin: Spin::new(),
        })
    }

    pub(super) fn waker(&self) -> Waker {
        self.sleeper.waker()
    }

    /// Until it is stopped, or the device is gone.
    pub(super) fn run(mut self) -> Result<(), StopError> {
        while self.phase != Phase::Done {
            let now = self.clock.now();
            if self.turn(now) {
                self.spin.note_work(now);
            } else if self.phase != Phase::Done {
                self.wait(now)?;
            }
        }
        self.error.map_or(Ok(()), Err)
    }

    /// Looks at everything once. Whether anything happened.
    fn turn(&mut self, now: Timestamp) -> bool {
        self.turns += 1;
        let mut happened = self.advance(now);
        let is_due = self.turns.is_multiple_of(ACCEPT_TURNS);
        let has_come = |listener: &Listener| self.sleeper.has_woken(listener.descriptor());
        if is_due || (self.has_slept && self.listeners.iter().any(has_come)) {
            happened |= self.accept(now);
        }
        self.clients.keys(&mut self.keys);
        happened |= self.take_in(now);
        happened |= self.engine.turn(now);
        happened |= self.deliver();
        happened |= self.send(now);
        self.has_slept = false;
        happened
    }

    fn take_in(&mut self, now: Timestamp) -> bool {
        let looks_at_all = self.has_slept || self.turns.is_multiple_of(QUIET_TURNS_SKIPPED);
        let asks_again = self.poll == Poll::Always
            || self.spin.is_on()
            || self.turns.is_multiple_of(DRAINED_TURNS_SKIPPED);
        let mut happened = false;
        for key in &self.keys {
            let Some(client) = self.clients.get_mut(*key) else { continue };
            if asks_again || (self.has_slept && self.sleeper.has_woken(client.descriptor())) {
                client.is_drained = false;
            }
            if client.quiet_turns >= QUIET_TURNS && !looks_at_all && !client.has_work() {
                continue;
            }
            if client.take_in(*key, &mut self.engine, &mut self.line, now) {
                client.quiet_turns = 0;
                happened = true;
            } else {
                client.quiet_turns = client.quiet_turns.saturating_add(1);
            }
        }
        happened
    }

    /// Hands what has ended to whoever asked for it.
    fn deliver(&mut self) -> bool {
        let mut any = false;
        let losses = self.engine.losses();
        while let Some(finished) = self.engine.pop_finished() {
            any = true;
            match finished.order.client {
                Some(key) => {
                    // A client that has gone needs no answer.
                    if let Some(client) = self.clients.get_mut(key) {
                        client.answer(finished, losses);
                        client.quiet_turns = 0;
                    }
                }
                None => self.on_flushed(&finished.answer),
            }
        }
        any
    }

    fn send(&mut self, now: Timestamp) -> bool {
        let mut any = false;
        for index in 0..self.keys.len() {
            let key = self.keys[index];
            let Some(client) = self.clients.get_mut(key) else { continue };
            any |= client.send(now);
            client.look_at_time(now);
            if client.is_gone() {
                any = true;
                self.remove(key);
            }
        }
        any
    }

    fn remove(&mut self, key: ClientKey) {
        self.line.leave(key);
        if let Some(client) = self.clients.remove(key) {
            if client.interest.is_some() {
                // Closing would do; this keeps the books.
                let _ = self.sleeper.remove(client.descriptor());
            }
            self.count_clients();
        }
    }

    fn count_clients(&self) {
        self.shared.counters.clients.store(self.clients.len() as u64, Ordering::Relaxed);
    }

    /// Spins, or sleeps until something can happen.
    fn wait(&mut self, now: Timestamp) -> Result<(), StopError> {
        if self.poll == Poll::Always || self.spin.looks_again(now) {
            if self.engine.under_way() > 0 {
                // The device may be a thread of this machine.
                std::thread::yield_now();
            }
            std::hint::spin_loop();
            return Ok(());
        }
        match self.engine.prepare_wait(now) {
            Wait::Poll => std::thread::yield_now(),
            Wait::Until(poll_at) => {
                self.set_interests();
                let until = poll_at.min(self.look_at(now));
                self.sleeper.sleep_until(now, until)?;
                self.has_slept = true;
            }
        }
        Ok(())
    }

    /// Sleeps for what each client can go on with, and for nothing else: a full one would end each sleep at once.
    fn set_interests(&mut self) {
        self.clients.keys(&mut self.keys);
        for key in &self.keys {
            let Some(client) = self.clients.get_mut(*key) else { continue };
            let wanted = client.wanted_interest();
            if wanted == client.interest {
                continue;
            }
            let descriptor = client.descriptor();
            let removed = match client.interest {
                Some(_) => self.sleeper.remove(descriptor),
                None => Ok(()),
            };
            let added =
                wanted.map_or(Ok(()), |interest| self.sleeper.add_for(descriptor, interest)).and(removed);
            client.interest = wanted;
            if let Err(error) = added {
                client.drop_because(&error);
            }
        }
    }

    /// When to look again though nothing wakes us.
    fn look_at(&self, now: Timestamp) -> Timestamp {
        let clients = self.clients.iter().map(Client::look_at).min().unwrap_or(Timestamp::NEVER);
        let line = match self.line.first() {
            Some(_) => now.after_ns(STALL_TICK_NS),
            None => Timestamp::NEVER,
        };
        let phase = match self.phase {
            Phase::Serving | Phase::Done => Timestamp::NEVER,
            Phase::Draining { .. } => now.after_ns(RECEIVE_NS_MAX),
            Phase::Flushing { until } | Phase::Parting { until } => until,
        };
        clients.min(line).min(phase).min(self.accepts_at.unwrap_or(Timestamp::NEVER))
    }

    /// Others wait for memory: whoever holds some and does nothing has to go.
    fn drop_stalled(&mut self, now: Timestamp) {
        self.clients.keys(&mut self.keys);
        for key in &self.keys {
            let Some(client) = self.clients.get_mut(*key) else { continue };
            if client.stalled_ns(now) >= STALL_NS_MAX {
                client.drop_because(
                    &"it holds memory that others wait for, and takes no replies or sends no data",
                );
            }
        }
    }
}
