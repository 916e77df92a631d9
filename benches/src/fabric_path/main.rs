//! What NVMe over RDMA costs end to end, without RDMA hardware: a target and a host in one process, each on a processor of its own,
//! over soft RDMA on the loopback. Beside it, in the same round, bare UDP and TCP exchanges of that shape.
//!
//! `null:` keeps nothing and shows the path alone. On `mem:` every block that is read is compared with the number that was written
//! at its beginning. What is printed are medians over the rounds.
#![allow(clippy::print_stdout, reason = "a command that reports")]

mod load;
mod rig;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use remora_benches::floor::{Figure, FloorOptions, pin, ping_pong, tcp_ping_pong, tcp_stream, udp_stream};
use thiserror::Error;

use load::{LOADS, Load, Measured};
use rig::Rig;

/// What the target exports, by turns.
const DEVICES: [&str; 2] = ["null:256MiB", "mem:256MiB"];

/// Measures a target and a host over loopback, beside bare UDP and TCP.
#[derive(Debug, Parser)]
struct Options {
    /// The target's address.
    #[arg(long, default_value_t = Ipv4Addr::new(127, 0, 73, 1).into())]
    target: IpAddr,
    /// The host's address.
    #[arg(long, default_value_t = Ipv4Addr::new(127, 0, 73, 2).into())]
    host: IpAddr,
    /// Rounds; medians count.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Milliseconds of one measurement.
    #[arg(long, default_value_t = 500)]
    run_ms: u64,
}

/// Why there is no figure.
#[derive(Debug, Error)]
pub enum FabricError {
    /// The target does not start, or does not export.
    #[error("the target: {0}")]
    Target(String),
    /// The host does not attach.
    #[error("the host: {0}")]
    Host(#[from] block::OpenError),
    /// The device gives no queue.
    #[error("the host's queue: {0}")]
    Queue(#[from] block::OpenQueueError),
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] dma::PoolError),
    /// The device does not take the memory.
    #[error(transparent)]
    Attach(#[from] dma::AttachError),
    /// An I/O failed, or read what was not written.
    #[error("an I/O: {0}")]
    Io(String),
    /// A floor could not be measured.
    #[error("a floor: {0}")]
    Floor(#[from] io::Error),
}

fn main() -> ExitCode {
    match report(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("fabric-path: {why}");
            ExitCode::FAILURE
        }
    }
}

fn report(options: &Options) -> Result<(), FabricError> {
    let run_time = Duration::from_millis(options.run_ms);
    println!(
        "medians of {} rounds of {} ms each, {} to {}; target and host on one processor each",
        options.rounds, options.run_ms, options.host, options.target
    );
    floors(options, run_time)?;
    for device in DEVICES {
        println!("\n{device:<24}{:>12}{:>12}{:>12}{:>12}", "kIOPS", "MiB/s", "p50 us", "p99 us");
        let mut rig = Rig::start(options.target, options.host, device)?;
        pin(0);
        for load in LOADS {
            let runs: Result<Vec<Measured>, FabricError> =
                (0..options.rounds).map(|_| rig.measure(load, run_time)).collect();
            print_row(load, &runs?);
        }
        rig.end();
    }
    Ok(())
}

fn floors(options: &Options, run_time: Duration) -> Result<(), FabricError> {
    let floor = FloorOptions { address: options.target, run_time };
    let rounds = options.rounds;
    println!(
        "bare UDP, 124 B there, 4156 B back, p50:  {} us",
        Figure::of(rounds, || Ok(ping_pong(&floor)?.p50_us))?
    );
    println!(
        "bare TCP, the same:                       {} us",
        Figure::of(rounds, || Ok(tcp_ping_pong(&floor)?.p50_us))?
    );
    let udp = || Ok(udp_stream(&floor)?.gigabytes_a_second);
    println!("bare UDP_SEGMENT and UDP_GRO stream:      {} GB/s", Figure::of(rounds, udp)?);
    println!("bare TCP stream:                          {} GB/s", Figure::of(rounds, || tcp_stream(&floor))?);
    Ok(())
}

fn print_row(load: Load, runs: &[Measured]) {
    let of = |value: fn(&Measured) -> f64| Figure::of_values(runs.iter().map(value).collect()).median;
    let name = format!("{:>4} KiB {:<5} depth {:>3}", load.bytes >> 10, load.direction.name(), load.depth);
    println!(
        "{name:<24}{:>12.1}{:>12.0}{:>12.1}{:>12.1}",
        of(|run| run.iops / 1e3),
        of(|run| run.mebibytes_a_second),
        of(|run| run.p50_us),
        of(|run| run.p99_us),
    );
}
