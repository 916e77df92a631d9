//! What a test drives: a client, a server, a clock, and patience with an end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use block::{Sleeper, Timestamp, Wait};

use super::Subject;
use super::side::{RequestOf, Side};
use super::time::Time;
use crate::connection::{Agreement, ConnectionError, ConnectionParameters, QueuePairOptions, ReceiveSource};
use crate::error::ListenError;
use crate::handle::{ListenerId, QueuePairId, SharedReceiveQueueId};
use crate::provider::{Device, Endpoint};

/// How long a test waits for anything before it fails. Connection managers ask again after seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a test watches that nothing happens.
pub(super) const QUIET: Duration = Duration::from_millis(60);

/// The longest sleep, so that a wake-up that was lost shows where it is looked for and not everywhere.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// The first port that a test listens on.
const PORT_MIN: u16 = 20_000;

/// Ports that a test tries before it gives up.
const PORTS_TRIED_MAX: u32 = 1000;

/// Turns in a row in which no time passes and endpoints are busy, or ask to be polled again, before that counts as endless.
const TURNS_AT_ONCE_MAX: u32 = 100_000;

/// The side that connects.
pub(super) const CLIENT: usize = 0;
/// The side that listens.
pub(super) const SERVER: usize = 1;

/// A queue pair and the side that it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Half {
    pub(super) at: usize,
    pub(super) queue_pair: QueuePairId,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) client: Half,
    pub(super) server: Half,
}

impl Link {
    /// Both ways: from whom, to whom.
    pub(super) fn both_ways(self) -> [(Half, Half); 2] {
        [(self.client, self.server), (self.server, self.client)]
    }
}

/// How a connection is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) client: QueuePairOptions,
    pub(super) server: QueuePairOptions,
    pub(super) offer: ConnectionParameters,
    pub(super) answer: ConnectionParameters,
}

impl Default for Setup {
    fn default() -> Self {
        let (offer, answer) = Default::default();
        Self { client: OPTIONS, server: OPTIONS, offer, answer }
    }
}

/// What most tests want.
pub(super) const OPTIONS: QueuePairOptions =
    QueuePairOptions { send_depth: 32, receives: ReceiveSource::Own(32) };

/// Two endpoints or more and the time.
pub(super) struct Rig<D: Device> {
    pub(super) sides: Vec<Side<D>>,
    pub(super) time: Box<dyn Time>,
    sleeper: Sleeper,
    listeners: Vec<(usize, ListenerId)>,
    turns_at_once: u32,
    turned_at: Timestamp,
}

impl<D: Device> Rig<D> {
    pub(super) fn new<S: Subject<Device = D>>(subject: &S) -> Self {
        let setting = subject.setting();
        let mut rig = Self {
            sides: Vec::new(),
            time: setting.time,
            sleeper: Sleeper::new().unwrap(),
            listeners: Vec::new(),
            turns_at_once: 0,
            turned_at: Timestamp::default(),
        };
        rig.add_side(&setting.client);
        rig.add_side(&setting.server);
        rig
    }

    /// Another endpoint of a device.
    pub(super) fn add_side(&mut self, device: &D) -> usize {
        let side = Side::new(device);
        let mut descriptors = Vec::new();
        side.endpoint.wake_descriptors(&mut descriptors);
        descriptors.into_iter().for_each(|descriptor| self.sleeper.add(descriptor).unwrap());
        self.sides.push(side);
        self.sides.len() - 1
    }

    pub(super) fn client(&mut self) -> &mut Side<D> {
        &mut self.sides[CLIENT]
    }

    pub(super) fn server(&mut self) -> &mut Side<D> {
        &mut self.sides[SERVER]
    }

    pub(super) fn side(&mut self, half: Half) -> &mut Side<D> {
        &mut self.sides[half.at]
    }

