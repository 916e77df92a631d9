//! A controller that threads share: the lock, and what a test may do to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nvme_spec::Nsid;
use nvme_spec::registers::DOORBELLS_OFFSET;

use crate::controller::{Controller, NamespaceError, Stats};
use crate::doorbells::Doorbells;
use crate::faults::{Action, FaultRule, RuleId};
use crate::iommu::DmaFault;
use crate::media::Media;
use crate::options::{ATOMIC_BLOCKS_MAX, ControllerOptions, IO_QUEUE_PAIRS_MAX, NamespaceOptions};

/// How the model is woken when something was done to it.
pub(crate) trait Wake: Send + Sync {
    /// Something was done: a doorbell or a register was written, or a test acted.
    fn wake(&self);
}

/// A software SSD, apart from how it is driven: faults, namespaces, counts.
pub struct Ssd {
    controller: Mutex<Controller>,
    doorbells: Arc<Doorbells>,
    /// Wakes the thread that steps the controller, if there is one.
    waker: OnceLock<Arc<dyn Wake>>,
    /// Threads that want the lock while the stepping thread takes it again and again.
    waiting: AtomicUsize,
    name: String,
    register_bytes: u32,
    vectors: u16,
}

impl std::fmt::Debug for Ssd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ssd").field("name", &self.name).field("stats", &self.stats()).finish()
    }
}

impl Ssd {
    pub(crate) fn new(options: ControllerOptions) -> Self {
        assert!(
            (1..=IO_QUEUE_PAIRS_MAX).contains(&options.io_queue_pairs)
                && (2..=65536).contains(&options.queue_entries_max),
            "a controller has 1 to {IO_QUEUE_PAIRS_MAX} I/O queue pairs of 2 to 65536 entries"
        );
        assert!(
            options.atomic_write_power_fail_blocks <= ATOMIC_BLOCKS_MAX,
            "a write that is promised to be whole reaches the medium whole: at most {ATOMIC_BLOCKS_MAX} blocks"
        );
        let queues = options.io_queue_pairs + 1;
        let doorbells = Arc::new(Doorbells::new(options.doorbell_stride, queues));
        let doorbell_bytes = options.doorbell_stride.bytes() * u64::from(queues) * 2;
        let register_bytes = (u64::from(DOORBELLS_OFFSET) + doorbell_bytes).next_multiple_of(4096);
        let name = options.name.clone();
        let controller = Controller::new(options, Arc::clone(&doorbells));
        Self {
            doorbells,
            waker: OnceLock::new(),
            waiting: AtomicUsize::new(0),
            name,
            register_bytes: u32::try_from(register_bytes).unwrap_or(u32::MAX),
            vectors: controller.vectors(),
            controller: Mutex::new(controller),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn register_bytes(&self) -> u32 {
        self.register_bytes
    }

    pub(crate) fn vectors(&self) -> u16 {
        self.vectors
    }

    pub(crate) fn doorbells(&self) -> &Doorbells {
        &self.doorbells
    }

    /// Says how the thread that steps the controller is woken.
    pub(crate) fn set_waker(&self, waker: Arc<dyn Wake>) {
        let again = self.waker.set(waker).is_err();
        debug_assert!(!again, "a controller has one thread");
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    /// The controller, for anybody but the thread that steps it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Controller> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = self.controller.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    /// The controller, for the thread that steps it: it lets others have their turn first.
    pub(crate) fn lock_to_step(&self) -> MutexGuard<'_, Controller> {
        while self.waiting.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        self.controller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a namespace, attached; a running controller reports it. To be done before the host looks, otherwise.
    ///
    /// # Errors
    /// [`NamespaceError`] if the identifier is taken, or none that the controller can have.
    pub fn add_namespace(
        &self,
        nsid: Nsid,
        options: NamespaceOptions,
        media: impl Media + 'static,
    ) -> Result<(), NamespaceError> {
        let added = self.lock().add_namespace(nsid, options, Box::new(media));
        self.wake();
        added
    }

    /// Adds a fault; `None` if there are [`crate::faults::FAULT_RULES_MAX`] already.
    pub fn inject(&self, rule: FaultRule) -> Option<RuleId> {
        self.lock().faults.add(rule)
    }

    /// Starts the sequence of chances of faults anew.
    pub fn seed_faults(&self, seed: u64) {
        self.lock().faults.seed(seed);
    }

    /// Ends all faults. What is lost or held stays so.
    pub fn heal(&self) {
        self.lock().faults.heal();
    }

    /// How often a fault has struck.
    #[must_use]
    pub fn fired(&self, rule: RuleId) -> u64 {
        self.lock().faults.fired(rule)
    }

    /// Makes something happen.
    pub fn act(&self, action: Action) {
        self.lock().act(action);
        self.wake();
    }

    /// The controller loses power and has it again: registers as after power-on, no bus master, reservations that do not
    /// persist are gone. Cached writes are lost by [`crate::media::RecordingMedia`], and by nothing else.
    pub fn power_cycle(&self) {
        self.lock().power_cycle();
        self.wake();
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.lock().stats()
    }

    /// The first DMA faults, with their addresses.
    #[must_use]
    pub fn dma_faults(&self) -> Vec<DmaFault> {
        self.lock().iommu.faults().to_vec()
    }
}
