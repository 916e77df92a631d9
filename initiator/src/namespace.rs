//! A remote namespace as a block device.

use std::sync::Arc;
use std::time::Duration;

use block::{
    Abilities, Access, BlockDevice, BlockQueue, ClaimTable, Geometry, Identity, Limits, OpenQueueError,
    QueueOptions, Sleeper,
};
use dma::{AttachError, Region};
use nvme_spec::Nsid;
use nvmf::host::Namespace;
use rdma::Device;

use crate::desk::{Desk, Known, LinkState};
use crate::handle::Handle;
use crate::queue::{Queue, QueueRules};
use crate::regions::Regions;
use crate::shared::{Message, Phase, View};

/// Deepest queue: what does not fit the wire waits in it.
const QUEUE_DEPTH_MAX: u32 = 65_536;

/// What a device that was opened for reading does not do.
const CHANGING: Abilities = Abilities::WRITE.union(Abilities::WRITE_ZEROES).union(Abilities::DISCARD);

/// The namespace that was opened, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) nsid: Nsid,
    pub(crate) access: Access,
}

/// A namespace's shape as its queues have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) geometry: Geometry,
    pub(crate) abilities: Abilities,
}

impl Shape {
    /// A command names one window, and a window is one segment: what has more is split, at whole blocks.
    pub(crate) fn of(namespace: &Namespace, access: Access) -> Self {
        let Namespace { geometry, abilities, .. } = namespace;
        let limits =
            Limits { segments_max: 1, seam_alignment: geometry.block_size.bytes(), ..geometry.limits };
        let abilities = match access {
            Access::Read => abilities.difference(CHANGING),
            Access::ReadWrite => *abilities,
        };
        Self { geometry: Geometry { limits, ..*geometry }, abilities }
    }
}

/// A remote namespace, with the limits of one command.
pub(crate) struct RemoteNamespace<D: Device> {
    name: String,
    opened: Opened,
    rules: QueueRules,
    handle: Arc<Handle<D>>,
    regions: Arc<Regions>,
    claims: ClaimTable,
    /// What it was when it was opened: what is told of one that is gone.
    first: Namespace,
}

impl<D: Device> RemoteNamespace<D> {
    pub(crate) fn new(
        name: String,
        opened: Opened,
        handle: Handle<D>,
        first: Namespace,
        (fail_fast, io_timeout): (bool, Duration),
    ) -> Self {
        let io_timeout_ns = u64::try_from(io_timeout.as_nanos()).unwrap_or(u64::MAX);
        Self {
            name,
            opened,
            rules: QueueRules { nsid: opened.nsid, fail_fast, io_timeout_ns },
            handle: Arc::new(handle),
            regions: Arc::default(),
            claims: ClaimTable::default(),
            first,
        }
    }

    fn namespace(&self) -> Namespace {
        let known = |view: &mut View| view.namespaces.get(&self.opened.nsid).cloned();
        match self.handle.shared().with_view(known) {
            Some(Ok(namespace)) if namespace.is_same(&self.first) => namespace,
            _ => self.first.clone(),
        }
    }

    fn shape(&self) -> Shape {
        Shape::of(&self.namespace(), self.opened.access)
    }

    /// Counts one more queue, if there may be one. Returns the incarnation that it begins in.
    fn enter_queue(&self) -> Result<u64, OpenQueueError> {
        self.handle.shared().with_view(|view| {
            if view.is_removed || matches!(view.phase, Phase::Dead(_)) {
                return Err(OpenQueueError::Gone);
            }
            if view.queues_open >= view.queues {
                return Err(OpenQueueError::TooMany { queues_max: u32::from(view.queues) });
            }
            view.queues_open += 1;
            Ok(view.incarnation)
        })
    }
}

impl<D: Device> BlockDevice for RemoteNamespace<D> {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        self.shape().geometry
    }

    fn identity(&self) -> Identity {
        self.namespace().identity
    }

    fn abilities(&self) -> Abilities {
        self.shape().abilities
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        self.regions.attach(&**self.handle.device(), region)
    }

    fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
        let QueueOptions { depth, .. } = options;
        if depth == 0 || depth > QUEUE_DEPTH_MAX {
            return Err(OpenQueueError::Depth { depth, depth_max: QUEUE_DEPTH_MAX });
        }
        let sleeper = Sleeper::new()
            .map_err(|error| OpenQueueError::Resources { what: "descriptor", reason: error.to_string() })?;
        let incarnation = self.enter_queue()?;
        let shared = self.handle.shared();
        let Shape { geometry, abilities } = self.shape();
        // The core corrects it at once.
        let known = Known { link: LinkState::Up, incarnation, geometry, abilities, ..Known::nothing() };
        let desk = Arc::new(Desk::new(shared.next_desk(), known, sleeper.waker()));
        shared.tell(Message::Opened(Arc::clone(&desk)));
        let (handle, regions) = (Arc::clone(&self.handle), Arc::clone(&self.regions));
        Ok(Box::new(Queue::new(handle, self.rules, regions, (desk, known), sleeper, options)))
    }

    fn claims(&self) -> &ClaimTable {
        &self.claims
    }
}
