//! What RDMA in userspace costs, beside the kernel's sockets in the same run: a round trip beside bare UDP's, a stream beside bare
//! UDP's and TCP's, packets a second of one core, connections and what they hold, and what idling costs.
//!
//! Each round measures every figure and its floor one after the other, because a machine's speed changes from hour to hour; what is
//! printed are medians over the rounds, also of the ratios. Two threads, pinned to two processors, spinning; each with an address of
//! its own.
#![allow(clippy::print_stdout, reason = "a command that reports")]

mod connections;
mod pair;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rdma::soft::Soft;
use remora_benches::floor::{Figure, FloorOptions, pin, ping_pong, tcp_stream, udp_stream};
use remora_tools::rdma::RdmaError;
use remora_tools::rdma::perf::{Load, Measured, Op};
use thiserror::Error;

use pair::{Pair, Share};

/// The round trip of the goal.
const READ: Load = Load { op: Op::Read, bytes: 4096, depth: 1 };
/// The stream of the goal.
const WRITE: Load = Load { op: Op::Write, bytes: 128 << 10, depth: 32 };
/// Packets by themselves.
const PACKETS: Load = Load { op: Op::Write, bytes: 64, depth: 64 };

/// Measures the soft provider over loopback, beside bare UDP and TCP.
#[derive(Debug, Parser)]
struct Options {
    /// One side's address.
    #[arg(long, default_value_t = Ipv4Addr::new(127, 0, 71, 1).into())]
    client: IpAddr,
    /// The other side's address.
    #[arg(long, default_value_t = Ipv4Addr::new(127, 0, 71, 2).into())]
    server: IpAddr,
    /// Rounds; medians count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Milliseconds of one measurement.
    #[arg(long, default_value_t = 500)]
    run_ms: u64,
    /// Connections that are made at once; 0 for none.
    #[arg(long, default_value_t = 1000)]
    connections: u32,
    /// Seconds of idling; 0 for none.
    #[arg(long, default_value_t = 3)]
    idle_s: u64,
}

/// Why there is no figure.
#[derive(Debug, Error)]
enum PathError {
    #[error(transparent)]
    Rdma(#[from] RdmaError),
    #[error("a floor: {0}")]
    Floor(#[from] io::Error),
    #[error("the server's thread: {0}")]
    Thread(String),
    #[error("{made} of {wanted} connections were made in {seconds} s: {told}")]
    Connections { made: u32, wanted: u32, seconds: u64, told: String },
}

impl From<rdma::OpenError> for PathError {
    fn from(error: rdma::OpenError) -> Self {
        Self::Rdma(error.into())
    }
}

fn main() -> ExitCode {
    match report(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("rdma-path: {why}");
            ExitCode::FAILURE
        }
    }
}

fn report(options: &Options) -> Result<(), PathError> {
    let pair = Pair::open(&Soft, options.client, options.server)?;
    // First, so that no memory that something else has let go of is counted as free.
    if options.connections > 0 {
        let made = connections::make(&pair, options.connections)?;
        println!("{} connections at once: {made}", options.connections);
    }
    let (rounds, run_ms) = (options.rounds, options.run_ms);
    println!(
        "medians of {rounds} rounds of {run_ms} ms each (least to most), {} to {}",
        options.client, options.server
    );
    let mut taken = Rounds::default();
    for _ in 0..rounds {
        taken.round(&pair, options)?;
    }
    taken.print();
    if options.idle_s > 0 {
        let (client, server) = pair.idle(Duration::from_secs(options.idle_s))?;
        println!("two endpoints asleep with a connection: {client} and {server} of a processor");
    }
    Ok(())
}

/// What the rounds have measured.
#[derive(Default)]
struct Rounds {
    read_us: Vec<f64>,
    read_p99_us: Vec<f64>,
    ping_pong_us: Vec<f64>,
    read_ratio: Vec<f64>,
    write: Vec<f64>,
    udp: Vec<f64>,
    tcp: Vec<f64>,
    udp_ratio: Vec<f64>,
    tcp_ratio: Vec<f64>,
    packets: Vec<f64>,
    copied: Vec<f64>,
    resent: u64,
}

impl Rounds {
    fn round(&mut self, pair: &Pair, options: &Options) -> Result<(), PathError> {
        let run_time = Duration::from_millis(options.run_ms);
        let floor = FloorOptions { address: options.server, run_time };
        pin(0);
        let read = pair.measure(READ, run_time)?;
        let bare = ping_pong(&floor)?;
        let microseconds = |percent| number(read.latency.percentile(percent)) / 1e3;
        self.read_us.push(microseconds(50.0));
        self.read_p99_us.push(microseconds(99.0));
        self.ping_pong_us.push(bare.p50_us);
        self.read_ratio.push(microseconds(50.0) / bare.p50_us);

        let write = pair.measure(WRITE, run_time)?;
        let (rate, udp, tcp) =
            (write.bytes_per_s() / 1e9, udp_stream(&floor)?.gigabytes_a_second, tcp_stream(&floor)?);
        self.write.push(rate);
        self.udp.push(udp);
        self.tcp.push(tcp);
        self.udp_ratio.push(rate / udp);
        self.tcp_ratio.push(rate / tcp);
        self.copied.push(number(write.counters.bytes_copied) / number(write.bytes.max(1)));

        let packets = pair.measure(PACKETS, run_time)?;
        self.packets.push(packets_a_second_of_a_core(&packets) / 1e6);
        self.resent += [read, write, packets].iter().map(|run| run.counters.packets_resent).sum::<u64>();
        Ok(())
    }

    fn print(self) {
        let figure = Figure::of_values;
        println!("READ of 4 KiB, round trip, p50:            {} us", figure(self.read_us));
        println!("                           p99:            {} us", figure(self.read_p99_us));
        println!("bare UDP, 124 B there, 4156 B back, p50:   {} us", figure(self.ping_pong_us));
        println!(
            "  ratio:                                   {}  (goal: at most 1.50)",
            figure(self.read_ratio)
        );
        println!("WRITE of 128 KiB, depth 32:                {} GB/s", figure(self.write));
        println!("bare UDP_SEGMENT and UDP_GRO stream:       {} GB/s", figure(self.udp));
        println!(
            "  ratio:                                   {}  (goal: at least 0.60)",
            figure(self.udp_ratio)
        );
        println!("bare TCP stream:                           {} GB/s", figure(self.tcp));
        println!("  ratio:                                   {}", figure(self.tcp_ratio));
        println!("bytes copied by the sender, of each:       {}", figure(self.copied));
        println!("packets both ways of a core (64 B WRITE):  {} million/s", figure(self.packets));
        println!("packets sent again in all rounds:          {}", self.resent);
    }
}

fn packets_a_second_of_a_core(run: &Measured) -> f64 {
    number(run.packets()) / (run.usage.user + run.usage.system).as_secs_f64().max(f64::MIN_POSITIVE)
}

#[allow(clippy::cast_precision_loss, reason = "numbers of a short run are far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} %", self.0)
    }
}
