//! What an endpoint counts.

/// Numbers since an endpoint was made. A provider whose hardware does the work counts what it sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received, dropped ones included.
    pub packets_received: u64,
    /// Packets sent again.
    pub packets_resent: u64,
    /// Payload bytes that this process copied. 0 on hardware; on soft each received byte once.
    pub bytes_copied: u64,
    /// Packets dropped because they were malformed.
    pub dropped_malformed: u64,
    /// Packets dropped because their ICRC was wrong.
    pub dropped_icrc: u64,
    /// Packets dropped because no queue pair of ours expects them: unknown number, wrong peer, wrong state.
    pub dropped_stray: u64,
    /// Connection requests dropped because too many wait.
    pub dropped_requests: u64,
    /// Packets out of order or repeated, dropped or answered as the standard says.
    pub out_of_order: u64,
    /// NAKs sent, RNR included.
    pub naks_sent: u64,
    /// NAKs received, RNR included.
    pub naks_received: u64,
    /// Times that a timer ran out.
    pub timeouts: u64,
    /// System calls that sent or received.
    pub system_calls: u64,
}
