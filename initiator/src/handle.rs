//! A controller in use: its core's thread, for as long as a device, a queue or a client needs it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use block::{MonotonicClock, Sleeper};
use nvmf::host::{Failure, HostOptions};
use rdma::{ConnectionError, Device};

use crate::core::Core;
use crate::error::ConnectError;
use crate::namespace::Opened;
use crate::port::Port;
use crate::shared::{Message, Phase, Shared, View};

/// Longest wait for the first association. Every step before it has its own, shorter limit.
const FIRST_ASSOCIATION_MAX: Duration = Duration::from_secs(600);

/// What is to be attached.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) peer: SocketAddr,
    pub(crate) host: HostOptions,
    /// The namespace that queues are for.
    pub(crate) opened: Option<Opened>,
    /// How long a command may take.
    pub(crate) io_timeout: Duration,
}

/// A controller in use.
pub(crate) struct Handle<D: Device> {
    shared: Arc<Shared<D>>,
    device: Arc<D>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Device> Handle<D> {
    /// Starts the core's thread, and waits until there is an association or will be none.
    pub(crate) fn attach(device: Arc<D>, plan: Plan) -> Result<Self, ConnectError> {
        let sleeper = Sleeper::new()?;
        let shared = Arc::new(Shared::new(sleeper.waker(), MonotonicClock::start()));
        let port = Port::new(&device, plan.host.io_entries)?;
        let peer = plan.peer;
        let core = Core::new((Arc::clone(&device), Arc::clone(&shared)), port, plan, sleeper)?;
        let thread = Builder::new()
            .name("remora-host".to_owned())
            .spawn(move || core.run())
            .map_err(ConnectError::Thread)?;
        let handle = Self { shared, device, thread: Some(thread) };
        handle.wait_for_association(peer)?;
        Ok(handle)
    }

    fn wait_for_association(&self, peer: SocketAddr) -> Result<(), ConnectError> {
        let first = |view: &View| match view.phase {
            Phase::Starting | Phase::Down => None,
            Phase::Live => Some(Ok(())),
            Phase::Dead(failure) => Some(Err((failure, view.connection))),
        };
        match self.shared.wait_until(FIRST_ASSOCIATION_MAX, first) {
            Some(Ok(())) => Ok(()),
            Some(Err((failure, connection))) => Err(refusal(peer, failure, connection)),
            None => Err(Failure::Silent("the target").into()),
        }
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared<D>> {
        &self.shared
    }

    pub(crate) const fn device(&self) -> &Arc<D> {
        &self.device
    }
}

/// What a failure means to whoever asked: if there was no connection, why.
fn refusal(peer: SocketAddr, failure: Failure, connection: Option<ConnectionError>) -> ConnectError {
    match (failure, connection) {
        (Failure::NoConnection(_), Some(error)) => {
            ConnectError::NoConnection { peer, error: Box::new(error) }
        }
        (Failure::NoConnection(_), None) => {
            ConnectError::NoConnection { peer, error: Box::new(ConnectionError::TimedOut) }
        }
        (failure, _) => failure.into(),
    }
}

/// Ends the association in order, and waits for that: the controller is told, and is given the time that it needs.
impl<D: Device> Drop for Handle<D> {
    fn drop(&mut self) {
        self.shared.tell(Message::Shutdown);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of a remote controller panicked");
        }
    }
}
