//! The client: connects, loads its connections for a while, and measures.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use block::Timestamp;
use dma::{MemoryOptions, Pool, PoolOptions};
use rdma::{ConnectionEvent, Device, Endpoint, QueuePairId};

use super::handshake::Load;
use super::lane::{Lane, receive_bytes, receives};
use super::measured::{Measured, counted_since};
use crate::bench::stop::Stop;
use crate::bench::usage::thread_usage;
use crate::rdma::error::RdmaError;
use crate::rdma::reactor::Reactor;

/// How long nothing may end before the server counts as gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// After so many operations of all connections together.
    Operations(u64),
    /// After so long.
    Time(Duration),
}

/// Connections to one server, under one load.
pub struct Client<D: Device> {
    reactor: Reactor<D>,
    peer: SocketAddr,
    lanes: Vec<Lane>,
    by_queue_pair: HashMap<QueuePairId, usize>,
}

impl<D: Device> Client<D> {
    /// Connects so many times, and waits until the server is ready.
    pub fn connect(
        mut reactor: Reactor<D>,
        peer: SocketAddr,
        load: Load,
        connections: u32,
        stop: &Stop,
    ) -> Result<Self, RdmaError> {
        let memory = MemoryOptions::default();
        // A load's memory is bounded to 1 GiB.
        let chunk_bytes = (load.bytes * load.depth).next_multiple_of(PAGE_BYTES);
        let data = Pool::new(PoolOptions { chunk_bytes, chunks: connections, memory })?;
        let chunk_bytes = receive_bytes(load).next_multiple_of(LINE_BYTES);
        let messages = PoolOptions { chunk_bytes, chunks: receives(load) * connections, memory };
        let messages = Pool::new(messages)?;
        reactor.attach(&data)?;
        reactor.attach(&messages)?;
        let connect = |_| Lane::connect(&mut reactor, peer, load, (&data, &messages), stop);
        let lanes: Vec<Lane> = (0..connections).map(connect).collect::<Result<_, _>>()?;
        let by_queue_pair = lanes.iter().map(|lane| lane.queue_pair).zip(0..).collect();
        let mut client = Self { reactor, peer, lanes, by_queue_pair };
        client.wait_for_grants(stop)?;
        Ok(client)
    }

    /// What it connects from.
    pub fn reactor(&self) -> &Reactor<D> {
        &self.reactor
    }

    /// What it connects from, to let time pass.
    pub fn reactor_mut(&mut self) -> &mut Reactor<D> {
        &mut self.reactor
    }

    fn wait_for_grants(&mut self, stop: &Stop) -> Result<(), RdmaError> {
        let end = self.reactor.now().after(PATIENCE);
        let mut none = Measured::default();
        while !self.lanes.iter().all(Lane::is_ready) {
            if stop.is_set() {
                return Err(RdmaError::Stopped);
            }
            if self.reactor.now() >= end {
                return Err(self.silent("to get ready"));
            }
            self.reactor.turn(end)?;
            self.take_in(&mut none)?;
        }
        Ok(())
    }

    /// Loads the connections and measures. A signal ends it early, with what was measured until then.
    pub fn run(&mut self, length: Length, stop: &Stop) -> Result<Measured, RdmaError> {
        let mut measured = Measured::default();
        let (usage, counters) = (thread_usage(), self.reactor.endpoint.counters());
        let start = self.reactor.now();
        let (end, mut left) = match length {
            Length::Operations(count) => (Timestamp::NEVER, count),
            Length::Time(time) => (start.after(time), u64::MAX),
        };
        let (mut last, mut now) = (start, start);
        loop {
            if now >= end || stop.is_set() {
                left = 0;
            }
            for lane in &mut self.lanes {
                left -= lane.post(&mut self.reactor, left, now)?;
            }
            if left == 0 && self.lanes.iter().all(|lane| lane.under_way() == 0) {
                break;
            }
            self.reactor.turn(end.max(now).min(now.after(PATIENCE)))?;
            now = self.reactor.now();
            if self.take_in(&mut measured)? {
                last = now;
            } else if now.since(last) >= PATIENCE {
                return Err(self.silent("an operation"));
            }
        }
        measured.elapsed_ns = last.ns_since(start);
        measured.usage = thread_usage().since(usage);
        measured.counters = counted_since(self.reactor.endpoint.counters(), counters);
        Ok(measured)
    }

    /// Looks at what has ended. Whether any operation has.
    fn take_in(&mut self, measured: &mut Measured) -> Result<bool, RdmaError> {
        let before = measured.operations;
        let mut completions = std::mem::take(&mut self.reactor.completions);
        let now = self.reactor.now();
        for done in completions.drain(..) {
            let lane = self.by_queue_pair.get(&done.queue_pair).and_then(|at| self.lanes.get_mut(*at));
            if let Some(lane) = lane {
                lane.handle(done, &mut self.reactor, now, measured)?;
            }
        }
        self.reactor.completions = completions;
        while let Some(event) = self.reactor.endpoint.poll_connection() {
            if let ConnectionEvent::Closed { queue_pair, error } = event
                && let Some(lane) = self.by_queue_pair.get(&queue_pair).and_then(|at| self.lanes.get(*at))
            {
                return Err(lane.closed(error));
            }
        }
        Ok(measured.operations != before)
    }

    fn silent(&self, what: &'static str) -> RdmaError {
        RdmaError::Silent { peer: self.peer, what, patience: PATIENCE }
    }

    /// Disconnects.
    pub fn part(mut self) -> Result<(), RdmaError> {
        let queue_pairs: Vec<_> = self.lanes.iter().map(|lane| lane.queue_pair).collect();
        self.reactor.part(&queue_pairs)
    }
}

/// Memory of operations begins on pages, as storage's does.
const PAGE_BYTES: u32 = 4096;

/// Messages begin on cache lines.
const LINE_BYTES: u32 = 64;
