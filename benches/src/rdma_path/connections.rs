//! Many connections at once: how long they take to make, and what they hold.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use block::{MonotonicClock, Timestamp};
use rdma::{
    ConnectionEvent, ConnectionParameters, Device, Endpoint, EndpointOptions, QueuePairOptions, ReceiveSource,
};
use remora_tools::rdma::RdmaError;

use crate::PathError;
use crate::pair::{Pair, SoftDevice};

/// Connections that are being made at once: fewer than a listener lets wait.
const IN_THE_MAKING_MAX: u32 = 64;

/// What a connection's queues can hold: those of an NVMe-oF queue of 32 commands.
const QUEUES: QueuePairOptions = QueuePairOptions { send_depth: 64, receives: ReceiveSource::Own(32) };

/// How long all may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of a page, which the kernel counts in.
const PAGE_BYTES: u64 = 4096;

type SoftEndpoint = <SoftDevice as Device>::Endpoint;

/// Connections that were made.
pub struct Made {
    elapsed: Duration,
    /// Memory of the process that they took, each with both its ends.
    bytes_each: u64,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (elapsed_ms, bytes) = (self.elapsed.as_millis(), self.bytes_each);
        write!(
            f,
            "made in {elapsed_ms} ms; {bytes} bytes of memory for each, both ends together, nothing posted"
        )
    }
}

/// Makes so many connections, both ends in this thread.
pub fn make(pair: &Pair, wanted: u32) -> Result<Made, PathError> {
    let options = EndpointOptions { queue_pairs_max: wanted, completions_max: wanted.saturating_mul(96) };
    let mut client = pair.client.endpoint(&options).map_err(RdmaError::from)?;
    let mut server = pair.server.endpoint(&options).map_err(RdmaError::from)?;
    let port = pair.next_port();
    let to = SocketAddr::new(pair.server.address(), port);
    let listening = server.listen(port, IN_THE_MAKING_MAX * 2);
    listening.map_err(|source| RdmaError::Listen { address: to, source })?;
    let before = resident_bytes()?;
    let clock = MonotonicClock::start();
    let end = clock.now().after(PATIENCE);
    let mut tally = Tally::default();
    while tally.made < wanted || tally.accepted < wanted {
        let now = clock.now();
        while tally.begun < wanted && tally.begun - tally.made < IN_THE_MAKING_MAX {
            client.connect(to, &QUEUES, &ConnectionParameters::default(), now).map_err(RdmaError::from)?;
            tally.begun += 1;
        }
        tally.turn(&mut client, &mut server, now);
        if now >= end || tally.closed.is_some() {
            let told = tally.closed.unwrap_or_else(|| "they take too long".to_owned());
            return Err(PathError::Connections {
                made: tally.made,
                wanted,
                seconds: PATIENCE.as_secs(),
                told,
            });
        }
    }
    let elapsed = clock.now().since(Timestamp::default());
    let bytes_each = resident_bytes()?.saturating_sub(before) / u64::from(wanted);
    Ok(Made { elapsed, bytes_each })
}

#[derive(Default)]
struct Tally {
    begun: u32,
    made: u32,
    accepted: u32,
    closed: Option<String>,
}

impl Tally {
    fn turn(&mut self, client: &mut SoftEndpoint, server: &mut SoftEndpoint, now: Timestamp) {
        let mut completions = Vec::new();
        client.poll(&mut completions, 64, now);
        server.poll(&mut completions, 64, now);
        while let Some(event) = server.poll_connection() {
            match event {
                ConnectionEvent::Requested(request) => {
                    let accepted = server.accept(request, &QUEUES, &ConnectionParameters::default(), now);
                    if let Err((error, _)) = accepted {
                        self.closed = Some(error.to_string());
                    }
                }
                ConnectionEvent::Established { .. } => self.accepted += 1,
                ConnectionEvent::Closed { error, .. } => self.closed = Some(error.to_string()),
            }
        }
        while let Some(event) = client.poll_connection() {
            match event {
                ConnectionEvent::Requested(_) => {}
                ConnectionEvent::Established { .. } => self.made += 1,
                ConnectionEvent::Closed { error, .. } => self.closed = Some(error.to_string()),
            }
        }
    }
}

/// Memory of this process that is there, not only reserved.
fn resident_bytes() -> Result<u64, PathError> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.unwrap_or_default() * PAGE_BYTES)
}
