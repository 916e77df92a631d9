//! The client of rping's protocol: it lends its memory and compares.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use block::Timestamp;
use dma::{DmaBuf, MemoryOptions, Pool, PoolOptions, Segment};
use rdma::{
    ConnectionEvent, ConnectionParameters, Data, Device, Endpoint, InlineData, Outcome, Provider,
    ProviderTask, QueuePairId, QueuePairOptions, Receive, ReceiveSource, Rights, SendOp, SendWork,
};

use super::message::{Advertisement, MESSAGE_BYTES};
use super::pattern::{compare, pattern, text};
use super::{PingOptions, RECEIVES, SEND_DEPTH, chunk_bytes};
use crate::bench::statistics::Latency;
use crate::bench::stop::Stop;
use crate::rdma::error::RdmaError;
use crate::rdma::reactor::{Failure, Reactor};

/// How long the server may take for its part of a ping. A server that was killed while it owed us a message is noticed by
/// nothing else.
const PATIENCE: Duration = Duration::from_secs(10);

/// The client's run.
pub struct Client<'a, W> {
    /// The command line.
    pub options: &'a PingOptions,
    /// The server.
    pub peer: SocketAddr,
    /// The address to connect from.
    pub local: IpAddr,
    /// Ends it.
    pub stop: &'a Stop,
    /// Where the lines go.
    pub out: W,
}

impl<W: Write> ProviderTask for Client<'_, W> {
    type Output = Result<(), RdmaError>;

    fn run<P: Provider>(mut self, provider: &P) -> Result<(), RdmaError> {
        let mut session = Session::begin(provider, &self)?;
        let mut tally = Tally::default();
        let result = self.pings(&mut session, &mut tally);
        if result.is_ok() {
            session.reactor.part(&[session.queue_pair])?;
        }
        self.say(&tally.summary(self.options.size))?;
        match result {
            // An endless run has no other end.
            Err(RdmaError::Stopped) if self.options.count.is_none() => tally.judge(),
            Ok(()) => tally.judge(),
            Err(error) => Err(error),
        }
    }
}

impl<W: Write> Client<'_, W> {
    fn pings<D: Device>(&mut self, session: &mut Session<'_, D>, tally: &mut Tally) -> Result<(), RdmaError> {
        let interval = self.options.interval();
        let count = self.options.count.unwrap_or(u64::MAX);
        for number in 0..count {
            let start = session.reactor.now();
            let expected = pattern(number, self.options.size);
            let (found, elapsed_ns) = session.ping(number, &expected)?;
            let problem = compare(&found, &expected).err();
            tally.note(elapsed_ns, problem.is_some());
            let us = elapsed_ns as f64 / 1e3;
            let line = match problem {
                None => format!("{} bytes from {}: ping={number} time={us:.1} us", found.len(), self.peer),
                Some(problem) => format!("ping={number} from {} came back wrong: {problem}", self.peer),
            };
            self.say(&line)?;
            if self.options.verbose {
                self.say(&format!("ping data: {}", text(&found)))?;
            }
            if number + 1 < count {
                session.rest(start.after(interval))?;
            }
        }
        Ok(())
    }

    fn say(&mut self, line: &str) -> Result<(), RdmaError> {
        writeln!(self.out, "{line}").map_err(RdmaError::Output)
    }
}

/// What came of the pings.
#[derive(Default)]
struct Tally {
    latency: Latency,
    wrong: u64,
}

impl Tally {
    fn note(&mut self, elapsed_ns: u64, is_wrong: bool) {
        self.latency.record(elapsed_ns, 1);
        self.wrong += u64::from(is_wrong);
    }

    fn summary(&self, bytes: u32) -> String {
        let moments = self.latency.moments();
        let us = |ns: u64| ns as f64 / 1e3;
        format!(
            "{} pings of {bytes} bytes, {} wrong; time min/p50/p99/max = {:.1}/{:.1}/{:.1}/{:.1} us",
            moments.count(),
            self.wrong,
            us(moments.min()),
            us(self.latency.percentile(50.0)),
            us(self.latency.percentile(99.0)),
            us(moments.max()),
        )
    }

    fn judge(&self) -> Result<(), RdmaError> {
        let count = self.latency.moments().count();
        if self.wrong == 0 { Ok(()) } else { Err(RdmaError::WrongData { wrong: self.wrong, count }) }
    }
}

/// One connection to a server.
struct Session<'a, D: Device> {
    reactor: Reactor<D>,
    queue_pair: QueuePairId,
    peer: SocketAddr,
    stop: &'a Stop,
    pool: Pool,
    bytes: u32,
    /// Messages of the server that nobody has waited for yet.
    messages: u32,
    failure: Failure,
}

