//! What the sockets' part of soft RDMA costs for packets of 4 KiB, beside bare UDP in the same shape.
//!
//! One thread sends a batch to itself and takes it in, so that nothing but these calls is timed: `link_send` (headers, ICRC,
//! gathering, the system call) and `link_receive` (the system call, splitting, ICRC). Instructions are the process's own,
//! without the kernel's.
#![allow(clippy::print_stdout, reason = "a command that reports")]

use std::hint::black_box;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::process::{Command, ExitCode, Stdio};

use block::MonotonicClock;
use clap::Parser;
use dma::{MemoryOptions, Pool, PoolOptions, Segment};
use nix::sys::socket::{setsockopt, sockopt};
use rdma::soft::link::{Link, Path, PayloadRef};
use rdma::soft::udp::{PortSet, UdpLink};
use rdma::soft::wire::{Extension, Headers, Opcode, Psn, Qpn};
use remora_benches::floor::{DATAGRAM_BYTES, DATAGRAMS_PER_BATCH, Figure};

const PAYLOAD_BYTES: u32 = 4096;

/// Measures the sockets' part of soft RDMA.
#[derive(Debug, Parser)]
struct Options {
    /// The address that packets are sent from.
    #[arg(long, default_value = "127.0.0.1")]
    from: IpAddr,
    /// The address that packets are sent to.
    #[arg(long, default_value = "127.0.0.2")]
    to: IpAddr,
    /// Batches in each run.
    #[arg(long, default_value_t = 2000)]
    batches: u32,
    /// Runs; the median counts.
    #[arg(long, default_value_t = 9)]
    runs: u32,
    /// Do not count instructions (valgrind).
    #[arg(long)]
    no_callgrind: bool,
    /// One run without a report: what callgrind runs.
    #[arg(long, hide = true)]
    bare: bool,
}

fn main() -> ExitCode {
    match report(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("link-path: {why}");
            ExitCode::FAILURE
        }
    }
}

fn report(options: &Options) -> io::Result<()> {
    let mut bench = Bench::new(options)?;
    if options.bare {
        bench.run(options.batches)?;
        return Ok(());
    }
    let mut floor = Floor::new(options)?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..options.runs.max(1) {
        ours.push(bench.run(options.batches)?);
        bare.push(floor.run(options.batches)?);
    }
    // Another process is to have the addresses.
    drop(bench);
    let of = |runs: &[(f64, f64)], which: fn(&(f64, f64)) -> f64| {
        Figure::of_values(runs.iter().map(which).collect())
    };
    println!(
        "nanoseconds per packet of 4 KiB, {DATAGRAMS_PER_BATCH} in a batch: median of {} runs",
        ours.len()
    );
    println!("              ours                          bare UDP");
    println!("send:         {}    {}", of(&ours, |run| run.0), of(&bare, |run| run.0));
    println!("receive:      {}    {}", of(&ours, |run| run.1), of(&bare, |run| run.1));
    if !options.no_callgrind {
        for function in ["link_send", "link_receive"] {
            println!(
                "instructions per packet, {function}: {:.0} (callgrind)",
                instructions(options, function)?
            );
        }
    }
    Ok(())
}

struct Bench {
    sender: UdpLink,
    receiver: UdpLink,
    data: Segment,
    to: IpAddr,
}

impl Bench {
    fn new(options: &Options) -> io::Result<Self> {
        let packets = u32::from(DATAGRAMS_PER_BATCH);
        let options_of_pool =
            PoolOptions { chunk_bytes: PAYLOAD_BYTES * packets, chunks: 1, memory: MemoryOptions::default() };
        let pool = Pool::new(options_of_pool).map_err(io::Error::other)?;
        let data = pool.take().ok_or_else(|| io::Error::other("no buffer"))?.into_segment();
        Ok(Self { sender: link(options.from)?, receiver: link(options.to)?, data, to: options.to })
    }

    /// Nanoseconds per packet: sending, receiving.
    fn run(&mut self, batches: u32) -> io::Result<(f64, f64)> {
        let clock = MonotonicClock::start();
        let (mut send_ns, mut receive_ns) = (0, 0);
        for _ in 0..batches {
            let begin = clock.now();
            link_send(&mut self.sender, &self.data, self.to);
            let sent = clock.now();
            let arrived = link_receive(&mut self.receiver);
            receive_ns += clock.now().ns_since(sent);
            send_ns += sent.ns_since(begin);
            if arrived != usize::from(DATAGRAMS_PER_BATCH) {
                return Err(io::Error::other(format!("{arrived} packets arrived")));
            }
        }
        Ok((per_packet(send_ns, batches), per_packet(receive_ns, batches)))
    }
}

