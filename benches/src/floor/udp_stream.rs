//! Datagrams of a packet's size one way, as many in flight as the receiver's buffer has room for.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use block::MonotonicClock;
use nix::sys::socket::{setsockopt, sockopt};

use super::{FloorOptions, beside, gigabytes_a_second, joined, pin};

/// A packet with a payload of 4 KiB, BTH and ICRC.
pub const DATAGRAM_BYTES: u16 = 4112;
/// Datagrams in one send, which the kernel cuts (UDP_SEGMENT): as many as fit.
pub const DATAGRAMS_PER_BATCH: u16 = 15;
/// Sends that are not acknowledged yet. Three overrun the system's default receive buffer.
pub const WINDOW_BATCHES: u64 = 2;

const BATCH_BYTES: usize = DATAGRAM_BYTES as usize * DATAGRAMS_PER_BATCH as usize;
/// When what is not acknowledged counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(100);
/// Losses in one run before it is given up.
const LOSSES_MAX: u32 = 1000;

/// One run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stream {
    /// 10^9 bytes a second of whole datagrams.
    pub gigabytes_a_second: f64,
    /// Bytes that did not arrive in time.
    pub lost_bytes: u64,
}

/// Bare UDP with UDP_SEGMENT and UDP_GRO, the receiver saying how much it has got. Nothing is done with the bytes.
pub fn udp_stream(options: &FloorOptions) -> io::Result<Stream> {
    let (sender, receiver) = (socket(options)?, socket(options)?);
    setsockopt(&sender, sockopt::UdpGsoSegment, &i32::from(DATAGRAM_BYTES))?;
    setsockopt(&receiver, sockopt::UdpGroSegment, &true)?;
    let (from, to) = (sender.local_addr()?, receiver.local_addr()?);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let sink = beside(scope, || acknowledge(&receiver, from, &stop));
        pin(0);
        let run = send(&sender, to, options);
        stop.store(true, Ordering::Relaxed);
        joined(sink)?;
        run
    })
}

fn socket(options: &FloorOptions) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((options.address, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Tells the sender how many bytes have come in all.
fn acknowledge(receiver: &UdpSocket, sender: SocketAddr, stop: &AtomicBool) -> io::Result<()> {
    let (mut buffer, mut total) = (vec![0; 1 << 16], 0u64);
    while !stop.load(Ordering::Relaxed) {
        match receiver.recv_from(&mut buffer) {
            Ok((bytes, _)) => {
                total += bytes as u64;
                receiver.send_to(&total.to_ne_bytes(), sender)?;
            }
            Err(why) if why.kind() == ErrorKind::WouldBlock => {}
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

fn send(sender: &UdpSocket, to: SocketAddr, options: &FloorOptions) -> io::Result<Stream> {
    let (batch, mut told) = (vec![5; BATCH_BYTES], [0; 8]);
    let window = WINDOW_BATCHES * BATCH_BYTES as u64;
    let clock = MonotonicClock::start();
    let begin = clock.now();
    let (mut now, mut heard) = (begin, begin);
    let (mut sent, mut arrived, mut lost, mut losses) = (0u64, 0, 0, 0);
    while arrived == 0 || u128::from(now.ns_since(begin)) < options.run_time.as_nanos() {
        if sent.saturating_sub(arrived + lost) < window && sender.send_to(&batch, to).is_ok() {
            sent += batch.len() as u64;
        }
        // A datagram with an acknowledgement is shorter than UDP_SEGMENT's size and goes as it is.
        while sender.recv_from(&mut told).is_ok() {
            arrived = u64::from_ne_bytes(told);
            heard = clock.now();
        }
        now = clock.now();
        if u128::from(now.ns_since(heard)) > LOST_AFTER.as_nanos() {
            lost = sent - arrived;
            heard = now;
            losses += 1;
            if losses > LOSSES_MAX {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }
    Ok(Stream { gigabytes_a_second: gigabytes_a_second(arrived, now.ns_since(begin)), lost_bytes: lost })
}