impl<'a, D: Device> Session<'a, D> {
    fn begin<P: Provider<Device = D>, W>(provider: &P, client: &Client<'a, W>) -> Result<Self, RdmaError> {
        let options = client.options;
        let mut reactor = Reactor::open(provider, client.local, &options.reactor())?;
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let chunks = RECEIVES + 2;
        let pool = Pool::new(PoolOptions { chunk_bytes: chunk_bytes(options.size), chunks, memory })?;
        reactor.attach(&pool)?;
        let receives: Option<VecDeque<_>> =
            (0..RECEIVES).map(|_| Some(Receive { id: 0, buffer: pool.take()? })).collect();
        // The server reads from us, one at a time, and we read nothing; rping offers the same.
        let parameters =
            ConnectionParameters { responder_resources: 1, initiator_depth: 1, ..Default::default() };
        let queue = QueuePairOptions { send_depth: SEND_DEPTH, receives: ReceiveSource::Own(RECEIVES) };
        let receives = receives.ok_or(RdmaError::NoBuffer)?;
        let (queue_pair, _) = reactor.connect(client.peer, &queue, &parameters, receives, client.stop)?;
        Ok(Self {
            reactor,
            queue_pair,
            peer: client.peer,
            stop: client.stop,
            pool,
            bytes: options.size,
            messages: 0,
            failure: Failure::default(),
        })
    }

    /// One ping: what came back, and how long it took.
    fn ping(&mut self, number: u64, data: &[u8]) -> Result<(Vec<u8>, u64), RdmaError> {
        let source = self.buffer(|buffer| buffer.write(0, data))?;
        let bytes = self.bytes;
        let sink = self.buffer(|buffer| buffer.fill(0, bytes, 0))?;
        let start = self.reactor.now();
        self.lend(number, &source, Rights::READ)?;
        self.lend(number, &sink, Rights::WRITE)?;
        let elapsed_ns = self.reactor.now().ns_since(start);
        let mut found = vec![0; data.len()];
        sink.read(0, &mut found)?;
        Ok((found, elapsed_ns))
    }

    fn buffer(
        &self,
        fill: impl FnOnce(&mut DmaBuf) -> Result<(), dma::AccessError>,
    ) -> Result<Segment, RdmaError> {
        let mut buffer = self.pool.take().ok_or(RdmaError::NoBuffer)?;
        buffer.truncate(self.bytes);
        fill(&mut buffer)?;
        Ok(buffer.into_segment())
    }

    /// Tells the server of memory, and takes it back when the server has said that it is done with it.
    fn lend(&mut self, number: u64, segment: &Segment, rights: Rights) -> Result<(), RdmaError> {
        let memory = self.reactor.endpoint.bind(self.queue_pair, segment, rights)?;
        let message = Advertisement { memory, bytes: self.bytes }.to_bytes();
        let data = InlineData::new(&message).ok_or(RdmaError::NoBuffer)?;
        let work = SendWork {
            id: number,
            op: SendOp::Send,
            data: Data::Inline(data),
            signaled: true,
            fenced: false,
        };
        self.reactor.post(self.queue_pair, work)?;
        self.wait_for_message()?;
        self.reactor.endpoint.unbind(self.queue_pair, memory.key);
        Ok(())
    }

    fn wait_for_message(&mut self) -> Result<(), RdmaError> {
        let end = self.reactor.now().after(PATIENCE);
        loop {
            self.take_in()?;
            if self.messages > 0 {
                self.messages -= 1;
                return Ok(());
            }
            if self.stop.is_set() {
                return Err(RdmaError::Stopped);
            }
            if self.reactor.now() >= end {
                let what = "its part of a ping";
                return Err(RdmaError::Silent { peer: self.peer, what, patience: PATIENCE });
            }
            self.reactor.turn(end)?;
        }
    }

    /// Lets time pass between pings.
    fn rest(&mut self, until: Timestamp) -> Result<(), RdmaError> {
        while self.reactor.now() < until {
            if self.stop.is_set() {
                return Err(RdmaError::Stopped);
            }
            self.take_in()?;
            self.reactor.turn(until)?;
        }
        Ok(())
    }

    fn take_in(&mut self) -> Result<(), RdmaError> {
        for done in std::mem::take(&mut self.reactor.completions) {
            match done.outcome {
                Outcome::Sent { result: Ok(()), .. } => {}
                Outcome::Sent { result: Err(error), .. } | Outcome::Received { result: Err(error), .. } => {
                    self.failure.note(error);
                }
                Outcome::Received { result: Ok(message), buffer } => {
                    self.check_length(message.bytes)?;
                    self.messages += 1;
                    self.reactor.post_receive(self.queue_pair, Receive { id: 0, buffer })?;
                }
            }
        }
        self.failure.check(self.peer)?;
        match self.reactor.endpoint.poll_connection() {
            Some(ConnectionEvent::Closed { error, .. }) => Err(self.failure.or_closed(self.peer, error)),
            _ => Ok(()),
        }
    }

    fn check_length(&self, bytes: u32) -> Result<(), RdmaError> {
        if bytes == MESSAGE_BYTES {
            return Ok(());
        }
        let problem = format!("a message of {bytes} bytes, where rping's protocol has {MESSAGE_BYTES}");
        Err(RdmaError::Protocol { peer: self.peer, problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_ping_fails_the_run() {
        let mut tally = Tally::default();
        tally.note(1_000, false);
        assert!(tally.judge().is_ok());
        tally.note(2_000, true);
        tally.note(3_000, false);
        assert_eq!(
            tally.summary(64),
            "3 pings of 64 bytes, 1 wrong; time min/p50/p99/max = 1.0/2.0/3.0/3.0 us"
        );
        let error = tally.judge().unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().as_str()), (1, "1 of 3 pings came back wrong"));
    }
}
