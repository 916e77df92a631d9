//! The command line of `remora bench`, in fio's words.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use block::parse_size;
use clap::{ArgAction, Args, ValueEnum};

use super::units::{parse_cpu_list, parse_time};

/// Deepest queue of a job.
pub const IODEPTH_MAX: u32 = 65_536;

/// Most jobs.
pub const JOBS_MAX: u32 = 256;

/// Measure a block device.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct BenchOptions {
    /// The device: nvme:0000:01:00.0/1, soft-nvme:PATH?size=4GiB, file:PATH, mem:4GiB, null:4GiB
    pub device: String,

    /// What to do; writing destroys what is on the device
    #[arg(long, alias = "readwrite", value_enum, default_value = "read")]
    pub rw: Rw,

    /// Percentage of reads in a mixed workload
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub rwmixread: u8,

    /// Bytes of an I/O
    #[arg(long, alias = "blocksize", value_name = "BYTES", default_value = "4k", value_parser = parse_size)]
    pub bs: u64,

    /// I/O in flight for each job
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(IODEPTH_MAX)))]
    pub iodepth: u32,

    /// Threads, each with a queue of its own; the report sums them up, as fio's --group_reporting does
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(JOBS_MAX)))]
    pub numjobs: u32,

    /// Bytes of the device to use; all that follow the offset by default. With --verify the jobs share them, each with
    /// a part of its own; otherwise each job uses all
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub size: Option<u64>,

    /// First byte to use
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = parse_size)]
    pub offset: u64,

    /// Run for so long, over and over the same bytes; without it a job ends when it has done as many bytes as --size says
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub runtime: Option<Duration>,

    /// Taken for fio's sake: with --runtime a job always runs for the whole time
    #[arg(long, alias = "time_based", requires = "runtime")]
    pub time_based: bool,

    /// Run for so long before measuring
    #[arg(long, alias = "ramp_time", value_name = "TIME", default_value = "0", value_parser = parse_time)]
    pub ramp_time: Duration,

    /// At most so many I/O a second for each job, reads and writes together
    #[arg(long, alias = "rate_iops", value_name = "N")]
    pub rate_iops: Option<NonZeroU64>,

    /// Flush after so many writes
    #[arg(long, alias = "fdatasync", value_name = "WRITES", default_value_t = 0)]
    pub fsync: u32,

    /// Make each write durable by itself (force unit access)
    #[arg(long)]
    pub fua: bool,

    /// Random positions are drawn independently, rather than each once before any comes again
    #[arg(long)]
    pub norandommap: bool,

    /// Hold an I/O back while one of the same job is in flight on the same blocks, unless both read
    #[arg(long, alias = "serialize_overlap")]
    pub serialize_overlap: bool,

    /// Stamp what is written and check what is read against the history of each block
    #[arg(long, value_enum)]
    pub verify: Option<VerifyMethod>,

    /// Read back everything that was written, at the end
    #[arg(long, alias = "do_verify", requires = "verify", value_name = "0|1", default_value_t = true, action = ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub do_verify: bool,

    /// Flush at the end and keep the history in a file, for a later --verify-state-load
    #[arg(long, alias = "verify_state_save", requires = "verify", value_name = "FILE")]
    pub verify_state_save: Option<PathBuf>,

    /// Expect what an earlier run wrote
    #[arg(long, alias = "verify_state_load", requires = "verify", value_name = "FILE")]
    pub verify_state_load: Option<PathBuf>,

    /// Go on after which errors; the exit code tells of them all the same
    #[arg(long, alias = "continue_on_error", value_enum, default_value = "none")]
    pub continue_on_error: ContinueOn,

    /// The same seed gives the same sequence of I/O
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub randseed: u64,

    /// How to wait for completions
    #[arg(long, value_enum, default_value = "adaptive")]
    pub poll: PollMode,

    /// Processors to pin the jobs to, one each, in turn: 0,2,4-7
    #[arg(long, alias = "cpus_allowed", value_name = "LIST", value_parser = CpuList::parse)]
    pub cpus_allowed: Option<CpuList>,

    /// Write nothing to standard error while it runs: for callers that tell how it goes themselves
    #[arg(skip)]
    pub quiet: bool,

    /// The job's name in the report
    #[arg(long, default_value = "bench")]
    pub name: String,

    /// The report's format; json+ has the latency counts besides
    #[arg(long, alias = "output_format", value_enum, default_value = "normal")]
    pub output_format: OutputFormat,

    /// Write the report there rather than to standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Sizes are written 4096, 4k, 1g (powers of 1024), times 10, 10s, 500ms, 2m. fio's spelling with underscores is taken, too.