    pub(super) fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// Lets both work until `look` finds something.
    pub(super) fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = self.now().after(PATIENCE);
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(self.now() < end, "waited {PATIENCE:?} for {what}");
            self.turn(end);
        }
    }

    /// Lets both work for a while.
    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now().after(duration);
        while self.now() < end {
            self.turn(end);
        }
    }

    /// Polls every endpoint once; if none had anything to do, sleeps as they say.
    pub(super) fn turn(&mut self, end: Timestamp) {
        let mut busy = false;
        for side in &mut self.sides {
            busy |= side.turn(self.time.now());
        }
        self.count_turn();
        if !busy {
            self.rest(end);
        }
    }

    /// Sleeps as all endpoints say.
    pub(super) fn rest(&mut self, end: Timestamp) {
        let now = self.now();
        let mut wait = Wait::Until(end.min(now.after(SLEEP_MAX)));
        for side in &mut self.sides {
            wait = wait.and(side.endpoint.prepare_wait(now));
        }
        let until = if let Wait::Until(until) = wait { until } else { now };
        self.time.pass(&mut self.sleeper, until);
    }

    /// In virtual time whoever is busy for ever stops the world; a real clock hides that he burns a core.
    fn count_turn(&mut self) {
        let now = self.now();
        self.turns_at_once = if now == self.turned_at { self.turns_at_once + 1 } else { 0 };
        self.turned_at = now;
        assert!(self.turns_at_once < TURNS_AT_ONCE_MAX, "an endpoint is busy without end");
    }

    /// Listens on a port that nobody has.
    pub(super) fn listen(&mut self, at: usize, backlog: u32) -> (ListenerId, SocketAddr) {
        for _ in 0..PORTS_TRIED_MAX {
            let port = next_port();
            match self.sides[at].endpoint.listen(port, backlog) {
                Ok(listener) => {
                    self.listeners.push((at, listener));
                    return (listener, SocketAddr::new(self.sides[at].device.address(), port));
                }
                Err(ListenError::PortTaken(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("{PORTS_TRIED_MAX} ports are taken");
    }

    pub(super) fn stop_listening(&mut self, at: usize, listener: ListenerId) {
        self.listeners.retain(|entry| *entry != (at, listener));
        self.sides[at].endpoint.stop_listening(listener);
    }

    /// Begins to connect.
    pub(super) fn connect(
        &mut self,
        to: SocketAddr,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
    ) -> Half {
        self.connect_from(CLIENT, to, options, parameters)
    }

    pub(super) fn connect_from(
        &mut self,
        at: usize,
        to: SocketAddr,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
    ) -> Half {
        let now = self.now();
        let side = &mut self.sides[at];
        let queue_pair = side.endpoint.connect(to, options, parameters, now).unwrap();
        side.ledger.open(queue_pair, shared_queue(options));
        Half { at, queue_pair }
    }

    /// Waits for a request.
    pub(super) fn requested(&mut self, at: usize) -> RequestOf<D> {
        self.wait("a request to connect", |rig| rig.sides[at].requests.pop_front())
    }

    /// Begins to accept.
    pub(super) fn accept(
        &mut self,
        at: usize,
        request: RequestOf<D>,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
    ) -> Half {
        let now = self.now();
        let side = &mut self.sides[at];
        let accepted = side.endpoint.accept(request, options, parameters, now);
        let queue_pair = accepted.map_err(|(error, _)| error).unwrap();
        side.ledger.open(queue_pair, shared_queue(options));
        Half { at, queue_pair }
    }

    /// Waits until a connection is made.
    pub(super) fn established(&mut self, half: Half) -> Agreement {
        self.wait("a connection", |rig| {
            let side = rig.side(half);
            if let Some((_, error)) = side.closed.iter().find(|(name, _)| *name == half.queue_pair) {
                panic!("the connection was not made: {error}");
            }
            let at = side.established.iter().position(|(name, _)| *name == half.queue_pair)?;
            Some(side.established.swap_remove(at).1)
        })
    }

    /// Waits until a connection has ended.
    pub(super) fn closed(&mut self, half: Half) -> ConnectionError {
        self.wait("the end of a connection", |rig| {
            let side = rig.side(half);
            let at = side.closed.iter().position(|(name, _)| *name == half.queue_pair)?;
            Some(side.closed.swap_remove(at).1)
        })
    }

    /// Waits until a connection has ended and nothing is left on its queues.
    pub(super) fn at_rest(&mut self, half: Half) {
        self.wait("the flush of a queue pair", |rig| {
            rig.side(half).ledger.is_at_rest(half.queue_pair).then_some(())
        });
    }

    /// A connection, made.
    pub(super) fn pair(&mut self, setup: &Setup) -> Link {
        let (listener, to) = self.listen(SERVER, 4);
        let link = self.pair_at(to, setup);
        self.stop_listening(SERVER, listener);
        link
    }

    /// A connection to a port that the server listens on.
    pub(super) fn pair_at(&mut self, to: SocketAddr, setup: &Setup) -> Link {
        let client = self.connect(to, &setup.client, &setup.offer);
        let request = self.requested(SERVER);
        let server = self.accept(SERVER, request, &setup.server, &setup.answer);
        self.established(client);
        self.established(server);
        Link { client, server }
    }

    /// A receive queue for several queue pairs.
    pub(super) fn shared_queue(&mut self, at: usize, depth: u32) -> SharedReceiveQueueId {
        let side = &mut self.sides[at];
        let queue = side.endpoint.create_shared_receive_queue(depth).unwrap();
        side.ledger.open_shared(queue);
        queue
    }

    pub(super) fn disconnect(&mut self, half: Half) {
        let now = self.now();
        self.side(half).endpoint.disconnect(half.queue_pair, now);
    }

    pub(super) fn destroy(&mut self, half: Half) {
        let now = self.now();
        let side = self.side(half);
        side.ledger.destroyed(half.queue_pair);
        side.completions.retain(|done| done.queue_pair != half.queue_pair);
        side.endpoint.destroy(half.queue_pair, now);
    }

    /// Ends every connection; everything flushes, and all memory comes back.
    pub(super) fn finish(mut self) {
        for (at, listener) in std::mem::take(&mut self.listeners) {
            self.sides[at].endpoint.stop_listening(listener);
        }
        self.sides.iter_mut().for_each(|side| side.requests.clear());
        let living = self.living();
        living.iter().for_each(|half| self.disconnect(*half));
        living.iter().for_each(|half| self.at_rest(*half));
        living.iter().for_each(|half| self.destroy(*half));
        for side in &mut self.sides {
            side.completions.clear();
            for queue in side.ledger.shared_queues() {
                side.endpoint.destroy_shared_receive_queue(queue).unwrap();
            }
        }
        self.memory_is_back();
    }

    /// Waits until no chunk is held by anybody.
    pub(super) fn memory_is_back(&mut self) {
        self.wait("memory to come back", |rig| {
            rig.sides.iter().all(|side| side.chunks_held() == 0).then_some(())
        });
    }

    fn living(&self) -> Vec<Half> {
        let halves = |(at, side): (usize, &Side<D>)| {
            side.ledger.living().into_iter().map(move |queue_pair| Half { at, queue_pair })
        };
        self.sides.iter().enumerate().flat_map(halves).collect()
    }
}

fn shared_queue(options: &QueuePairOptions) -> Option<SharedReceiveQueueId> {
    if let ReceiveSource::Shared(queue) = options.receives { Some(queue) } else { None }
}

/// A port that no other test of this process has.
pub(super) fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    PORT_MIN + NEXT.fetch_add(1, Ordering::Relaxed) % (u16::MAX - PORT_MIN)
}
