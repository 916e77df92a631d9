//! The command line of `remora-target`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rdma::ProviderChoice;

use crate::config::{
    self, Config, ConfigError, Machine, Place, Problem, Shortest, from_arguments, read_control, read_level,
    read_metrics,
};
use crate::daemon::{self, DaemonError};

/// Exit code when the command line or the configuration says what cannot be.
pub const EXIT_USAGE: u8 = 2;

/// Exit code when the target could not start, or did not end as it should.
pub const EXIT_FAILED: u8 = 1;

/// Exports block devices over NVMe/RDMA.
#[derive(Clone, Debug, Parser)]
#[command(name = "remora-target", version)]
struct Options {
    /// Read the configuration from this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "namespace", "nqn", "host", "allow_any_host", "provider"])]
    config: Option<PathBuf>,
    /// Say what is wrong with the configuration, and end
    #[arg(long)]
    check: bool,
    /// Listen at this address (127.0.0.1 if none is given); 0.0.0.0 is every address of this machine; may be repeated
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    listen: Vec<String>,
    /// Export this device, such as soft-nvme:/var/lib/remora/d.img?size=4GiB; may be repeated
    #[arg(long, value_name = "URI")]
    namespace: Vec<String>,
    /// The subsystem's NVMe qualified name; derived from machine and addresses if not given
    #[arg(long)]
    nqn: Option<String>,
    /// Let the host with this NVMe qualified name attach (a name is not authenticated); may be repeated
    #[arg(long, value_name = "NQN")]
    host: Vec<String>,
    /// Let any host attach
    #[arg(long)]
    allow_any_host: bool,
    /// What carries RDMA: auto, soft or verbs
    #[arg(long, default_value = "auto", value_parser = parse_provider)]
    provider: ProviderChoice,
    /// Where the control socket is, or none
    #[arg(long, value_name = "PATH")]
    control: Option<String>,
    /// Serve metrics over HTTP at this address
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<String>,
    /// Keep changes made at run time in this directory
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
    /// What is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

fn parse_provider(text: &str) -> Result<ProviderChoice, String> {
    text.parse().map_err(|error: rdma::ChoiceError| error.to_string())
}

/// Where the configuration comes from, each time that it is read.
#[derive(Clone, Debug)]
pub(crate) struct Source(Options);

impl Source {
    /// Reads it.
    pub(crate) fn read(&self) -> Result<Config, ConfigError> {
        let options = &self.0;
        let config = match &options.config {
            Some(path) => config::load(path)?,
            None => from_arguments(&self.shortest(), &Machine::this()).map_err(of_arguments)?,
        };
        self.overrides(config).map_err(|problem| of_arguments(vec![problem]))
    }

    fn shortest(&self) -> Shortest {
        let options = self.0.clone();
        Shortest {
            listen: options.listen,
            namespaces: options.namespace,
            nqn: options.nqn,
            hosts: options.host,
            allow_any_host: options.allow_any_host,
            provider: options.provider,
        }
    }

    /// What the command line says beside a file counts more than the file.
    fn overrides(&self, mut config: Config) -> Result<Config, Problem> {
        let options = &self.0;
        if let Some(text) = &options.control {
            config.control = read_control(text).map_err(|error| problem("--control", error))?;
        }
        if let Some(text) = &options.metrics {
            config.metrics = Some(read_metrics(text).map_err(|error| problem("--metrics", error))?);
        }
        if let Some(text) = &options.log {
            config.log = read_level(text).map_err(|error| problem("--log", error))?;
        }
        config.state_dir = options.state_dir.clone().or(config.state_dir);
        Ok(config)
    }
}

fn problem(argument: &'static str, message: impl ToString) -> Problem {
    Problem { place: Place::Argument(argument), message: message.to_string() }
}

fn of_arguments(problems: Vec<Problem>) -> ConfigError {
    ConfigError::Problems { name: String::new(), problems }
}

/// The whole program `remora-target`: serves until a signal or a request ends it.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let options = match Options::try_parse_from(arguments) {
        Ok(options) => options,
        Err(error) => {
            // Also the way in which help and the version are told; nothing is to be done if nobody reads it.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    let is_check = options.check;
    let source = Source(options);
    let result = if is_check { check(&source) } else { daemon::run(source) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}", told(&error));
            ExitCode::from(if matches!(error, DaemonError::Config(_)) { EXIT_USAGE } else { EXIT_FAILED })
        }
    }
}

/// Problems of a file are told as compilers do, so that editors find the line; everything else with our name.
fn told(error: &DaemonError) -> String {
    match error {
        DaemonError::Config(ConfigError::Problems { .. }) => error.to_string(),
        _ => format!("remora-target: {error}"),
    }
}

fn check(source: &Source) -> Result<(), DaemonError> {
    let config = source.read()?;
    let namespaces: usize = config.subsystems.values().map(|subsystem| subsystem.namespaces.len()).sum();
    let subsystems = config.subsystems.len();
    // Nobody reads it: then nobody misses it.
    let _ = writeln!(io::stdout(), "good (subsystems: {subsystems}, namespaces: {namespaces})");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn source(arguments: &[&str]) -> Source {
        let all = std::iter::once(&"remora-target").chain(arguments);
        Source(Options::try_parse_from(all).unwrap())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_shortest_start_reads_as_documented() {
        let source = source(&[
            "--listen",
            "127.0.0.2",
            "--namespace",
            "soft-nvme:/var/lib/remora/d.img?size=4GiB",
            "--allow-any-host",
        ]);
        let config = source.read().unwrap();
        assert_eq!(config.listeners, ["127.0.0.2:4420".parse().unwrap()]);
        let (_, subsystem) = config.subsystems.first_key_value().unwrap();
        assert!(subsystem.hosts.any);
        let devices: Vec<String> =
            subsystem.namespaces.values().map(|namespace| namespace.device.to_string()).collect();
        assert_eq!(devices, ["soft-nvme:/var/lib/remora/d.img?size=4GiB"]);
    }

    #[test]
    fn the_command_line_counts_more_than_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.toml");
        std::fs::write(&path, "version = 1\nlog = 'warn'\nmetrics = '127.0.0.1:1'\n").unwrap();
        let path = path.to_str().unwrap();
        let config = source(&["--config", path, "--log", "trace", "--state-dir", "/s"]).read().unwrap();
        assert_eq!(
            (config.log, config.metrics),
            (tracing::Level::TRACE, Some("127.0.0.1:1".parse().unwrap()))
        );
        assert_eq!(config.state_dir, Some(PathBuf::from("/s")));
        let said = source(&["--config", path, "--metrics", "x"]).read().unwrap_err().to_string();
        assert!(said.starts_with("--metrics: `x` is no address"), "{said}");
        assert!(Options::try_parse_from(["remora-target", "--config", path, "--listen", "::1"]).is_err());
    }
}
