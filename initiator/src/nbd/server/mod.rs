//! A server for one export: sockets, clients, one thread, and the device below.
//!
//! One thread for an export, whatever the number of clients: nothing is locked, changes of parts of blocks are serialized
//! by a table, and a flush covers what any client was told. `client`: one connection. `engine`: the commands under way.
//! `reactor`: the loop over both, and how it ends.

mod client;
mod clients;
mod counters;
mod engine;
mod listener;
mod reactor;
mod slab;
mod spin;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use block::{Access, BlockDevice, BlockRange, Claim, ClaimError, Lba, OpenQueueError, SleepError, Waker};
use dma::{AttachError, PoolError};
use thiserror::Error;

use super::address::Address;
use super::export::{Export, ExportError, ExportName};
use counters::Counters;
pub use counters::Status;
use listener::Listener;
use reactor::Reactor;

/// Requests that the device has at once, if it allows as many.
pub const DEPTH: u32 = 256;

/// Clients at once, if nothing else is asked for.
pub const CLIENTS: usize = 64;

/// How the thread waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Poll {
    /// It looks again and again.
    Always,
    /// It looks for some microseconds, then it sleeps until something arrives.
    #[default]
    Adaptive,
}

/// How a device is to be served.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The export's name.
    pub name: ExportName,
    /// Where to listen; at least one place.
    pub addresses: Vec<Address>,
    /// Writes are refused, also if the device would take them.
    pub read_only: bool,
    /// How the thread waits.
    pub poll: Poll,
    /// Most clients at once.
    pub clients_max: usize,
    /// Called when the server has ended, by itself or because it was asked to.
    pub on_end: Option<Waker>,
}

impl ServerOptions {
    /// A writable export, if the device is.
    #[must_use]
    pub fn new(name: ExportName, address: Address) -> Self {
        Self {
            name,
            addresses: vec![address],
            read_only: false,
            poll: Poll::default(),
            clients_max: CLIENTS,
            on_end: None,
        }
    }
}

/// Why a device is not served.
#[derive(Debug, Error)]
pub enum ServerError {
    /// NBD cannot show it.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Somebody else uses it.
    #[error("{device}: {source}")]
    Claim {
        /// The device.
        device: String,
        /// Who.
        source: ClaimError,
    },
    /// A place cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The place.
        address: Address,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no memory for the data.
    #[error("no memory for data: {0}")]
    Memory(#[from] PoolError),
    /// The device cannot use the memory.
    #[error("the device cannot use the memory for data: {0}")]
    Attach(#[from] AttachError),
    /// The device has no queue for us.
    #[error(transparent)]
    Queue(#[from] OpenQueueError),
    /// The thread cannot sleep.
    #[error(transparent)]
    Sleep(#[from] SleepError),
    /// The kernel gives no thread.
    #[error("the kernel gives no thread: {0}")]
    Thread(#[from] io::Error),
    /// The thread ended before it began.
    #[error("the server's thread failed")]
    Failed,
}

/// What did not go well when a server ended.
#[derive(Debug, Error)]
pub enum StopError {
    /// The device is gone.
    #[error("the device is gone")]
    Removed,
    /// The device has other blocks than clients were told.
    #[error("the device was formatted to another size of blocks")]
    Reformatted,
    /// Commands did not end in time. None of them was acknowledged.
    #[error("{commands} commands did not end in time; none of them was acknowledged")]
    Unfinished {
        /// How many.
        commands: usize,
    },
    /// The last flush failed.
    #[error("the device did not confirm the last flush: {reason}")]
    NotFlushed {
        /// Why.
        reason: &'static str,
    },
    /// The thread cannot sleep.
    #[error(transparent)]
    Sleep(#[from] SleepError),
    /// The thread panicked.
    #[error("the server's thread failed")]
    Failed,
}

/// What a server's thread and its owner share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    has_ended: AtomicBool,
    counters: Arc<Counters>,
}

/// A device that is served. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    waker: Waker,
    export: Export,
    addresses: Vec<Address>,
    thread: Option<JoinHandle<Result<(), StopError>>>,
}

/// What the thread needs to begin.
struct Setup {
    device: Arc<dyn BlockDevice>,
    export: Export,
    options: ServerOptions,
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
    claim: Claim,
}

impl Server {
    /// Claims the device, listens, and starts the thread. Clients can connect when this returns.
    pub fn start(device: Arc<dyn BlockDevice>, options: ServerOptions) -> Result<Self, ServerError> {
        let export = Export::of(&*device, options.name.clone(), options.read_only)?;
        let claim = claim(&*device, &export)?;
        let listeners = options.addresses.iter().map(Listener::bind).collect::<Result<Vec<_>, _>>()?;
        let addresses = listeners.iter().map(Listener::address).collect::<Result<_, _>>()?;
        let shared = Arc::new(Shared::default());
        let setup =
            Setup { device, export: export.clone(), options, listeners, shared: Arc::clone(&shared), claim };
        let (ready, is_ready) = sync_channel(1);
        let name = format!("nbd-{}", export.name);
        let thread = thread::Builder::new().name(name).spawn(move || run(setup, &ready))?;
        let waker = is_ready.recv().unwrap_or(Err(ServerError::Failed))?;
        Ok(Self { shared, waker, export, addresses, thread: Some(thread) })
    }

    /// What clients see of the device, as it was at the start.
    #[must_use]
    pub fn export(&self) -> &Export {
        &self.export
    }

    /// Where it listens, with the ports that the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What it has done so far.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.counters.status()
    }

    /// Begins to stop: nobody is let in any more, what is under way ends and is answered, new commands are answered with
    /// ESHUTDOWN, the device is flushed, and the clients are parted from.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended.load(Ordering::Acquire)
    }

    /// Waits until it has ended: after [`Self::stop`], or when the device is gone.
    pub fn wait(mut self) -> Result<(), StopError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), StopError> {
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or(Err(StopError::Failed)),
            None => Ok(()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if let Err(error) = self.join() {
            tracing::warn!("{}: {error}", self.export.description);
        }
    }
}

fn claim(device: &dyn BlockDevice, export: &Export) -> Result<Claim, ServerError> {
    let all = BlockRange::new(Lba(0), device.geometry().blocks);
    let access = if export.is_read_only { Access::Read } else { Access::ReadWrite };
    let claimed = device.claims().claim(all, access, &format!("attachment {}", export.name));
    claimed.map_err(|source| ServerError::Claim { device: device.name().to_owned(), source })
}

/// The thread. Whoever waits for its end is called when all of it has gone, the device's queue included.
fn run(setup: Setup, ready: &SyncSender<Result<Waker, ServerError>>) -> Result<(), StopError> {
    let on_end = setup.options.on_end.clone();
    let (claim, device, shared) = (setup.claim, Arc::clone(&setup.device), Arc::clone(&setup.shared));
    let made = Reactor::new(setup.device, setup.export, setup.options, setup.listeners, setup.shared);
    let answer = match made {
        Ok(reactor) => {
            // The other side waits for this.
            let _ = ready.send(Ok(reactor.waker()));
            reactor.run()
        }
        Err(error) => {
            let _ = ready.send(Err(error));
            Ok(())
        }
    };
    drop((claim, device));
    shared.has_ended.store(true, Ordering::Release);
    if let Some(waker) = on_end {
        waker.wake();
    }
    answer
}
