//! What a run has measured.

use rdma::Counters;

use crate::bench::statistics::Latency;
use crate::bench::usage::Usage;

/// What a client's run has measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Operations that were done.
    pub operations: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From the first operation's post to the last one's end.
    pub elapsed_ns: u64,
    /// From an operation's post to its end; for [`super::Op::Echo`] until the answer is there.
    pub latency: Latency,
    /// What the thread has used meanwhile.
    pub usage: Usage,
    /// What the endpoint has counted meanwhile.
    pub counters: Counters,
}

impl Measured {
    /// Bytes a second.
    #[must_use]
    pub fn bytes_per_s(&self) -> f64 {
        per_second(self.bytes, self.elapsed_ns)
    }

    /// Operations a second.
    #[must_use]
    pub fn operations_per_s(&self) -> f64 {
        per_second(self.operations, self.elapsed_ns)
    }

    /// Packets of both directions a second.
    #[must_use]
    pub fn packets_per_s(&self) -> f64 {
        per_second(self.packets(), self.elapsed_ns)
    }

    /// Packets of both directions.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.counters.packets_sent + self.counters.packets_received
    }

    /// The thread's share of a processor, in percent: in the program, in the kernel.
    #[must_use]
    pub fn processor_percent(&self) -> (f64, f64) {
        processor_percent(self.usage, self.elapsed_ns)
    }
}

/// A thread's share of a processor, in percent: in the program, in the kernel.
pub(super) fn processor_percent(usage: Usage, elapsed_ns: u64) -> (f64, f64) {
    let share = |time: std::time::Duration| time.as_secs_f64() * 1e11 / elapsed_ns.max(1) as f64;
    (share(usage.user), share(usage.system))
}

fn per_second(count: u64, elapsed_ns: u64) -> f64 {
    count as f64 * 1e9 / elapsed_ns.max(1) as f64
}

/// What was counted after `earlier`.
#[must_use]
pub fn counted_since(now: Counters, earlier: Counters) -> Counters {
    Counters {
        packets_sent: now.packets_sent - earlier.packets_sent,
        packets_received: now.packets_received - earlier.packets_received,
        packets_resent: now.packets_resent - earlier.packets_resent,
        bytes_copied: now.bytes_copied - earlier.bytes_copied,
        dropped_malformed: now.dropped_malformed - earlier.dropped_malformed,
        dropped_icrc: now.dropped_icrc - earlier.dropped_icrc,
        dropped_stray: now.dropped_stray - earlier.dropped_stray,
        dropped_requests: now.dropped_requests - earlier.dropped_requests,
        out_of_order: now.out_of_order - earlier.out_of_order,
        naks_sent: now.naks_sent - earlier.naks_sent,
        naks_received: now.naks_received - earlier.naks_received,
        timeouts: now.timeouts - earlier.timeouts,
        system_calls: now.system_calls - earlier.system_calls,
    }
}
