//! The reactors' threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use block::{MonotonicClock, Sleeper, Waker};
use core_affinity::CoreId;
use rdma::ProviderChoice;

use super::error::EngineError;
use super::open::{Addresses, Crew, Ports, addresses, open};
use super::options::{
    DATA_BYTES_MAX, DATA_BYTES_MIN, EngineOptions, REACTORS_MAX, READ_BYTES_MIN, RECEIVES_MAX, RECEIVES_MIN,
};
use super::{Engine, changes::Changes};
use crate::hub::Hub;
use crate::reactor::{Buffers, Reactor, ReactorError, ReactorOptions};

/// Processors that an affinity mask of the C library can name.
const PROCESSORS_MAX: usize = 1024;

/// What a thread begins with: a reactor belongs to its thread from the start.
struct Start {
    options: ReactorOptions,
    processor: Option<usize>,
    hub: Arc<Hub>,
    buffers: Buffers,
    ports: Ports,
    sleeper: Sleeper,
}

impl EngineOptions {
    fn check(&self) -> Result<(), EngineError> {
        let fail = |words: String| Err(EngineError::Options(words));
        if self.reactors.is_empty() || self.reactors.len() > REACTORS_MAX {
            return fail(format!("an engine has 1 to {REACTORS_MAX} reactors, not {}", self.reactors.len()));
        }
        if self.listeners.iter().any(|listener| listener.port() == 0) {
            return fail("hosts need to know the port: it cannot be 0".to_owned());
        }
        let buffers = &self.buffers;
        if !(DATA_BYTES_MIN..=DATA_BYTES_MAX).contains(&buffers.data_bytes) {
            return fail(format!("data buffers of a reactor are {DATA_BYTES_MIN} to {DATA_BYTES_MAX} bytes"));
        }
        if !(RECEIVES_MIN..=RECEIVES_MAX).contains(&buffers.receives) {
            return fail(format!("a reactor has {RECEIVES_MIN} to {RECEIVES_MAX} receives"));
        }
        if buffers.read_bytes < READ_BYTES_MIN {
            return fail(format!("at least {READ_BYTES_MIN} bytes are on their way from hosts at once"));
        }
        Ok(self.limits.check()?)
    }
}

impl Engine {
    /// Opens the RDMA devices of the listeners' addresses and starts the threads. From then on hosts can connect, and find
    /// what is added.
    pub fn start(options: EngineOptions) -> Result<Self, EngineError> {
        options.check()?;
        let (named, found) = addresses(&options.listeners, options.provider)?;
        let count = options.reactors.len();
        let sleepers = (0..count).map(|_| Sleeper::new()).collect::<Result<Vec<_>, _>>()?;
        let wakers: Vec<Waker> = sleepers.iter().map(Sleeper::waker).collect();
        let hub = Arc::new(Hub::new(options.limits, MonotonicClock::start(), wakers.iter().cloned())?);
        let ports_max = u32::try_from(named.len() + found.len()).unwrap_or(u32::MAX);
        let buffers = (0..count)
            .map(|_| Buffers::new(&options.buffers, &options.limits, ports_max))
            .collect::<Result<Vec<_>, _>>()?;
        let regions = buffers.iter().flat_map(Buffers::data_regions).cloned().collect();
        let crew = Crew { wakers: &wakers, buffers: &buffers };
        let (ports, listening) = open_all(&named, &found, options.provider, &crew)?;
        hub.set_listeners(options.listeners.clone());
        let changes = Changes::new(Arc::clone(&hub), regions);
        let mut engine = Self { hub, changes, listening, threads: Vec::new() };
        let parts = sleepers.into_iter().zip(buffers).zip(ports).zip(&options.reactors).enumerate();
        for (index, (((sleeper, buffers), ports), processor)) in parts {
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            let reactor = ReactorOptions { index, poll: options.poll, buffers: options.buffers };
            let hub = Arc::clone(&engine.hub);
            // On failure the engine is dropped, which ends those that run.
            let thread =
                spawn(Start { options: reactor, processor: *processor, hub, buffers, ports, sleeper })?;
            engine.threads.push(thread);
        }
        Ok(engine)
    }
}

/// The ports of all reactors, and where hosts can connect to. Of addresses that nobody named, those that cannot be used are left.
fn open_all(
    named: &Addresses,
    found: &Addresses,
    provider: ProviderChoice,
    crew: &Crew<'_>,
) -> Result<(Vec<Ports>, Vec<SocketAddr>), EngineError> {
    let mut by_reactor: Vec<Ports> = crew.wakers.iter().map(|_| Ports::new()).collect();
    let mut listening = Vec::new();
    let all = named.iter().map(|entry| (true, entry)).chain(found.iter().map(|entry| (false, entry)));
    for (is_named, (address, ports)) in all {
        match open(*address, ports, provider, crew) {
            Ok(opened) => {
                by_reactor.iter_mut().zip(opened).for_each(|(all, port)| all.push(port));
                listening.extend(ports.iter().map(|port| SocketAddr::new(*address, *port)));
            }
            Err(error) if is_named => return Err(error),
            Err(error) => tracing::warn!(%error, "an address of this machine is not listened at"),
        }
    }
    if listening.is_empty() { Err(EngineError::NoListener) } else { Ok((by_reactor, listening)) }
}

fn spawn(start: Start) -> Result<JoinHandle<()>, EngineError> {
    let (ready, is_ready) = sync_channel(1);
    let name = format!("reactor-{}", start.options.index);
    let thread = std::thread::Builder::new().name(name);
    let handle = thread.spawn(move || run(start, &ready)).map_err(EngineError::Thread)?;
    match is_ready.recv() {
        Ok(Ok(())) => Ok(handle),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(EngineError::Thread(std::io::Error::other("it ended before it began"))),
    }
}

fn run(start: Start, ready: &SyncSender<Result<(), EngineError>>) {
    let Start { options, processor, hub, buffers, ports, sleeper } = start;
    let pinned =
        processor.is_none_or(|id| id < PROCESSORS_MAX && core_affinity::set_for_current(CoreId { id }));
    let address =
        ports.first().map_or_else(|| std::net::Ipv4Addr::UNSPECIFIED.into(), |port| port.address().ip());
    let reactor = match (pinned, processor) {
        (false, Some(id)) => Err(EngineError::Processor(id)),
        _ => Reactor::new(&options, hub, buffers, ports, sleeper).map_err(|error| match error {
            ReactorError::Sleep(error) => EngineError::Sleep(error),
            ReactorError::Create(source) => EngineError::Create { address, source },
        }),
    };
    // Whoever started the thread waits for this.
    match reactor {
        Ok(reactor) => {
            let _ = ready.send(Ok(()));
            reactor.run();
        }
        Err(error) => drop(ready.send(Err(error))),
    }
}
