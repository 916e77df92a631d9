//! A request of one datagram, a reply of another: the shape of a 4 KiB read.

use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use block::MonotonicClock;

use super::{FloorOptions, beside, joined, pin};

/// The request: a SEND of a command capsule of 72 bytes with its headers, and some room.
pub const REQUEST_BYTES: usize = 124;
/// The reply: 4 KiB with headers, and some room.
pub const REPLY_BYTES: usize = 4156;
/// Round trips before those that count.
const WARM_UP: usize = 1000;
/// Looks for a reply before it counts as lost: about a minute.
pub(super) const LOOKS_MAX: u32 = 1 << 28;
/// Most round trips of one run.
const ROUNDS_MAX: usize = 1 << 20;

/// Round trips of one run, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PingPong {
    /// The median.
    pub p50_us: f64,
    /// 99 of 100 take no longer.
    pub p99_us: f64,
}

/// Bare UDP, [`REQUEST_BYTES`] there and [`REPLY_BYTES`] back, over sockets that are not connected, as ours cannot be.
pub fn ping_pong(options: &FloorOptions) -> io::Result<PingPong> {
    let (client, server) = (socket(options)?, socket(options)?);
    let to = server.local_addr()?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let echo = beside(scope, || answer(&server, &stop));
        pin(0);
        let rounds = ask(options, |request, reply| {
            client.send_to(request, to)?;
            for _ in 0..LOOKS_MAX {
                if is_there(client.recv_from(reply))? {
                    return Ok(());
                }
            }
            Err(ErrorKind::TimedOut.into())
        });
        stop.store(true, Ordering::Relaxed);
        joined(echo)?;
        rounds
    })
}

fn socket(options: &FloorOptions) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((options.address, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

pub(super) fn is_there<T>(received: io::Result<T>) -> io::Result<bool> {
    match received {
        Ok(_) => Ok(true),
        Err(why) if why.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(why) => Err(why),
    }
}

fn answer(server: &UdpSocket, stop: &AtomicBool) -> io::Result<()> {
    let (mut request, reply) = ([0; REPLY_BYTES], [7; REPLY_BYTES]);
    while !stop.load(Ordering::Relaxed) {
        match server.recv_from(&mut request) {
            Ok((_, from)) => drop(server.send_to(&reply, from)?),
            Err(why) if why.kind() == ErrorKind::WouldBlock => {}
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

/// Times rounds until the run's time is over.
pub(super) fn ask(
    options: &FloorOptions,
    mut round: impl FnMut(&[u8], &mut [u8]) -> io::Result<()>,
) -> io::Result<PingPong> {
    let (request, mut reply) = ([3; REQUEST_BYTES], [0; REPLY_BYTES]);
    for _ in 0..WARM_UP {
        round(&request, &mut reply)?;
    }
    let clock = MonotonicClock::start();
    let mut rounds_ns = Vec::with_capacity(ROUNDS_MAX);
    let begin = clock.now();
    let (mut before, most_ns) = (begin, options.run_time.as_nanos());
    while rounds_ns.is_empty() || rounds_ns.len() < ROUNDS_MAX && u128::from(before.ns_since(begin)) < most_ns
    {
        round(&request, &mut reply)?;
        let after = clock.now();
        rounds_ns.push(after.ns_since(before));
        before = after;
    }
    rounds_ns.sort_unstable();
    Ok(PingPong { p50_us: microseconds(&rounds_ns, 50), p99_us: microseconds(&rounds_ns, 99) })
}

#[allow(clippy::cast_precision_loss, reason = "nanoseconds of a round trip are far below 2^52")]
fn microseconds(sorted_ns: &[u64], percent: usize) -> f64 {
    sorted_ns.get(sorted_ns.len() * percent / 100).map_or(f64::NAN, |ns| *ns as f64 / 1000.0)
}