Verification covers what this run has written (or --verify-state-load knows); other blocks are unknown and not judged,
unless they hold data of this run. Each logical block of a read must hold a write that its history allows: the last
acknowledged one, or one that was in flight during the read, and that whole. NVMe promises a whole block also to a read that
meets a write in flight, but some devices keep this for I/O that does not overlap only, files and QEMU's emulated drive
among them: verify those with --serialize-overlap. Verification costs 32 bytes of memory for each logical block.

Exit codes: 0 all went well; 1 an I/O failed or a block was wrong; 2 the options cannot be; 130 or 143 after Ctrl-C or
SIGTERM, which end the run in order, with a report (a second one ends it at once).";

/// The kind of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Rw {
    /// Sequential reads
    Read,
    /// Sequential writes
    Write,
    /// Random reads
    RandRead,
    /// Random writes
    RandWrite,
    /// Sequential reads and writes, mixed
    #[value(alias = "readwrite")]
    Rw,
    /// Random reads and writes, mixed
    RandRw,
    /// Sequential discards
    Trim,
    /// Random discards
    RandTrim,
}

impl Rw {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::RandRead => "randread",
            Self::RandWrite => "randwrite",
            Self::Rw => "rw",
            Self::RandRw => "randrw",
            Self::Trim => "trim",
            Self::RandTrim => "randtrim",
        }
    }

    /// fio's letter in the line of progress.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Read => 'R',
            Self::Write => 'W',
            Self::RandRead => 'r',
            Self::RandWrite => 'w',
            Self::Rw => 'M',
            Self::RandRw => 'm',
            Self::Trim => 'D',
            Self::RandTrim => 'd',
        }
    }

    /// Whether positions are random.
    #[must_use]
    pub fn is_random(self) -> bool {
        matches!(self, Self::RandRead | Self::RandWrite | Self::RandRw | Self::RandTrim)
    }

    /// Whether it writes.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::RandWrite | Self::Rw | Self::RandRw)
    }

    /// Whether it discards.
    #[must_use]
    pub fn trims(self) -> bool {
        matches!(self, Self::Trim | Self::RandTrim)
    }
}

/// How written data is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyMethod {
    /// A header and a CRC-32C in each logical block
    Crc32c,
}

/// After which errors a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ContinueOn {
    /// After none
    None,
    /// After failed I/O
    Io,
    /// After wrong blocks
    Verify,
    /// After all
    All,
}

impl ContinueOn {
    /// Whether failed I/O is gone on after.
    #[must_use]
    pub fn io(self) -> bool {
        matches!(self, Self::Io | Self::All)
    }

    /// Whether wrong blocks are gone on after.
    #[must_use]
    pub fn verify(self) -> bool {
        matches!(self, Self::Verify | Self::All)
    }
}

/// How a job waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PollMode {
    /// Look again and again
    Always,
    /// Look for some microseconds, then sleep as the device allows
    Adaptive,
    /// Sleep at once, and be woken by interrupts where the device has them
    Interrupt,
}

/// The report's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Text, as fio's
    Normal,
    /// JSON with fio's fields
    Json,
    /// JSON with latency counts
    #[value(name = "json+")]
    JsonPlus,
}

/// Processors, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl CpuList {
    fn parse(text: &str) -> Result<Self, super::units::CpuListError> {
        parse_cpu_list(text).map(Self)
    }
}

impl PollMode {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Adaptive => "adaptive",
            Self::Interrupt => "interrupt",
        }
    }
}
