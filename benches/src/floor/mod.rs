//! Floors: what the kernel's sockets cost by themselves, in the shapes that our protocols have.
//!
//! A benchmark of ours prints these beside its own figures, measured in the same run, because a machine's speed changes
//! from hour to hour. Each function is one short run; [`Figure::of`] takes several and gives the median. Two threads,
//! pinned to two processors where there are two, both spinning.

mod ping_pong;
mod tcp_ping_pong;
mod tcp_stream;
mod udp_stream;

use std::io;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use core_affinity::CoreId;

pub use ping_pong::{PingPong, REPLY_BYTES, REQUEST_BYTES, ping_pong};
pub use tcp_ping_pong::tcp_ping_pong;
pub use tcp_stream::{TCP_WRITE_BYTES, tcp_stream};
pub use udp_stream::{DATAGRAM_BYTES, DATAGRAMS_PER_BATCH, Stream, WINDOW_BATCHES, udp_stream};

/// Where and how long.
#[derive(Clone, Copy, Debug)]
pub struct FloorOptions {
    /// The address that both sides have.
    pub address: IpAddr,
    /// How long one run measures.
    pub run_time: Duration,
}

/// The median of several runs, with the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Figure {
    /// Runs a measurement so many times, at least once.
    pub fn of(runs: u32, mut run: impl FnMut() -> io::Result<f64>) -> io::Result<Self> {
        let mut values = vec![run()?];
        for _ in 1..runs {
            values.push(run()?);
        }
        Ok(Self::of_values(values))
    }

    /// Of values that are there already.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn of_values(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], least: values[0], most: values[values.len() - 1] }
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.least, self.most)
    }
}

/// Keeps the calling thread on a processor: the first or the second of those that it may run on. Nothing happens on a machine
/// with only one.
pub fn pin(which: usize) {
    // Asked once: threads inherit where they may run, so a pinned thread's child would see one processor only.
    static PROCESSORS: OnceLock<Vec<CoreId>> = OnceLock::new();
    let processors = PROCESSORS.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default());
    if processors.len() > 1
        && let Some(processor) = processors.get(which)
    {
        core_affinity::set_for_current(*processor);
    }
}

/// Runs `other` on the second processor, beside what the caller does on the first.
fn beside<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    other: impl FnOnce() -> io::Result<T> + Send + 'scope,
) -> ScopedJoinHandle<'scope, io::Result<T>> {
    thread::Builder::new()
        .name("floor".into())
        .spawn_scoped(scope, move || {
            pin(1);
            other()
        })
        .unwrap_or_else(|why| unreachable!("a thread can be started: {why}"))
}

fn joined<T>(handle: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    handle.join().unwrap_or_else(|_| Err(io::Error::other("the other side panicked")))
}

/// Bytes in nanoseconds as 10^9 bytes a second.
#[allow(clippy::cast_precision_loss, reason = "bytes and nanoseconds of a short run are far below 2^52")]
fn gigabytes_a_second(bytes: u64, ns: u64) -> f64 {
    bytes as f64 / ns.max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SHORT: FloorOptions =
        FloorOptions { address: IpAddr::V4(Ipv4Addr::LOCALHOST), run_time: Duration::from_millis(5) };

    #[test]
    fn the_median_is_the_middle() {
        let figure = Figure::of_values(vec![3.0, 1.0, 2.0, 10.0, 0.5]);
        assert_eq!(figure, Figure { median: 2.0, least: 0.5, most: 10.0 });
        assert_eq!(figure.to_string(), "2.00 (0.50 to 10.00)");
    }

    #[test]
    fn every_floor_measures_something() {
        let ping_pong = ping_pong(&SHORT).unwrap();
        assert!(ping_pong.p50_us > 0.0 && ping_pong.p50_us <= ping_pong.p99_us);
        let ping_pong = tcp_ping_pong(&SHORT).unwrap();
        assert!(ping_pong.p50_us > 0.0 && ping_pong.p50_us <= ping_pong.p99_us);
        assert!(udp_stream(&SHORT).unwrap().gigabytes_a_second > 0.0);
        assert!(tcp_stream(&SHORT).unwrap() > 0.0);
    }
}
