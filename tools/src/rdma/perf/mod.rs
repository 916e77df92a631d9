//! `remora rdma perf`: what a connection carries, like perftest.
//!
//! - `handshake`: what the sides tell each other; `client`, `lane`: the side that measures, and one of its connections.
//! - `server`, `guest`, `memory`: the other side; `measured`, `report`: what came of it.

mod client;
mod guest;
mod handshake;
mod lane;
mod measured;
mod memory;
mod report;
mod server;

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use block::parse_size;
use clap::{Args, ValueEnum};
use rdma::{EndpointOptions, PathMtu, Provider, ProviderChoice, ProviderTask, local_address};

use super::address::Target;
use super::devices::Format;
use super::error::RdmaError;
use super::provider::with_provider;
use super::reactor::{Poll, Reactor, ReactorOptions};
use super::{parse_mtu, parse_provider};
use crate::affinity;
use crate::bench::stop::Stop;
use crate::bench::units::parse_time;
pub use client::{Client, Length};
pub use handshake::{DEPTH_MAX, Load, LoadError, SIZE_MAX};
pub use measured::{Measured, counted_since};
use report::Report;
pub use server::Server;

/// The port, unless another is named: perftest's.
const PORT: u16 = 18_515;

/// How long a run lasts if nothing else is said.
const RUNTIME: Duration = Duration::from_secs(5);

/// Most connections of a client, and of all clients of a server.
pub const CONNECTIONS_MAX: u32 = 4096;

/// Most bytes of all clients of a server, and of all connections of a client.
const BYTES_MAX: u64 = 4 << 30;

/// Completions that a server lets wait.
const SERVER_COMPLETIONS: u32 = 16_384;

/// Completions of a connection besides those of its operations: of grants.
const GRANT_COMPLETIONS: u32 = 16;

/// Operations at once, if nothing else is said.
const DEPTH: u32 = 32;

/// What a client does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// SEND.
    Send,
    /// RDMA WRITE.
    Write,
    /// RDMA READ.
    Read,
    /// SEND that the server answers with a SEND of the same size.
    Echo,
}

impl Op {
    fn number(self) -> u8 {
        match self {
            Self::Send => 0,
            Self::Write => 1,
            Self::Read => 2,
            Self::Echo => 3,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Send, Self::Write, Self::Read, Self::Echo].into_iter().find(|op| op.number() == number)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Send => "send",
            Self::Write => "write",
            Self::Read => "read",
            Self::Echo => "echo",
        })
    }
}

/// An operation as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OpChoice {
    /// SEND; with --latency the server sends it back
    Send,
    /// RDMA WRITE, until it is acknowledged
    Write,
    /// RDMA READ, until the data is there
    Read,
}

/// Measure RDMA connections, or be measured.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct PerfOptions {
    /// The server: ADDR or ADDR:PORT; an IPv6 address with a port is in brackets
    #[arg(required_unless_present = "listen", conflicts_with = "listen")]
    pub server: Option<Target>,

    /// Be the server, at this address of this machine (ADDR or ADDR:PORT; an IPv6 address with a port is in brackets), until Ctrl-C
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<Target>,

    /// What to do
    #[arg(long, value_enum, default_value = "write", conflicts_with = "listen")]
    pub op: OpChoice,

    /// Bytes of an operation: 4096, 4k, 1m
    #[arg(long, short = 's', value_name = "BYTES", default_value = "64k", value_parser = parse_size, conflicts_with = "listen")]
    pub size: u64,

    /// So many operations, of all connections together
    #[arg(long, short = 'n', value_name = "N", conflicts_with_all = ["listen", "runtime"],
          value_parser = clap::value_parser!(u64).range(1..))]
    pub iters: Option<u64>,

    /// For so long: 10, 10s, 500ms; 5 s by default
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "listen")]
    pub runtime: Option<Duration>,

    /// Operations of a connection at once; 32 by default
    #[arg(long, value_name = "N", conflicts_with_all = ["listen", "latency"],
          value_parser = clap::value_parser!(u32).range(1..=i64::from(DEPTH_MAX)))]
    pub depth: Option<u32>,

    /// Measure round trips: one operation at a time
    #[arg(long, conflicts_with = "listen")]
    pub latency: bool,

    /// Connections, all of one thread
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "listen",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub connections: u32,

    /// How to wait
    #[arg(long, value_enum, default_value = "adaptive")]
    pub poll: Poll,

    /// The processor to pin the thread to
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,

    /// The address to connect from; by default the one that the route to the server leads from
    #[arg(long, value_name = "ADDR", conflicts_with = "listen")]
    pub local: Option<IpAddr>,

    /// auto takes hardware where the address belongs to an RDMA device, and soft otherwise
    #[arg(long, value_name = "auto|soft|verbs", default_value_t, value_parser = parse_provider)]
    pub provider: ProviderChoice,

    /// A smaller payload of packets than the link allows: 256, 512, 1024, 2048, 4096
    #[arg(long, value_name = "BYTES", value_parser = parse_mtu)]
    pub mtu: Option<PathMtu>,

    /// The report's format
    #[arg(long, alias = "output_format", value_enum, default_value = "normal", conflicts_with = "listen")]
    pub output_format: Format,
}

