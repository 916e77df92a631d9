//! `remora rdma ping`: round trips with data that is checked, in the protocol of rping, so that rping can be the peer.
//!
//! In each ping the client tells the server of a buffer, which the server READs, and of another one, to which it WRITEs the same
//! bytes; then the client compares them. `message`: what they tell each other; `pattern`: the data.

mod client;
mod message;
mod pattern;
mod server;
mod session;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;
use rdma::{EndpointOptions, PathMtu, ProviderChoice, local_address};

use super::address::Target;
use super::error::RdmaError;
use super::provider::with_provider;
use super::reactor::{Poll, ReactorOptions};
use super::{parse_mtu, parse_provider};
use crate::bench::stop::Stop;
use client::Client;
use message::MESSAGE_BYTES;
use server::Server;

/// rping's port.
const PORT: u16 = 7174;

/// Most bytes of a ping: rping's.
const BYTES_MAX: u32 = 65_535;

/// Least bytes of a ping: its name.
const BYTES_MIN: u32 = 16;

/// Longest pause between pings: a server takes a client that is silent for longer to have gone.
const INTERVAL_MS_MAX: u64 = 30_000;

/// Between pings of an endless run, if nothing else was asked for.
const INTERVAL_MS: u64 = 1000;

/// Depth of the send queue: never more than a few pieces of work are under way, but room costs nothing.
const SEND_DEPTH: u32 = 16;

/// Receives that are posted: the protocol is in lockstep, so one would do; the second stands in while the first is reposted.
const RECEIVES: u32 = 2;

/// Ping an RDMA address, or answer pings; rping can be the other side.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct PingOptions {
    /// The server: ADDR or ADDR:PORT; an IPv6 address with a port is in brackets
    #[arg(required_unless_present = "listen", conflicts_with = "listen")]
    pub server: Option<Target>,

    /// Answer pings at this address of this machine (ADDR or ADDR:PORT; an IPv6 address with a port is in brackets)
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<Target>,

    /// So many pings; without it until Ctrl-C. A server ends when it has served as many and the client has gone
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Bytes of a ping
    #[arg(long, short = 's', value_name = "BYTES", default_value_t = 64, conflicts_with = "listen",
          value_parser = clap::value_parser!(u32).range(i64::from(BYTES_MIN)..=i64::from(BYTES_MAX)))]
    pub size: u32,

    /// Milliseconds from one ping to the next; 1000 by default, or 0 with --count
    #[arg(long, value_name = "MS", conflicts_with = "listen",
          value_parser = clap::value_parser!(u64).range(..=INTERVAL_MS_MAX))]
    pub interval_ms: Option<u64>,

    /// The address to connect from; by default the one that the route to the server leads from
    #[arg(long, value_name = "ADDR", conflicts_with = "listen")]
    pub local: Option<IpAddr>,

    /// auto takes hardware where the address belongs to an RDMA device, and soft otherwise
    #[arg(long, value_name = "auto|soft|verbs", default_value_t, value_parser = parse_provider)]
    pub provider: ProviderChoice,

    /// A smaller payload of packets than the link allows: 256, 512, 1024, 2048, 4096
    #[arg(long, value_name = "BYTES", value_parser = parse_mtu)]
    pub mtu: Option<PathMtu>,

    /// Show the data, too
    #[arg(long, short = 'v')]
    pub verbose: bool,
}

const AFTER_HELP: &str = "\
The server serves one client at a time, and refuses others meanwhile. Each address has one owner of RoCEv2's UDP port: with soft, two
processes of one machine need two addresses (127.0.0.1 and 127.0.0.2 will do), and the kernel's rdma_rxe must not be loaded.

With rping: `rping -s -a ADDR -S BYTES -V -v` here is its server, with -S at least as large as --size; `rping -c -a ADDR -C 10 -V -v` its
client.

Exit codes: 0 all data came back right; 1 data was wrong, or there was no connection, or no longer; 2 the options cannot be; 130 or 143
when a signal ended a client before its --count.";

impl PingOptions {
    fn interval(&self) -> Duration {
        let by_default = if self.count.is_some() { 0 } else { INTERVAL_MS };
        Duration::from_millis(self.interval_ms.unwrap_or(by_default))
    }

    fn reactor(&self) -> ReactorOptions {
        let endpoint = EndpointOptions { queue_pairs_max: 4, completions_max: 256 };
        ReactorOptions { poll: Poll::Adaptive, mtu: self.mtu, endpoint }
    }
}

/// Runs the command.
pub(super) fn run(options: &PingOptions, stop: &Stop) -> Result<(), RdmaError> {
    let out = io::stdout();
    match (options.listen, options.server) {
        (Some(listen), _) => {
            let listen = listen.or_port(PORT);
            with_provider(options.provider, listen.ip(), Server { options, listen, stop, out })
        }
        (None, Some(server)) => {
            let peer: SocketAddr = server.or_port(PORT);
            let local = local_address(peer.ip(), options.local)?;
            with_provider(options.provider, local, Client { options, peer, local, stop, out })
        }
        (None, None) => Err(RdmaError::Usage("an address is wanted, or --listen".to_owned())),
    }
}

/// A chunk of memory for data of that size, or for a message.
fn chunk_bytes(bytes: u32) -> u32 {
    bytes.max(MESSAGE_BYTES).next_multiple_of(64)
}