fn link(address: IpAddr) -> io::Result<UdpLink> {
    let ports = PortSet::open(address, 1).map_err(io::Error::other)?;
    ports.link(0).map_err(io::Error::other)?.ok_or_else(|| io::Error::other("no link"))
}

/// What is measured: a batch of packets out of registered memory.
#[inline(never)]
fn link_send(link: &mut UdpLink, data: &Segment, to: IpAddr) {
    let mut headers = Headers {
        opcode: Opcode::WriteMiddle,
        destination: Qpn::CONNECTION_MANAGER,
        psn: Psn::new(0),
        ack_request: false,
        solicited: false,
        extension: Extension::None,
    };
    for packet in 0..u32::from(DATAGRAMS_PER_BATCH) {
        headers.psn = Psn::new(packet);
        let payload =
            PayloadRef::Segment { segment: data, offset: packet * PAYLOAD_BYTES, bytes: PAYLOAD_BYTES };
        link.push(&Path { peer: to }, &headers, black_box(payload));
    }
    link.flush();
}

/// What is measured: a batch of packets in.
#[inline(never)]
fn link_receive(link: &mut UdpLink) -> usize {
    let mut count = 0;
    link.receive(|arrived| {
        black_box(arrived.packet);
        count += 1;
    });
    count
}

/// Bare UDP: one send that the kernel cuts, one receive of what it has merged.
struct Floor {
    sender: UdpSocket,
    receiver: UdpSocket,
    batch: Vec<u8>,
    buffer: Vec<u8>,
}

impl Floor {
    fn new(options: &Options) -> io::Result<Self> {
        let sender = UdpSocket::bind((options.from, 0))?;
        let receiver = UdpSocket::bind((options.to, 0))?;
        receiver.set_nonblocking(true)?;
        setsockopt(&sender, sockopt::UdpGsoSegment, &i32::from(DATAGRAM_BYTES))?;
        setsockopt(&receiver, sockopt::UdpGroSegment, &true)?;
        let batch = vec![5; usize::from(DATAGRAM_BYTES) * usize::from(DATAGRAMS_PER_BATCH)];
        Ok(Self { sender, receiver, batch, buffer: vec![0; 1 << 16] })
    }

    fn run(&mut self, batches: u32) -> io::Result<(f64, f64)> {
        let to = self.receiver.local_addr()?;
        let clock = MonotonicClock::start();
        let (mut send_ns, mut receive_ns) = (0, 0);
        for _ in 0..batches {
            let begin = clock.now();
            self.sender.send_to(&self.batch, to)?;
            let sent = clock.now();
            self.receiver.recv_from(&mut self.buffer)?;
            receive_ns += clock.now().ns_since(sent);
            send_ns += sent.ns_since(begin);
        }
        Ok((per_packet(send_ns, batches), per_packet(receive_ns, batches)))
    }
}

#[allow(clippy::cast_precision_loss, reason = "nanoseconds of a benchmark are far below 2^52")]
fn per_packet(ns: u64, batches: u32) -> f64 {
    ns as f64 / (f64::from(batches) * f64::from(DATAGRAMS_PER_BATCH))
}

/// Instructions per packet of a function, by running this very program under callgrind.
fn instructions(options: &Options, function: &str) -> io::Result<f64> {
    let batches = 200;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(std::env::current_exe()?)
        .args(["--bare", "--batches", &batches.to_string()])
        .args(["--from", &options.from.to_string(), "--to", &options.to.to_string()])
        .stdout(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(io::Error::other(format!("under valgrind: {text}")));
    }
    let collected = text.lines().find_map(|line| line.split_once("Collected :"));
    let count: f64 = collected.and_then(|(_, count)| count.trim().parse().ok()).ok_or_else(|| {
        io::Error::other(format!("valgrind said: {}", text.lines().last().unwrap_or_default()))
    })?;
    Ok(count / (f64::from(batches) * f64::from(DATAGRAMS_PER_BATCH)))
}
