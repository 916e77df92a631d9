//! `remora discover`: which subsystems can be reached at an address, in nvme-cli's words and layout.
//!
//! - [`place`]: addresses as users write them; `words`, `log`: nvme-cli's words, and a log in them.
//!
//! Referrals are followed: what the services say that the first one refers to stands below its own log.

mod log;
pub mod place;
mod words;

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use initiator::{
    ConnectError, Discovery, IdentityError, RemoteOptions, ResolveError, Service, host_identity,
};
use nvme_spec::log::DiscoveryEntry;
use rdma::ProviderChoice;
use thiserror::Error;

use crate::cli::EXIT_FAILED;
use crate::nvme::OutputFormat;
use crate::nvme::json::Object;
use place::Place;

/// Ask a discovery service.
#[derive(Clone, Debug, Args)]
pub struct DiscoverOptions {
    /// Where the service is: 192.0.2.1, 192.0.2.1:4420, a host's name, [2001:db8::1]:4420
    #[arg(required_unless_present = "traddr", conflicts_with_all = ["traddr", "trsvcid"])]
    address: Option<Place>,

    /// The same, in nvme-cli's words
    #[arg(short = 'a', long)]
    traddr: Option<Place>,

    /// The port, in nvme-cli's words
    #[arg(short = 's', long, requires = "traddr", value_parser = clap::value_parser!(u16).range(1..))]
    trsvcid: Option<u16>,

    /// The transport, which can only be rdma
    #[arg(short = 't', long, default_value = "rdma", value_parser = ["rdma"], hide_possible_values = true)]
    transport: String,

    /// Who asks, and how
    #[command(flatten)]
    asking: AskOptions,

    /// How to print the answer
    #[arg(short, long, alias = "output_format", value_enum, default_value = "normal")]
    output_format: OutputFormat,
}

/// Who asks a remote controller, and how.
#[derive(Clone, Debug, Default, Args)]
pub struct AskOptions {
    /// The address to come from; found by itself if it is not given
    #[arg(short = 'w', long, alias = "host_traddr", value_name = "ADDRESS")]
    host_traddr: Option<IpAddr>,

    /// The host's NVMe qualified name; that of /etc/nvme/hostnqn, or a stored one, if it is not given
    #[arg(short = 'q', long, value_name = "NQN")]
    hostnqn: Option<String>,

    /// The host's identifier, a UUID
    #[arg(short = 'I', long, value_name = "UUID")]
    hostid: Option<String>,

    /// What carries RDMA: auto, soft or verbs
    #[arg(long, default_value = "auto", value_parser = parse_provider)]
    provider: ProviderChoice,
}

fn parse_provider(text: &str) -> Result<ProviderChoice, String> {
    text.parse().map_err(|error: rdma::ChoiceError| error.to_string())
}

impl AskOptions {
    /// For connections.
    pub(crate) fn remote(&self) -> Result<RemoteOptions, IdentityError> {
        let host = host_identity(self.hostnqn.as_deref(), self.hostid.as_deref())?;
        Ok(RemoteOptions { local: self.host_traddr, provider: self.provider, ..RemoteOptions::new(host) })
    }
}

/// Why a service's answer cannot be told.
#[derive(Debug, Error)]
pub enum DiscoverError {
    /// The host's name means nothing.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// We do not know who we are.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It does not answer.
    #[error("{address}: {source}")]
    Connect {
        /// The service.
        address: SocketAddr,
        /// Why.
        source: ConnectError,
    },
    /// The answer cannot be written out.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Asks the service at a place, and those that it refers to.
pub(crate) fn ask(place: &Place, options: &RemoteOptions) -> Result<Discovery, DiscoverError> {
    let address = place.resolve()?;
    initiator::discover(address, options).map_err(|source| DiscoverError::Connect { address, source })
}

/// Runs the command and tells how it went.
#[must_use]
pub fn command(options: &DiscoverOptions) -> ExitCode {
    match run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Whether all services answered.
fn run(options: &DiscoverOptions) -> Result<bool, DiscoverError> {
    // The parser sees to it that there is one.
    let Some(place) = options.address.as_ref().or(options.traddr.as_ref()) else { return Ok(false) };
    let place = options.trsvcid.map_or_else(|| place.clone(), |port| place.with_port(port));
    let discovery = ask(&place, &options.asking.remote()?)?;
    let text = match options.output_format {
        OutputFormat::Normal => text(&discovery.services),
        OutputFormat::Json => json(&discovery.services).pretty()?,
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(complain(&discovery))
}

fn text(services: &[Service]) -> String {
    let mut text = String::new();
    for (index, Service { address, log }) in services.iter().enumerate() {
        let Ok(log) = log else { continue };
        if index > 0 {
            text.push_str(&format!("\nReferral to {address}\n"));
        }
        text.push_str(&log::text(log));
    }
    text
}

/// As nvme-cli's, and the other services' logs beside it.
fn json(services: &[Service]) -> Object {
    let logs = services.iter().filter_map(|service| Some((service.address, service.log.as_ref().ok()?)));
    let mut logs = logs.map(|(address, log)| (address, log::json(log)));
    let Some((_, mut first)) = logs.next() else { return Object::default() };
    let referrals: Vec<_> = logs
        .map(|(address, log)| {
            let mut referral = Object::default();
            referral.value("address", address.to_string());
            referral.object("log", log);
            referral
        })
        .collect();
    if !referrals.is_empty() {
        first.list("referrals", referrals);
    }
    first
}

/// Says which services did not answer; whether all did.
fn complain(discovery: &Discovery) -> bool {
    let silent = discovery.services.iter().filter_map(|service| Some((service, service.log.as_ref().err()?)));
    let silent = silent.map(|(service, error)| say(&format!("referral to {}: {error}", service.address)));
    let silent = silent.count();
    if discovery.left_out > 0 {
        say(&format!("{} more referrals were not followed", discovery.left_out));
    }
    silent == 0 && discovery.left_out == 0
}

fn say(text: &str) {
    // Nothing is left to be done if nobody reads it.
    let _ = writeln!(io::stderr(), "remora: {text}");
}

/// What an entry tells of, in nvme-cli's words.
pub(crate) fn subsystem_words(entry: &DiscoveryEntry) -> &'static str {
    words::subsystem(entry.subtype)
}
