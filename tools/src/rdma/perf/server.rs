//! The server: takes what its clients do.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::net::SocketAddr;

use block::Timestamp;
use dma::{DmaBuf, Segment};
use rdma::{
    ConnectionError, ConnectionEvent, ConnectionParameters, Device, Endpoint, PrivateData, QueuePairId,
    QueuePairOptions, Receive, ReceiveSource, Request,
};

use super::Op;
use super::guest::Guest;
use super::handshake::Load;
use super::memory::Memory;
use crate::bench::stop::Stop;
use crate::rdma::error::RdmaError;
use crate::rdma::reactor::{EventOf, Reactor};

/// Send work of a server besides echoes: grants, few of which are ever under way.
const GRANT_DEPTH: u32 = 16;

/// What the memory is filled with, so that there is something to read.
const FILLING: u8 = 0xa5;

/// What a client's connection needs at this side.
struct Stock {
    /// What the client may WRITE or READ.
    window: Option<Segment>,
    receives: Vec<DmaBuf>,
}

/// A server, for any number of clients.
pub struct Server<D: Device, W> {
    reactor: Reactor<D>,
    out: W,
    memory: Memory,
    guests: HashMap<QueuePairId, Guest>,
}

impl<D: Device, W: Write> Server<D, W> {
    /// Listens, and says so.
    pub fn listen(mut reactor: Reactor<D>, port: u16, mut out: W) -> Result<Self, RdmaError> {
        reactor.listen(port)?;
        let address = SocketAddr::new(reactor.device.address(), port);
        writeln!(out, "listening on {address}").map_err(RdmaError::Output)?;
        Ok(Self { reactor, out, memory: Memory::default(), guests: HashMap::new() })
    }

    /// Serves until it is stopped.
    pub fn serve(mut self, stop: &Stop) -> Result<(), RdmaError> {
        while !stop.is_set() {
            self.reactor.turn(Timestamp::NEVER)?;
            let mut completions = std::mem::take(&mut self.reactor.completions);
            for done in completions.drain(..) {
                let queue_pair = done.queue_pair;
                let Some(guest) = self.guests.get_mut(&queue_pair) else { continue };
                if guest.handle(done, &mut self.reactor).is_err() {
                    self.disconnect(queue_pair);
                }
            }
            self.reactor.completions = completions;
            while let Some(event) = self.reactor.endpoint.poll_connection() {
                self.told(event)?;
            }
        }
        let queue_pairs: Vec<_> = self.guests.keys().copied().collect();
        self.reactor.part(&queue_pairs)
    }

    fn told(&mut self, event: EventOf<D>) -> Result<(), RdmaError> {
        match event {
            ConnectionEvent::Requested(request) => self.requested(request),
            ConnectionEvent::Established { queue_pair, .. } => {
                let Some(guest) = self.guests.get_mut(&queue_pair) else { return Ok(()) };
                if guest.established(&mut self.reactor).is_err() {
                    self.disconnect(queue_pair);
                }
                Ok(())
            }
            ConnectionEvent::Closed { queue_pair, error } => self.closed(queue_pair, error),
        }
    }

    /// A connection that can no longer be served; its end is told as an event.
    fn disconnect(&mut self, queue_pair: QueuePairId) {
        let now = self.reactor.now();
        self.reactor.endpoint.disconnect(queue_pair, now);
    }

    fn closed(&mut self, queue_pair: QueuePairId, error: ConnectionError) -> Result<(), RdmaError> {
        // Before it is destroyed, so that what failed is known.
        let now = self.reactor.now();
        let farewell = self.guests.remove(&queue_pair).map(|guest| guest.farewell(error, &self.reactor));
        self.reactor.endpoint.destroy(queue_pair, now);
        farewell.map_or(Ok(()), |line| writeln!(self.out, "{line}").map_err(RdmaError::Output))
    }

    fn requested(&mut self, request: <D::Endpoint as Endpoint>::Request) -> Result<(), RdmaError> {
        let load = match Load::from_private_data(&request.offer().private_data) {
            Ok(load) => load,
            Err(error) => return self.refuse(request, &error.to_string()),
        };
        match self.memory_for(load)? {
            Some(stock) => self.accept(request, load, stock),
            None => self.refuse(request, "no memory is left for another client"),
        }
    }

    /// What a load needs, if there is memory.
    fn memory_for(&mut self, load: Load) -> Result<Option<Stock>, RdmaError> {
        match load.op {
            Op::Write | Op::Read => {
                let chunk = self.memory.take(&self.reactor, load.bytes * load.depth)?;
                let Some(mut chunk) = chunk else { return Ok(None) };
                let bytes = chunk.bytes();
                chunk.fill(0, bytes, FILLING)?;
                Ok(Some(Stock { window: Some(chunk.into_segment()), receives: Vec::new() }))
            }
            Op::Send | Op::Echo => {
                let take = |_| self.memory.take(&self.reactor, load.bytes).transpose();
                let receives: Vec<DmaBuf> = (0..load.receives()).map_while(take).collect::<Result<_, _>>()?;
                let is_enough = receives.len() == load.receives() as usize;
                Ok(is_enough.then_some(Stock { window: None, receives }))
            }
        }
    }

    fn refuse(&mut self, request: <D::Endpoint as Endpoint>::Request, why: &str) -> Result<(), RdmaError> {
        let peer = request.offer().peer;
        let now = self.reactor.now();
        let words = PrivateData::new(why.as_bytes()).unwrap_or_default();
        // The client may have given up meanwhile, which is as well.
        let _ = self.reactor.endpoint.reject(request, &words, now);
        writeln!(self.out, "{peer} was refused: {why}").map_err(RdmaError::Output)
    }

    fn accept(
        &mut self,
        request: <D::Endpoint as Endpoint>::Request,
        load: Load,
        stock: Stock,
    ) -> Result<(), RdmaError> {
        let (peer, now) = (request.offer().peer, self.reactor.now());
        let limits = self.reactor.device.info().limits;
        let reads = u8::try_from(load.depth).unwrap_or(u8::MAX);
        let parameters = ConnectionParameters {
            responder_resources: reads.min(limits.responder_resources_max),
            initiator_depth: 1,
            ..Default::default()
        };
        let queue = QueuePairOptions {
            send_depth: GRANT_DEPTH + load.depth,
            receives: ReceiveSource::Own(load.receives()),
        };
        let queue_pair = match self.reactor.endpoint.accept(request, &queue, &parameters, now) {
            Ok(queue_pair) => queue_pair,
            Err((error, request)) => return self.refuse(request, &error.to_string()),
        };
        let mut receives =
            (0..).zip(stock.receives).map(|(id, buffer)| Receive { id, buffer }).collect::<VecDeque<_>>();
        self.reactor.endpoint.post_receive(queue_pair, &mut receives)?;
        self.guests.insert(queue_pair, Guest::new(queue_pair, peer, load, stock.window, &self.reactor));
        Ok(())
    }
}
