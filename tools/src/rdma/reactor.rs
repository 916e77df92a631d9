//! One thread's loop over an endpoint: how it polls, how it sleeps, how it connects and parts.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use block::{MonotonicClock, Sleeper, Timestamp, Wait};
use clap::ValueEnum;
use dma::Pool;
use rdma::{
    Agreement, Completion, ConnectionError, ConnectionEvent, ConnectionParameters, Device, DeviceOptions,
    Endpoint, EndpointOptions, ListenerId, PathMtu, Provider, QueuePairId, QueuePairOptions, Receive,
    SendWork,
};

use super::error::RdmaError;
use crate::bench::stop::Stop;

/// How long an idle thread looks again before it asks whether it may sleep: about what a wake-up costs.
const SPIN_NS_MAX: u64 = 20_000;

/// Longest sleep: a signal that comes just before it is seen after it.
const SLEEP_NS_MAX: u64 = 100_000_000;

/// Completions asked for at once.
const COMPLETIONS_PER_POLL: usize = 64;

/// How long a peer may take to answer a request to connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);

/// How long a disconnection is repeated if the peer does not answer it.
const PARTING_PATIENCE: Duration = Duration::from_millis(1700);

/// Requests to connect that wait to be answered.
const BACKLOG: u32 = 64;

/// How a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Poll {
    /// Look again and again
    Always,
    /// Look for some microseconds, then sleep until something arrives
    Adaptive,
}

/// How a reactor is to be made.
#[derive(Clone, Copy, Debug)]
pub struct ReactorOptions {
    /// How it waits.
    pub poll: Poll,
    /// A smaller payload of packets than the link allows.
    pub mtu: Option<PathMtu>,
    /// The endpoint's size.
    pub endpoint: EndpointOptions,
}

/// What an endpoint tells of its connections.
pub type EventOf<D> = ConnectionEvent<<<D as Device>::Endpoint as Endpoint>::Request>;

/// A device, one endpoint of it, and the time.
pub struct Reactor<D: Device> {
    /// The device.
    pub device: D,
    /// The endpoint.
    pub endpoint: D::Endpoint,
    /// What has completed and nobody has looked at.
    pub completions: Vec<Completion>,
    clock: MonotonicClock,
    sleeper: Sleeper,
    poll: Poll,
    busy_at: Timestamp,
}

impl<D: Device> Reactor<D> {
    /// Opens the device that a local address belongs to.
    pub fn open<P: Provider<Device = D>>(
        provider: &P,
        local: IpAddr,
        options: &ReactorOptions,
    ) -> Result<Self, RdmaError> {
        let device = provider.open(local, &DeviceOptions { mtu: options.mtu, ..Default::default() })?;
        Self::new(device, options)
    }

    /// An endpoint of an open device.
    pub fn new(device: D, options: &ReactorOptions) -> Result<Self, RdmaError> {
        let endpoint = device.endpoint(&options.endpoint)?;
        let mut sleeper = Sleeper::new()?;
        let mut descriptors = Vec::new();
        endpoint.wake_descriptors(&mut descriptors);
        descriptors.into_iter().try_for_each(|descriptor| sleeper.add(descriptor))?;
        let (clock, poll) = (MonotonicClock::start(), options.poll);
        let busy_at = clock.now();
        Ok(Self { device, endpoint, completions: Vec::new(), clock, sleeper, poll, busy_at })
    }

    /// The time.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Polls once. If nothing happened, waits as the mode says, at most until `until`.
    #[inline]
    pub fn turn(&mut self, until: Timestamp) -> Result<(), RdmaError> {
        let now = self.clock.now();
        if self.endpoint.poll(&mut self.completions, COMPLETIONS_PER_POLL, now) {
            self.busy_at = now;
            return Ok(());
        }
        if self.poll == Poll::Always || now.ns_since(self.busy_at) < SPIN_NS_MAX {
            std::hint::spin_loop();
            return Ok(());
        }
        self.sleep(now, until)
    }

    fn sleep(&mut self, now: Timestamp, until: Timestamp) -> Result<(), RdmaError> {
        match self.endpoint.prepare_wait(now) {
            // Whoever is to answer us may need this processor.
            Wait::Poll => std::thread::yield_now(),
            Wait::Until(poll_at) => {
                let until = until.min(poll_at).min(now.after_ns(SLEEP_NS_MAX));
                self.sleeper.sleep_until(now, until)?;
            }
        }
        Ok(())
    }

