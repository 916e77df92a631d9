//! A controller: attached, driven by a thread of its own, shut down when the last handle goes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use block::{Access, MonotonicClock, OpenQueueError, QueueOptions, Timestamp};
use nvme_spec::Nsid;
use nvme_spec::command::AdminCommand;
use rustix::io::Errno;
use thiserror::Error;

use crate::admin::{AdminAnswer, AdminError};
use crate::core::{Core, CoreError};
use crate::identity::ControllerInfo;
use crate::namespace::{NamespaceError, NvmeNamespace};
use crate::options::DriverOptions;
use crate::pci::{PciError, PciFunction};
use crate::phase::Stage;
use crate::queue::IoQueue;
use crate::shared::{ResetReason, Shared};
use crate::wake::Wake;
use crate::worker;

/// Why a controller is not driven.
#[derive(Debug, Error)]
pub enum ControllerError {
    /// It cannot be driven at all.
    #[error("{controller}: {reason}")]
    Unusable {
        /// Its name.
        controller: String,
        /// The reason, as a sentence.
        reason: String,
    },
    /// It was tried, and given up.
    #[error("{controller} was given up: {reason}")]
    GivenUp {
        /// Its name.
        controller: String,
        /// The reason, as a sentence.
        reason: String,
    },
    /// It did as it was told, but the kernel did not.
    #[error("{controller}: {source}")]
    Function {
        /// Its name.
        controller: String,
        /// The refusal.
        source: PciError,
    },
    /// No eventfd or thread for it.
    #[error("no {what} to drive a controller with: {source}")]
    Os {
        /// What is missing.
        what: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// What keeps a controller driven. Dropping the last one shuts it down and waits for that.
pub(crate) struct Handle<F: PciFunction> {
    shared: Arc<Shared<F>>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl<F: PciFunction> Handle<F> {
    pub(crate) fn shared(&self) -> &Arc<Shared<F>> {
        &self.shared
    }
}

impl<F: PciFunction> Drop for Handle<F> {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.core_wake.signal();
        let worker = self.worker.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if worker.is_some_and(|worker| worker.join().is_err()) {
            tracing::error!(controller = self.shared.function.name(), "the controller's thread panicked");
        }
    }
}

/// A controller that is driven.
pub struct NvmeController<F: PciFunction> {
    handle: Arc<Handle<F>>,
}

impl<F: PciFunction> NvmeController<F> {
    /// Resets and initialises the controller, and drives it from a new thread. Returns when it can be used.
    pub fn attach(function: F, options: DriverOptions) -> Result<Self, ControllerError> {
        let clock = MonotonicClock::start();
        let (shared, mut core) = prepare(function, options, clock.now())?;
        worker::run_until(&shared, &mut core, &clock, |shared, core| {
            shared.phase.load().stage == Stage::Live || core.is_over()
        });
        if core.is_over() {
            let reason = shared.directory().epitaph.clone().unwrap_or_default();
            return Err(ControllerError::GivenUp { controller: shared.function.name().to_owned(), reason });
        }
        let name = format!("nvme {}", shared.function.name());
        let (for_worker, start) = (Arc::clone(&shared), std::thread::Builder::new().name(name));
        let worker = start
            .spawn(move || {
                worker::run_until(&for_worker, &mut core, &clock, |shared, core| {
                    shared.is_closing() && core.is_over() && core.has_no_work()
                })
            })
            .map_err(|source| ControllerError::Os { what: "thread", source })?;
        Ok(Self { handle: Arc::new(Handle { shared, worker: Mutex::new(Some(worker)) }) })
    }

    /// Another handle of a controller that is driven.
    pub(crate) fn of(handle: Arc<Handle<F>>) -> Self {
        Self { handle }
    }

    /// For whoever wants to know whether the controller is still driven.
    pub(crate) fn downgrade(&self) -> Weak<Handle<F>> {
        Arc::downgrade(&self.handle)
    }

    /// What the controller says of itself.
    #[must_use]
    pub fn info(&self) -> Option<ControllerInfo> {
        self.handle.shared.directory().info.clone()
    }

    /// The namespaces that can be used, in order.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Nsid> {
        self.handle.shared.directory().namespaces.keys().copied().collect()
    }

    /// The namespaces that are there and cannot be used, each with the reason.
    #[must_use]
    pub fn refused_namespaces(&self) -> Vec<(Nsid, NamespaceError)> {
        let directory = self.handle.shared.directory();
        directory.refused.iter().map(|(nsid, why)| (*nsid, why.clone())).collect()
    }

    /// A namespace as a block device. It keeps the controller attached.
    pub fn namespace(&self, nsid: Nsid, access: Access) -> Result<NvmeNamespace<F>, NamespaceError> {
        let directory = self.handle.shared.directory();
        match (directory.namespaces.get(&nsid), directory.refused.get(&nsid)) {
            (Some(state), _) => Ok(NvmeNamespace::new(Arc::clone(&self.handle), Arc::clone(state), access)),
            (None, Some(why)) => Err(why.clone()),
            (None, None) => Err(NamespaceError::Absent(nsid)),
        }
    }

    /// Sends an admin command that returns `bytes` bytes, at most [`ADMIN_BYTES_MAX`], and waits for them: Identify, Get
    /// Log Page or Get Features. What the controller leaves unwritten is zero.
    ///
    /// # Errors
    /// [`AdminError`]. A controller that does not answer is reset by the driver, as for a command of its own.
    ///
    /// [`ADMIN_BYTES_MAX`]: crate::ADMIN_BYTES_MAX
    pub fn admin(&self, command: AdminCommand, bytes: u32) -> Result<Vec<u8>, AdminError> {
        let shared = &self.handle.shared;
        // As long as a job before it may take, and then itself.
        shared.begin_admin(command, bytes)?.wait(shared.options.admin_timeout * 2)
    }

    /// Resets the controller. What is in flight ends with an error that says so; queues come back by themselves.
    pub fn reset(&self) {
        let incarnation = self.handle.shared.phase.load().incarnation;
        self.handle.shared.wish_reset(incarnation, ResetReason::Requested);
    }

    /// I/O queues that the controller has granted.
    #[must_use]
    pub fn io_queues_max(&self) -> u16 {
        self.handle.shared.directory().limits.as_ref().map_or(0, |limits| limits.io_queues)
    }
}

/// The same driver without a thread: whoever owns it steps it, with a clock of their own. For simulations and for
/// measurements that want nothing beside the driver's own path.
pub struct SteppedController<F: PciFunction> {
    core: Core<F>,
    controller: NvmeController<F>,
}

impl<F: PciFunction> SteppedController<F> {
    /// Begins to reset and initialise the controller; [`Self::step`] goes on with it.
    pub fn begin(function: F, options: DriverOptions, now: Timestamp) -> Result<Self, ControllerError> {
        let (shared, core) = prepare(function, options, now)?;
        let handle = Arc::new(Handle { shared, worker: Mutex::new(None) });
        Ok(Self { core, controller: NvmeController { handle } })
    }

