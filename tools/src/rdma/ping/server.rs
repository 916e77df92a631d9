//! The server of rping's protocol: one client at a time, others are refused meanwhile.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use block::Timestamp;
use dma::{MemoryOptions, Pool, PoolOptions};
use rdma::{
    Completion, ConnectionEvent, ConnectionParameters, Device, Endpoint, PrivateData, Provider, ProviderTask,
    QueuePairOptions, Receive, ReceiveSource, Request,
};

use super::pattern::text;
use super::session::{DATA_CHUNKS, Session};
use super::{BYTES_MAX, PingOptions, RECEIVES, SEND_DEPTH, chunk_bytes};
use crate::bench::stop::Stop;
use crate::rdma::error::RdmaError;
use crate::rdma::reactor::{EventOf, Reactor};

/// A client that is silent for longer makes way for another one: a client that was killed is noticed by nothing else.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What those who are refused are told.
const BUSY: &[u8] = b"another client is being served";

/// The server's run.
pub struct Server<'a, W> {
    /// The command line.
    pub options: &'a PingOptions,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Ends it.
    pub stop: &'a Stop,
    /// Where the lines go.
    pub out: W,
}

impl<W: Write> ProviderTask for Server<'_, W> {
    type Output = Result<(), RdmaError>;

    fn run<P: Provider>(mut self, provider: &P) -> Result<(), RdmaError> {
        let mut reactor = Reactor::open(provider, self.listen.ip(), &self.options.reactor())?;
        reactor.listen(self.listen.port())?;
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let chunks = RECEIVES + DATA_CHUNKS;
        let pool = Pool::new(PoolOptions { chunk_bytes: chunk_bytes(BYTES_MAX), chunks, memory })?;
        reactor.attach(&pool)?;
        say(&mut self.out, &format!("listening on {}", self.listen))?;
        Serving { server: self, reactor, pool, session: None, served: 0 }.run()
    }
}

struct Serving<'a, D: Device, W> {
    server: Server<'a, W>,
    reactor: Reactor<D>,
    pool: Pool,
    session: Option<Session>,
    /// Pings of all clients that have gone.
    served: u64,
}

impl<D: Device, W: Write> Serving<'_, D, W> {
    fn run(mut self) -> Result<(), RdmaError> {
        let count = self.server.options.count.unwrap_or(u64::MAX);
        while !self.server.stop.is_set() && (self.served < count || self.session.is_some()) {
            self.reactor.turn(Timestamp::NEVER)?;
            for done in std::mem::take(&mut self.reactor.completions) {
                self.completed(done)?;
            }
            while let Some(event) = self.reactor.endpoint.poll_connection() {
                self.told(event)?;
            }
        }
        if let Some(session) = self.session.take() {
            self.reactor.part(&[session.queue_pair])?;
            self.farewell(&session, "stopped by a signal")?;
        }
        Ok(())
    }

    fn completed(&mut self, done: Completion) -> Result<(), RdmaError> {
        let now = self.reactor.now();
        let Some(session) = self.session.as_mut().filter(|session| session.queue_pair == done.queue_pair)
        else {
            return Ok(());
        };
        let shown = match session.handle(done, &self.pool, &mut self.reactor, now) {
            Ok(shown) => shown,
            Err(error) => {
                let queue_pair = session.queue_pair;
                session.problem = Some(error.to_string());
                self.reactor.endpoint.disconnect(queue_pair, now);
                return Ok(());
            }
        };
        match shown {
            Some(data) if self.server.options.verbose => {
                let mut bytes = vec![0; usize::try_from(data.bytes()).unwrap_or_default()];
                data.read(0, &mut bytes)?;
                say(&mut self.server.out, &format!("server ping data: {}", text(&bytes)))
            }
            _ => Ok(()),
        }
    }

    fn told(&mut self, event: EventOf<D>) -> Result<(), RdmaError> {
        match event {
            ConnectionEvent::Requested(request) => self.requested(request),
            ConnectionEvent::Established { .. } => Ok(()),
            ConnectionEvent::Closed { queue_pair, error } => {
                match self.session.take_if(|session| session.queue_pair == queue_pair) {
                    Some(session) => self.end(session, &error.to_string()),
                    None => Ok(()),
                }
            }
        }
    }

    fn requested(&mut self, request: <D::Endpoint as Endpoint>::Request) -> Result<(), RdmaError> {
        let now = self.reactor.now();
        if let Some(session) = self.session.take_if(|session| now.since(session.heard_at) >= SILENCE_MAX) {
            self.end(session, "silent for too long, and another client asked")?;
        }
        if self.session.is_some() {
            let busy = PrivateData::new(BUSY).unwrap_or_default();
            // It may have given up meanwhile, which is as well.
            let _ = self.reactor.endpoint.reject(request, &busy, now);
            return Ok(());
        }
        let peer = request.offer().peer;
        // We read from the client, one at a time.
        let parameters =
            ConnectionParameters { responder_resources: 1, initiator_depth: 1, ..Default::default() };
        let queue = QueuePairOptions { send_depth: SEND_DEPTH, receives: ReceiveSource::Own(RECEIVES) };
        let queue_pair = match self.reactor.endpoint.accept(request, &queue, &parameters, now) {
            Ok(queue_pair) => queue_pair,
            Err((error, _)) => {
                return say(&mut self.server.out, &format!("{peer} could not be accepted: {error}"));
            }
        };
        for _ in 0..RECEIVES {
            let buffer = self.pool.take().ok_or(RdmaError::NoBuffer)?;
            self.reactor.post_receive(queue_pair, Receive { id: 0, buffer })?;
        }
        self.session = Some(Session::new(queue_pair, peer, now));
        Ok(())
    }

    fn end(&mut self, session: Session, why: &str) -> Result<(), RdmaError> {
        let now = self.reactor.now();
        self.reactor.endpoint.destroy(session.queue_pair, now);
        self.farewell(&session, why)
    }

    fn farewell(&mut self, session: &Session, why: &str) -> Result<(), RdmaError> {
        self.served += session.pings;
        let why = session.problem.as_deref().unwrap_or(why);
        let (peer, pings, bytes) = (session.peer, session.pings, session.bytes);
        say(&mut self.server.out, &format!("{peer}: {pings} pings, {bytes} bytes each way; {why}"))
    }
}

fn say(out: &mut impl Write, line: &str) -> Result<(), RdmaError> {
    writeln!(out, "{line}").map_err(RdmaError::Output)
}
