//! A namespace of a controller as a block device.

use std::sync::Arc;

use block::split::Split;
use block::{
    Abilities, Access, BlockDevice, BlockQueue, ClaimTable, Geometry, Identity, MonotonicClock,
    OpenQueueError, QueueOptions, Timestamp,
};
use dma::{AttachError, NumaNode, Region};
use nvme_spec::Nsid;
use nvme_spec::command::CommandSetId;
use rustix::event::{PollFd, PollFlags, poll};
use thiserror::Error;

use crate::controller::Handle;
use crate::namespace_state::NamespaceState;
use crate::pci::PciFunction;
use crate::queue::{Engine, IoQueue};
use crate::shared::LinkError;

/// How often an opener looks whether its queue has been created, if nothing wakes it.
const OPEN_LOOK_MS: i64 = 20;

/// Why a namespace cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NamespaceError {
    /// There is none with this identifier.
    #[error("there is no namespace {0}")]
    Absent(Nsid),
    /// It is of another command set, such as zoned.
    #[error("its command set is {0}, and only the NVM command set is supported")]
    CommandSet(CommandSetId),
    /// Its blocks carry metadata.
    #[error("its blocks carry {bytes} bytes of metadata, which is not supported: format it without metadata")]
    Metadata {
        /// Bytes of metadata of a block.
        bytes: u16,
    },
    /// A block size that nobody uses.
    #[error("its blocks have 2^{lbads} bytes; 512 to 65536 are supported")]
    BlockSize {
        /// The power of two.
        lbads: u8,
    },
    /// A command can move less than a block.
    #[error("a command can move {bytes} bytes, which is less than a block")]
    TransferSize {
        /// The maximum data transfer size.
        bytes: u64,
    },
}

/// Abilities of a device that was opened for `access`.
pub(crate) fn permitted(abilities: Abilities, access: Access) -> Abilities {
    match access {
        Access::Read => abilities.difference(Abilities::WRITE | Abilities::WRITE_ZEROES | Abilities::DISCARD),
        Access::ReadWrite => abilities,
    }
}

/// One namespace, driven from userspace.
pub struct NvmeNamespace<F: PciFunction> {
    name: String,
    access: Access,
    controller: Arc<Handle<F>>,
    state: Arc<NamespaceState>,
}

impl<F: PciFunction> NvmeNamespace<F> {
    pub(crate) fn new(controller: Arc<Handle<F>>, state: Arc<NamespaceState>, access: Access) -> Self {
        let name = format!("{}/{}", controller.shared().function.name(), state.nsid);
        Self { name, access, controller, state }
    }

    /// The same with another name, such as the URI that it was opened by.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The namespace's own geometry, with the limits of one command: what is below the wrapper that splits requests.
    #[must_use]
    pub fn driver_geometry(&self) -> Geometry {
        self.state.shape().geometry
    }

    /// A queue that the controller may not have created yet; polling it attaches it. It takes requests within the
    /// namespace's own limits only.
    pub(crate) fn begin_queue(&self, options: QueueOptions) -> Result<IoQueue<F>, OpenQueueError> {
        let shared = self.controller.shared();
        let mut directory = shared.directory();
        let link = directory.new_link().map_err(|why| match why {
            LinkError::NotReady => OpenQueueError::Gone,
            LinkError::TooMany(queues) => OpenQueueError::TooMany { queues_max: u32::from(queues) },
            LinkError::Os(why) => OpenQueueError::Resources { what: "eventfd", reason: why.to_string() },
        })?;
        let limits = directory.limits.clone();
        drop(directory);
        let limits = limits.ok_or(OpenQueueError::Gone)?;
        let namespace = (Arc::clone(&self.state), self.access);
        let engine = Engine::new(Arc::clone(shared), namespace, Arc::clone(&link), &limits, options);
        match engine {
            Ok(engine) => Ok(IoQueue::new(engine, Arc::clone(&self.controller))),
            Err(why) => {
                shared.directory().free_link(&link);
                Err(why)
            }
        }
    }

    /// Waits until the controller has created the queue, for as long as its admin commands may take.
    fn wait_for_attachment(&self, queue: &mut IoQueue<F>) -> Result<(), OpenQueueError> {
        let clock = MonotonicClock::start();
        let give_up =
            Timestamp::default().after(self.controller.shared().options.admin_timeout.saturating_mul(2));
        while clock.now() < give_up {
            if queue.attachment()? {
                return Ok(());
            }
            let wake = queue.wake().map(|wake| PollFd::from_borrowed_fd(wake, PollFlags::IN));
            let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: OPEN_LOOK_MS * 1_000_000 };
            // An interrupted or failed wait is a short one: the loop looks again, until `give_up`.
            let _ = poll(&mut wake.into_iter().collect::<Vec<_>>(), Some(&timeout));
        }
        Err(OpenQueueError::Gone)
    }
}

impl<F: PciFunction> BlockDevice for NvmeNamespace<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        Split::<IoQueue<F>>::lift(self.driver_geometry())
    }

    fn identity(&self) -> Identity {
        self.state.shape().identity
    }

    fn abilities(&self) -> Abilities {
        permitted(self.state.shape().abilities, self.access) | Abilities::EXCLUSIVE
    }

    fn numa_node(&self) -> Option<NumaNode> {
        self.controller.shared().function.numa_node()
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        self.controller.shared().function.attach(region)
    }

    fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
        let mut queue = self.begin_queue(options)?;
        self.wait_for_attachment(&mut queue)?;
        Ok(Box::new(Split::new(queue, self.driver_geometry())))
    }

    fn claims(&self) -> &ClaimTable {
        &self.state.claims
    }
}

impl<F: PciFunction> std::fmt::Debug for NvmeNamespace<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NvmeNamespace").field("name", &self.name).finish_non_exhaustive()
    }
}