    /// Does what there is to do; returns when it wants to be called again at the latest.
    pub fn step(&mut self, now: Timestamp) -> Timestamp {
        self.core.step(now)
    }

    /// Begins the orderly shutdown, which [`Self::step`] goes on with. It waits for all queues to be dropped.
    pub fn close(&self) {
        self.controller.handle.shared.closing.store(true, Ordering::Release);
    }

    /// The controller.
    #[must_use]
    pub fn controller(&self) -> &NvmeController<F> {
        &self.controller
    }

    /// Where the core is, in the words of its drawing: `disabling`, `enabling`, `initialising`, `live`, `halting`,
    /// `shutting down`, `over`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        self.core.state_name()
    }

    /// Whether the controller is over and nobody could make sure that it touches no memory any more.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.controller.handle.shared.phase.load().stage == Stage::Unreachable
    }

    /// How often the controller has begun anew.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.controller.handle.shared.phase.load().incarnation
    }

    /// Why the controller was given up.
    #[must_use]
    pub fn epitaph(&self) -> Option<String> {
        self.controller.handle.shared.directory().epitaph.clone()
    }

    /// Sends an admin command as [`NvmeController::admin`] does, for whoever steps to collect the answer.
    ///
    /// # Errors
    /// [`AdminError`], for what is refused at once.
    pub fn begin_admin(&self, command: AdminCommand, bytes: u32) -> Result<AdminAnswer, AdminError> {
        self.controller.handle.shared.begin_admin(command, bytes)
    }

    /// A queue that is attached by being polled, without the wrapper that splits requests.
    pub fn begin_queue(&self, nsid: Nsid, options: QueueOptions) -> Result<IoQueue<F>, OpenQueueError> {
        let namespace =
            self.controller.namespace(nsid, Access::ReadWrite).map_err(|_| OpenQueueError::Gone)?;
        namespace.begin_queue(options)
    }
}

fn prepare<F: PciFunction>(
    function: F,
    options: DriverOptions,
    now: Timestamp,
) -> Result<(Arc<Shared<F>>, Core<F>), ControllerError> {
    let options = options.clamped();
    let vectors = function.interrupt_vectors_max().min(options.io_queues + 1);
    let os = |what| move |source: Errno| ControllerError::Os { what, source: source.into() };
    let vectors: Result<Vec<_>, _> = (0..vectors).map(|_| Wake::new()).collect();
    let shared =
        Shared::new(Arc::new(function), options, vectors.map_err(os("eventfd"))?).map_err(os("eventfd"))?;
    let name = || shared.function.name().to_owned();
    shared.enable_interrupts().map_err(|source| ControllerError::Function { controller: name(), source })?;
    let shared = Arc::new(shared);
    let core = Core::new(Arc::clone(&shared), now).map_err(|why: CoreError| ControllerError::Unusable {
        controller: shared.function.name().to_owned(),
        reason: why.to_string(),
    })?;
    Ok((shared, core))
}
