//! What a test asks of a controller.

/// Counts since the controller was made; resets do not clear them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commands fetched.
    pub fetched: u64,
    /// Completions written.
    pub completed: u64,
    /// Commands that are fetched and not completed now.
    pub held: usize,
    /// Doorbell writes that were not legal.
    pub invalid_doorbells: u64,
    /// Doorbell writes that told of completions taken, of all queues but the admin queue.
    pub cq_doorbells: u64,
    /// Accesses to host memory.
    pub dma_accesses: u64,
    /// Accesses that were refused.
    pub dma_faults: u64,
    /// Interrupts sent.
    pub interrupts: u64,
    /// Interrupts lost by a fault.
    pub interrupts_lost: u64,
    /// Flush commands executed.
    pub flushes: u64,
    /// Writes with Force Unit Access executed.
    pub fua_writes: u64,
}
