//! `remora rdma`: RDMA devices, round trips, and what a connection carries; on soft and on verbs alike.
//!
//! - `devices`: the list; `ping`: like rping, data checked; `perf`: like perftest.
//! - `provider`: the one place where the provider is chosen; `reactor`: one thread's loop over an endpoint.
//! - `address`: addresses as users write them.

mod address;
mod devices;
mod error;
pub mod perf;
mod ping;
mod provider;
pub mod reactor;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Subcommand;
use rdma::{PathMtu, ProviderChoice};

use crate::bench::stop::Stop;
use crate::cli::EXIT_FAILED;
use devices::DevicesOptions;
pub use error::RdmaError;
use perf::PerfOptions;
use ping::PingOptions;

/// Look at RDMA devices and try connections.
#[derive(Clone, Debug, Subcommand)]
pub enum RdmaCommand {
    /// List the RDMA devices, and the addresses that RoCEv2 in userspace can use
    Devices(DevicesOptions),
    /// Ping an RDMA address with data that is checked, or answer pings; rping can be the other side
    Ping(PingOptions),
    /// Measure RDMA connections, or be measured
    Perf(PerfOptions),
}

/// Runs the command and tells how it went.
#[must_use]
pub fn command(command: &RdmaCommand) -> ExitCode {
    let stop = match Stop::on_signals() {
        Ok(stop) => stop,
        Err(error) => return ExitCode::from(tell(&RdmaError::Signals(error))),
    };
    let result = match command {
        RdmaCommand::Devices(options) => devices::run(options),
        RdmaCommand::Ping(options) => ping::run(options, &stop),
        RdmaCommand::Perf(options) => perf::run(options, &stop),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(RdmaError::Stopped) => ExitCode::from(stop.signal_exit_code().unwrap_or(EXIT_FAILED)),
        Err(error) => ExitCode::from(tell(&error)),
    }
}

fn tell(error: &RdmaError) -> u8 {
    // Nothing is left to be done if nobody reads it.
    let _ = writeln!(io::stderr(), "remora: {error}");
    error.exit_code()
}

fn parse_provider(text: &str) -> Result<ProviderChoice, String> {
    text.parse().map_err(|error: rdma::ChoiceError| error.to_string())
}

fn parse_mtu(text: &str) -> Result<PathMtu, String> {
    let found = PathMtu::ALL.into_iter().find(|mtu| text.parse() == Ok(mtu.bytes()));
    found.ok_or_else(|| format!("`{text}` is no payload of packets: 256, 512, 1024, 2048 or 4096"))
}