    /// Makes a pool's memory known to the device.
    pub fn attach(&self, pool: &Pool) -> Result<(), RdmaError> {
        Ok(self.device.attach_memory(pool.region())?)
    }

    /// Listens.
    pub fn listen(&mut self, port: u16) -> Result<ListenerId, RdmaError> {
        let address = SocketAddr::new(self.device.address(), port);
        self.endpoint.listen(port, BACKLOG).map_err(|source| RdmaError::Listen { address, source })
    }

    /// Posts one piece of work, which must be taken.
    pub fn post(&mut self, queue_pair: QueuePairId, work: SendWork) -> Result<(), RdmaError> {
        let mut batch = VecDeque::from([work]);
        self.endpoint.post_send(queue_pair, &mut batch)?;
        if batch.is_empty() { Ok(()) } else { Err(RdmaError::Full) }
    }

    /// Posts one receive, which must be taken.
    pub fn post_receive(&mut self, queue_pair: QueuePairId, receive: Receive) -> Result<(), RdmaError> {
        let mut batch = VecDeque::from([receive]);
        self.endpoint.post_receive(queue_pair, &mut batch)?;
        if batch.is_empty() { Ok(()) } else { Err(RdmaError::Full) }
    }

    /// Connects, with these receives posted from the first moment on, and waits until that is done. What else completes
    /// meanwhile is kept.
    pub fn connect(
        &mut self,
        to: SocketAddr,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        mut receives: VecDeque<Receive>,
        stop: &Stop,
    ) -> Result<(QueuePairId, Agreement), RdmaError> {
        let now = self.now();
        let queue_pair = self.endpoint.connect(to, options, parameters, now)?;
        self.endpoint.post_receive(queue_pair, &mut receives)?;
        let end = now.after(CONNECT_PATIENCE);
        loop {
            while let Some(event) = self.endpoint.poll_connection() {
                match event {
                    ConnectionEvent::Established { queue_pair: made, agreement } if made == queue_pair => {
                        return Ok((queue_pair, agreement));
                    }
                    ConnectionEvent::Closed { error, .. } => {
                        return Err(RdmaError::Connection { peer: to, error: Box::new(error) });
                    }
                    ConnectionEvent::Established { .. } | ConnectionEvent::Requested(_) => {}
                }
            }
            if stop.is_set() {
                return Err(RdmaError::Stopped);
            }
            if self.now() >= end {
                let what = "the request to connect";
                return Err(RdmaError::Silent { peer: to, what, patience: CONNECT_PATIENCE });
            }
            self.turn(end)?;
        }
    }

    /// Ends connections, and stays until the peer can be thought to know: a packet of its has come, or the request was
    /// repeated for long enough.
    pub fn part(&mut self, queue_pairs: &[QueuePairId]) -> Result<(), RdmaError> {
        let now = self.now();
        let end = now.after(PARTING_PATIENCE);
        let before = self.endpoint.counters().packets_received;
        queue_pairs.iter().for_each(|queue_pair| self.endpoint.disconnect(*queue_pair, now));
        let mut left = queue_pairs.len();
        // Hardware counts no packets; its connection manager lives in the kernel and outlives us.
        let is_counted = before > 0;
        while self.now() < end {
            while let Some(event) = self.endpoint.poll_connection() {
                left -= usize::from(matches!(event, ConnectionEvent::Closed { .. }) && left > 0);
            }
            let answers = self.endpoint.counters().packets_received - before;
            if left == 0 && (!is_counted || answers >= queue_pairs.len() as u64) {
                break;
            }
            self.turn(end)?;
        }
        Ok(())
    }
}

/// What a queue pair's work failed with, before the connection's end is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failure(Option<rdma::WorkError>);

impl Failure {
    /// Notes how work ended; a flush says nothing.
    #[inline]
    pub fn note(&mut self, error: rdma::WorkError) {
        if error != rdma::WorkError::Flushed {
            self.0.get_or_insert(error);
        }
    }

    /// The error, as far as work has told it.
    #[inline]
    pub fn check(self, peer: SocketAddr) -> Result<(), RdmaError> {
        self.0.map_or(Ok(()), |error| Err(RdmaError::Work { peer, error }))
    }

    /// Why the connection has ended: what work has told, or the event otherwise.
    pub fn or_closed(self, peer: SocketAddr, error: ConnectionError) -> RdmaError {
        self.check(peer).err().unwrap_or(RdmaError::Connection { peer, error: Box::new(error) })
    }
}
