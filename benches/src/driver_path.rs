//! What the driver's own path costs for a 4 KiB read: instructions (callgrind) and nanoseconds.
//!
//! The software SSD is stepped between the driver's calls, on the same thread, so that only the driver is counted: the
//! functions `driver_submit` and `driver_poll` with everything that they call. Counted are the splitting wrapper, the
//! dynamic call through `BlockQueue`, checks, PRPs, the command, both rings, both doorbells, deadlines and completion.
//! Not counted: the software SSD's work, the benchmark's own loop between the calls, and reading the clock.
#![allow(clippy::print_stdout, reason = "a command that reports")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use block::split::Split;
use block::{
    BlockQueue, BlockRange, Completion, Lba, MonotonicClock, Op, QueueOptions, Request, Timestamp, WakeMode,
};
use clap::Parser;
use dma::{MemoryOptions, Pool, PoolOptions};
use nvme_driver::{DriverOptions, PciFunction, SteppedController};
use nvme_model::{ControllerOptions, MemoryMedia, NamespaceOptions, SteppedSsd};
use nvme_spec::Nsid;

const NSID: Nsid = Nsid(1);
const BLOCKS: u64 = 1 << 18;
const READ_BYTES: u32 = 4096;

/// Measures the NVMe driver's own path for 4 KiB reads.
#[derive(Debug, Parser)]
struct Options {
    /// Commands in flight.
    #[arg(long, default_value_t = 32)]
    depth: u32,
    /// Batches of as many reads in each run.
    #[arg(long, default_value_t = 20_000)]
    batches: u32,
    /// Runs; the median counts.
    #[arg(long, default_value_t = 9)]
    runs: u32,
    /// Use shadow doorbells.
    #[arg(long)]
    shadow_doorbells: bool,
    /// Do not count instructions (valgrind).
    #[arg(long)]
    no_callgrind: bool,
    /// One run without a report: what callgrind runs.
    #[arg(long, hide = true)]
    bare: bool,
}

struct Bench {
    ssd: Arc<SteppedSsd>,
    controller: SteppedController<Arc<SteppedSsd>>,
    queue: Box<dyn BlockQueue>,
    requests: VecDeque<Request>,
    completions: Vec<Completion>,
    next: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let Some(mut bench) = Bench::new(&options) else {
        eprintln!("driver-path: the software SSD did not come up");
        return ExitCode::FAILURE;
    };
    if options.bare {
        bench.run(&options);
        return ExitCode::SUCCESS;
    }
    println!("4 KiB random reads, depth {}, shadow doorbells {}", options.depth, options.shadow_doorbells);
    let mut nanoseconds: Vec<f64> = (0..options.runs.max(1)).map(|_| bench.run(&options)).collect();
    nanoseconds.sort_by(f64::total_cmp);
    let (least, median, most) =
        (nanoseconds[0], nanoseconds[nanoseconds.len() / 2], nanoseconds[nanoseconds.len() - 1]);
    println!(
        "nanoseconds per read:  {median:.1} (median of {}; {least:.1} to {most:.1})",
        options.runs.max(1)
    );
    if !options.no_callgrind {
        match instructions(&options) {
            Ok(count) => println!("instructions per read: {count:.0} (callgrind)"),
            Err(why) => {
                eprintln!("driver-path: no instruction count: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

impl Bench {
    fn new(options: &Options) -> Option<Self> {
        let ssd = Arc::new(SteppedSsd::new(ControllerOptions::default()));
        let media = MemoryMedia::new(512, BLOCKS);
        ssd.ssd().add_namespace(NSID, NamespaceOptions::default(), media).ok()?;
        let driver = DriverOptions { shadow_doorbells: options.shadow_doorbells, ..DriverOptions::default() };
        let mut now = Timestamp::from_ns(1);
        let mut controller = SteppedController::begin(Arc::clone(&ssd), driver, now).ok()?;
        let mut step = |controller: &mut SteppedController<_>| {
            now = now.after(Duration::from_millis(1));
            ssd.run(now, 1000);
            controller.step(now);
        };
        while controller.state() != "live" {
            step(&mut controller);
        }
        let mut queue = controller
            .begin_queue(NSID, QueueOptions { depth: options.depth, wake: WakeMode::Polled })
            .ok()?;
        while !queue.attachment().ok()? {
            step(&mut controller);
        }
        let device = controller.controller().namespace(NSID, block::Access::Read).ok()?;
        let pool = Pool::new(PoolOptions {
            chunk_bytes: READ_BYTES,
            chunks: options.depth,
            memory: MemoryOptions::default(),
        })
        .ok()?;
        ssd.attach(pool.region()).ok()?;
        let range = BlockRange::new(Lba(0), u64::from(READ_BYTES / 512));
        let requests = std::iter::from_fn(|| pool.take())
            .map(|buffer| Request::new(Op::Read, range, buffer.into_segment().into()))
            .collect();
        let queue = Box::new(Split::new(queue, device.driver_geometry()));
        Some(Self { ssd, controller, queue, requests, completions: Vec::new(), next: 1 })
    }

    /// Nanoseconds per read of the driver's part.
    fn run(&mut self, options: &Options) -> f64 {
        let clock = MonotonicClock::start();
        let mut spent_ns = 0;
        for _ in 0..options.batches {
            self.scatter();
            let start = clock.now();
            driver_submit(&mut *self.queue, &mut self.requests, start);
            spent_ns += clock.now().ns_since(start);
            self.ssd.run(start, 1000);
            let start = clock.now();
            driver_poll(&mut *self.queue, &mut self.completions, start);
            spent_ns += clock.now().ns_since(start);
            self.requests.extend(self.completions.drain(..).map(|completion| completion.request));
        }
        self.controller.step(clock.now());
        // Two pairs of clock readings a batch are the benchmark's own.
        let reads = f64::from(options.batches) * f64::from(options.depth);
        #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a benchmark are far below 2^52")]
        let spent_ns = spent_ns as f64;
        spent_ns / reads
    }

    /// Random addresses, by a multiplicative congruential generator (Lehmer's, modulo 2^64).
    fn scatter(&mut self) {
        for request in &mut self.requests {
            self.next = self.next.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            request.range.start = Lba((self.next >> 32) % (BLOCKS / 8) * 8);
        }
    }
}

/// What is counted: handing requests to the driver.
#[inline(never)]
fn driver_submit(queue: &mut dyn BlockQueue, requests: &mut VecDeque<Request>, now: Timestamp) {
    queue.submit(black_box(requests), now);
}

/// What is counted: taking completions from the driver.
#[inline(never)]
fn driver_poll(queue: &mut dyn BlockQueue, completions: &mut Vec<Completion>, now: Timestamp) {
    queue.poll(black_box(completions), now);
}

/// Instructions per read, by running this very program under callgrind.
fn instructions(options: &Options) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|why| why.to_string())?;
    let batches = 500;
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*driver_submit*", "--toggle-collect=*driver_poll*"])
        .arg(program)
        .args(["--bare", "--batches", &batches.to_string(), "--depth", &options.depth.to_string()])
        .args(options.shadow_doorbells.then_some("--shadow-doorbells"))
        .stdout(Stdio::null());
    let output = command
        .output()
        .map_err(|why| format!("cannot run valgrind ({why}); it is in every distribution"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected =
        text.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim());
    let count: f64 = collected
        .and_then(|count| count.parse().ok())
        .ok_or_else(|| format!("valgrind said: {}", text.lines().last().unwrap_or_default()))?;
    Ok(count / (f64::from(batches) * f64::from(options.depth)))
}
