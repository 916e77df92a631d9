//! What the kernel's sockets cost by themselves on this machine, in the shapes that our protocols have.
#![allow(clippy::print_stdout, reason = "a command that reports")]

use std::io;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use remora_benches::floor::{
    DATAGRAM_BYTES, DATAGRAMS_PER_BATCH, Figure, FloorOptions, REPLY_BYTES, REQUEST_BYTES, TCP_WRITE_BYTES,
    WINDOW_BATCHES, ping_pong, tcp_stream, udp_stream,
};

/// Measures bare UDP and TCP between two spinning threads.
#[derive(Debug, Parser)]
struct Options {
    /// The address that both sides have.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 7)]
    runs: u32,
    /// Milliseconds that one run measures.
    #[arg(long, default_value_t = 300)]
    run_ms: u64,
}

fn main() -> ExitCode {
    match report(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("udp-floor: {why}");
            ExitCode::FAILURE
        }
    }
}

fn report(options: &Options) -> io::Result<()> {
    let floor = FloorOptions { address: options.address, run_time: Duration::from_millis(options.run_ms) };
    let mut p99_us = Vec::new();
    let round_trip = Figure::of(options.runs, || {
        let run = ping_pong(&floor)?;
        p99_us.push(run.p99_us);
        Ok(run.p50_us)
    })?;
    let mut lost_bytes = 0;
    let udp = Figure::of(options.runs, || {
        let run = udp_stream(&floor)?;
        lost_bytes += run.lost_bytes;
        Ok(run.gigabytes_a_second)
    })?;
    let tcp = Figure::of(options.runs, || tcp_stream(&floor))?;
    println!("median of {} runs of {} ms (least to most), {}", options.runs, options.run_ms, options.address);
    println!("UDP {REQUEST_BYTES} B -> {REPLY_BYTES} B round trip, p50:  {round_trip} us");
    println!("                              p99:  {} us", Figure::of_values(p99_us));
    println!(
        "UDP {DATAGRAMS_PER_BATCH} x {DATAGRAM_BYTES} B, UDP_SEGMENT and UDP_GRO, {WINDOW_BATCHES} in flight:  {udp} GB/s, \
         {lost_bytes} bytes lost"
    );
    println!("TCP, writes of {} KiB:  {tcp} GB/s", TCP_WRITE_BYTES / 1024);
    Ok(())
}