const AFTER_HELP: &str = "\
Start `remora rdma perf --listen 127.0.0.2` and then `remora rdma perf 127.0.0.2 --op read --size 4k --latency`.

A latency is counted from the posting of an operation to its end; with --op send --latency until the server's answer of the same size is
there, both ways. Each of a connection's operations under way has memory of its own at both sides.

Exit codes: 0 it was measured; 1 there was no connection, or no longer; 2 the options cannot be; 130 or 143 when a signal ended a run
early, which is reported all the same. A server ends with 0.";

impl PerfOptions {
    fn load(&self) -> Result<Load, RdmaError> {
        let op = match (self.op, self.latency) {
            (OpChoice::Send, true) => Op::Echo,
            (OpChoice::Send, false) => Op::Send,
            (OpChoice::Write, _) => Op::Write,
            (OpChoice::Read, _) => Op::Read,
        };
        let too_large = || RdmaError::Usage(format!("--size {}: at most {SIZE_MAX} bytes", self.size));
        let bytes = u32::try_from(self.size).map_err(|_| too_large())?;
        let depth = if self.latency { 1 } else { self.depth.unwrap_or(DEPTH) };
        let load = Load { op, bytes, depth };
        load.check().map_err(|error| RdmaError::Usage(format!("--size and --depth: {error}")))?;
        let whole = u64::from(bytes) * u64::from(depth) * u64::from(self.connections);
        if whole > BYTES_MAX {
            let most = BYTES_MAX >> 30;
            return Err(RdmaError::Usage(format!(
                "--size, --depth and --connections: more than {most} GiB of memory"
            )));
        }
        Ok(load)
    }

    fn length(&self) -> Length {
        match (self.iters, self.runtime) {
            (Some(count), _) => Length::Operations(count),
            (None, runtime) => Length::Time(runtime.unwrap_or(RUNTIME)),
        }
    }

    fn reactor(&self, endpoint: EndpointOptions) -> ReactorOptions {
        ReactorOptions { poll: self.poll, mtu: self.mtu, endpoint }
    }

    fn poll_name(&self) -> &'static str {
        match self.poll {
            Poll::Always => "always",
            Poll::Adaptive => "adaptive",
        }
    }

    fn pin(&self) -> Result<(), RdmaError> {
        let Some(id) = self.cpu else { return Ok(()) };
        if affinity::pin(id) { Ok(()) } else { Err(RdmaError::Pin(id)) }
    }
}

/// Runs the command.
pub(super) fn run(options: &PerfOptions, stop: &Stop) -> Result<(), RdmaError> {
    options.pin()?;
    match (options.listen, options.server) {
        (Some(listen), _) => {
            let listen = listen.or_port(PORT);
            with_provider(options.provider, listen.ip(), Serve { options, listen, stop })
        }
        (None, Some(server)) => {
            let peer = server.or_port(PORT);
            let (load, local) = (options.load()?, local_address(peer.ip(), options.local)?);
            with_provider(options.provider, local, Measure { options, peer, local, load, stop })
        }
        (None, None) => Err(RdmaError::Usage("an address is wanted, or --listen".to_owned())),
    }
}

struct Serve<'a> {
    options: &'a PerfOptions,
    listen: SocketAddr,
    stop: &'a Stop,
}

impl ProviderTask for Serve<'_> {
    type Output = Result<(), RdmaError>;

    fn run<P: Provider>(self, provider: &P) -> Result<(), RdmaError> {
        let endpoint =
            EndpointOptions { queue_pairs_max: CONNECTIONS_MAX, completions_max: SERVER_COMPLETIONS };
        let reactor = Reactor::open(provider, self.listen.ip(), &self.options.reactor(endpoint))?;
        Server::listen(reactor, self.listen.port(), io::stdout())?.serve(self.stop)
    }
}

struct Measure<'a> {
    options: &'a PerfOptions,
    peer: SocketAddr,
    local: IpAddr,
    load: Load,
    stop: &'a Stop,
}

impl ProviderTask for Measure<'_> {
    type Output = Result<(), RdmaError>;

    fn run<P: Provider>(self, provider: &P) -> Result<(), RdmaError> {
        let Self { options, load, stop, .. } = self;
        let completions_max = (load.depth + GRANT_COMPLETIONS) * options.connections;
        let endpoint = EndpointOptions { queue_pairs_max: options.connections, completions_max };
        let reactor = Reactor::open(provider, self.local, &options.reactor(endpoint))?;
        let mut client = Client::connect(reactor, self.peer, load, options.connections, stop)?;
        let measured = client.run(options.length(), stop)?;
        let device = rdma::Device::info(&client.reactor().device).clone();
        client.part()?;
        let report = Report { options, load, length: options.length(), device: &device, measured: &measured };
        let text = match options.output_format {
            Format::Normal => report.text(),
            Format::Json => report.json(),
        };
        io::stdout().write_all(text.as_bytes()).map_err(RdmaError::Output)?;
        if stop.is_set() { Err(RdmaError::Stopped) } else { Ok(()) }
    }
}
