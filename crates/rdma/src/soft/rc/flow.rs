//! How much may be under way: toward a peer ([`Flow`]) and toward this endpoint ([`ReadBudget`]). What is under way lies in
//! a socket's receive buffer at worst, and what does not fit there is lost.

use block::Timestamp;

use super::rtt::Rtt;

/// What a packet costs a receive buffer besides its payload: small packets take a buffer's memory by their number.
pub(super) const PACKET_OVERHEAD_BYTES: u32 = 512;
/// Most that is under way to one peer. The default receive buffer of Linux is 212,992 bytes, counted generously.
const WINDOW_BYTES_MAX: u32 = 160 << 10;
/// Where the window begins.
const WINDOW_BYTES_INITIAL: u32 = 64 << 10;
/// The window is never less: one packet of the largest payload.
const WINDOW_BYTES_MIN: u32 = 4096 + PACKET_OVERHEAD_BYTES;
/// Most that is under way to an endpoint because it reads.
const READ_BYTES_IN_FLIGHT_MAX: u32 = 128 << 10;
/// Most bytes of one READ request; a larger READ is several. A multiple of every MTU.
pub(super) const READ_BYTES_MAX: u32 = 32 << 10;

/// The congestion window toward one peer, shared by the queue pairs to it: additive increase, multiplicative decrease.
/// One packet may always be under way, whatever the window.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    window: u32,
    /// Below it the window doubles in a round trip.
    threshold: u32,
    in_flight: u32,
    last_loss: Option<Timestamp>,
    rtt: Rtt,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            window: WINDOW_BYTES_INITIAL,
            threshold: WINDOW_BYTES_MAX,
            in_flight: 0,
            last_loss: None,
            rtt: Rtt::default(),
        }
    }
}

impl Flow {
    /// Whether nothing is under way: all queue pairs to the peer may go on.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    /// The window in bytes.
    #[must_use]
    pub const fn window_bytes(&self) -> u32 {
        self.window
    }

    #[inline]
    pub(super) const fn admits(&self, bytes: u32) -> bool {
        self.in_flight == 0 || self.in_flight + bytes <= self.window
    }

    #[inline]
    pub(super) const fn sent(&mut self, bytes: u32) {
        self.in_flight += bytes;
    }

    /// What was sent is not under way any more, and nothing follows from that.
    #[inline]
    pub(super) fn released(&mut self, bytes: u32) {
        debug_assert!(bytes <= self.in_flight, "{bytes} of {}", self.in_flight);
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// What was sent has arrived: the window grows.
    #[inline]
    pub(super) fn arrived(&mut self, bytes: u32) {
        self.released(bytes);
        if self.window < WINDOW_BYTES_MAX {
            let growth = if self.window < self.threshold {
                bytes
            } else {
                // One packet in a window's time.
                bytes.saturating_mul(WINDOW_BYTES_MIN).div_ceil(self.window)
            };
            self.window = self.window.saturating_add(growth).min(WINDOW_BYTES_MAX);
        }
    }

    /// Something was lost: the window halves, once in a round trip.
    pub(super) fn lost(&mut self, now: Timestamp) {
        let round_trip_ns = self.rtt.smoothed_ns();
        if self.last_loss.is_none_or(|before| now.ns_since(before) > round_trip_ns) {
            self.last_loss = Some(now);
            self.threshold = (self.window / 2).max(WINDOW_BYTES_MIN);
            self.window = self.threshold;
        }
    }

    #[inline]
    pub(super) const fn rtt(&mut self) -> &mut Rtt {
        &mut self.rtt
    }
}

/// Bytes that an endpoint has asked for and not received yet. One request may always be outstanding, whatever its size.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadBudget {
    in_flight: u32,
}

impl ReadBudget {
    /// Whether nothing is under way.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    #[inline]
    pub(super) const fn admits(&self, bytes: u32) -> bool {
        self.in_flight == 0 || self.in_flight + bytes <= READ_BYTES_IN_FLIGHT_MAX
    }

    #[inline]
    pub(super) const fn asked(&mut self, bytes: u32) {
        self.in_flight += bytes;
    }

    #[inline]
    pub(super) fn released(&mut self, bytes: u32) {
        debug_assert!(bytes <= self.in_flight, "{bytes} of {}", self.in_flight);
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u32 = 4096 + PACKET_OVERHEAD_BYTES;

    fn at(us: u64) -> Timestamp {
        Timestamp::from_ns(us * 1000)
    }

    #[test]
    fn a_loss_halves_the_window_once_in_a_round_trip() {
        let mut flow = Flow::default();
        flow.rtt().measured(100_000);
        flow.lost(at(0));
        flow.lost(at(100));
        assert_eq!(flow.window_bytes(), 32 << 10);
        flow.lost(at(101));
        assert_eq!(flow.window_bytes(), 16 << 10);
        (0..9).for_each(|loss| flow.lost(at(1000 + loss * 1000)));
        assert_eq!(flow.window_bytes(), PACKET, "one packet always fits");
    }

    #[test]
    fn the_window_grows_by_a_packet_in_a_windows_time_up_to_its_most() {
        let mut flow = Flow::default();
        flow.lost(at(0));
        let window = flow.window_bytes();
        let packets = window / PACKET;
        flow.sent(packets * PACKET);
        flow.arrived(packets * PACKET);
        let grown = flow.window_bytes() - window;
        assert!((PACKET - 700..=PACKET).contains(&grown), "{grown}");
        for _ in 0..1000 {
            flow.sent(PACKET);
            flow.arrived(PACKET);
        }
        assert_eq!(flow.window_bytes(), 160 << 10);
    }

    #[test]
    fn one_packet_is_always_admitted_and_two_if_they_fit() {
        let mut flow = Flow::default();
        (1..12).for_each(|loss| flow.lost(at(loss * 1000)));
        assert!(flow.admits(u32::MAX / 2));
        flow.sent(PACKET);
        assert!(!flow.admits(1));
        flow.released(PACKET);
        assert!(flow.is_idle() && flow.admits(PACKET));
    }
}
