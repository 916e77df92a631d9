//! How a remote subsystem is to be attached.

use std::net::IpAddr;
use std::time::Duration;

use block::uri::{ParameterError, ParameterReader};
use nvmf::host::{HostIdentity, HostOptions, OptionsError, ReconnectOptions};
use nvmf::wire::Nqn;
use rdma::ProviderChoice;
use thiserror::Error;

use crate::identity::{IdentityError, host_identity};

/// Most I/O queues of one controller, and so most threads that use one opened device.
pub const QUEUES_MAX: u16 = 62;
/// Fewest I/O queues if nobody says how many: otherwise one for each processor.
const QUEUES_DEFAULT_MIN: u16 = 4;
/// Most I/O queues if nobody says how many.
const QUEUES_DEFAULT_MAX: u16 = 16;
/// Entries of an I/O queue if nobody says how many.
const DEPTH_DEFAULT: u16 = 128;
/// Most commands in flight of one I/O queue.
pub const DEPTH_MAX: u16 = 4095;
/// Shortest time that a command is given.
const IO_TIMEOUT_MIN: Duration = Duration::from_millis(10);

/// How a remote subsystem is to be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteOptions {
    /// Who we say that we are.
    pub host: HostIdentity,
    /// The address to come from; found by itself if it is not given.
    pub local: Option<IpAddr>,
    /// The RDMA provider.
    pub provider: ProviderChoice,
    /// I/O queues to ask for: one for each thread that opens a queue. The controller may grant fewer.
    pub queues: u16,
    /// Commands in flight of one I/O queue; the controller may allow fewer.
    pub depth: u16,
    /// Keep-alive timeout.
    pub keep_alive: Duration,
    /// How long to try to reconnect before the device is given up; `None` is for ever.
    pub loss_timeout: Option<Duration>,
    /// How long a command may take before the association is ended.
    pub io_timeout: Duration,
    /// While there is no association I/O fails at once, and what was in flight fails with it, instead of being held and
    /// sent again. For those who have another copy, such as mirrors.
    pub fail_fast: bool,
    /// Whether small writes travel in the command's capsule, where the controller takes that.
    pub in_capsule: bool,
}

/// Why options cannot be had.
#[derive(Debug, Error)]
pub enum RemoteOptionsError {
    /// A parameter is wrong.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// There is no host identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl RemoteOptions {
    /// The defaults for this host: Linux's keep-alive (5 s), I/O timeout (30 s) and patience (600 s).
    #[must_use]
    pub fn new(host: HostIdentity) -> Self {
        Self {
            host,
            local: None,
            provider: ProviderChoice::default(),
            queues: default_queues(),
            depth: DEPTH_DEFAULT,
            keep_alive: Duration::from_secs(5),
            loss_timeout: Some(Duration::from_secs(600)),
            io_timeout: Duration::from_secs(30),
            fail_fast: false,
            in_capsule: true,
        }
    }

    /// Takes the parameters of a URI: `queues`, `depth`, `local`, `provider`, `hostnqn`, `hostid`, `keep_alive_ms`,
    /// `ctrl_loss_timeout_s` (0: for ever), `timeout_ms`, `fail_fast`, `in_capsule`.
    pub fn take(parameters: &mut ParameterReader) -> Result<Self, RemoteOptionsError> {
        let (nqn, id) = (parameters.take_str("hostnqn"), parameters.take_str("hostid"));
        let local = parameters.take("local", "IP address", |value| value.parse().ok())?;
        let provider = parameters.take("provider", "auto, soft or verbs", |value| value.parse().ok())?;
        let queues = take_count(parameters, "queues", "number of queues (1 to 62)", QUEUES_MAX)?;
        let depth = take_count(parameters, "depth", "queue depth (1 to 4095)", DEPTH_MAX)?;
        let keep_alive = parameters.take_u64("keep_alive_ms")?.map(Duration::from_millis);
        let loss_timeout = parameters.take_u64("ctrl_loss_timeout_s")?.map(Duration::from_secs);
        let io_timeout = take_timeout(parameters)?;
        let fail_fast = parameters.take_bool("fail_fast")?;
        let in_capsule = parameters.take_bool("in_capsule")?;
        let defaults = Self::new(host_identity(nqn.as_deref(), id.as_deref())?);
        Ok(Self {
            local,
            provider: provider.unwrap_or_default(),
            queues: queues.unwrap_or(defaults.queues),
            depth: depth.unwrap_or(defaults.depth),
            keep_alive: keep_alive.unwrap_or(defaults.keep_alive),
            loss_timeout: loss_timeout
                .map_or(defaults.loss_timeout, |timeout| Some(timeout).filter(|timeout| !timeout.is_zero())),
            io_timeout: io_timeout.unwrap_or(defaults.io_timeout),
            fail_fast: fail_fast.unwrap_or(defaults.fail_fast),
            in_capsule: in_capsule.unwrap_or(defaults.in_capsule),
            ..defaults
        })
    }

    /// What the protocol needs to know of them, for a controller that has namespaces.
    pub(crate) fn io(&self, subsystem: &Nqn) -> Result<HostOptions, OptionsError> {
        let options = HostOptions {
            io_queues: self.queues,
            // One entry of a submission queue stays empty.
            io_entries: self.depth.saturating_add(1),
            in_capsule: self.in_capsule,
            ..self.common(HostOptions::io(self.host.clone(), subsystem.clone()))
        };
        options.check().map(|()| options)
    }

    /// The same for a discovery controller that is asked once.
    pub(crate) fn discovery(&self) -> Result<HostOptions, OptionsError> {
        let options = HostOptions {
            // It is left before that matters.
            keep_alive: Duration::ZERO,
            ..self.common(HostOptions::discovery(self.host.clone()))
        };
        options.check().map(|()| options)
    }

    fn common(&self, options: HostOptions) -> HostOptions {
        let reconnect = ReconnectOptions { loss_timeout: self.loss_timeout, ..options.reconnect };
        HostOptions { keep_alive: self.keep_alive, reconnect, ..options }
    }
}

fn default_queues() -> u16 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    u16::try_from(processors).unwrap_or(u16::MAX).clamp(QUEUES_DEFAULT_MIN, QUEUES_DEFAULT_MAX)
}

fn take_count(
    parameters: &mut ParameterReader,
    name: &'static str,
    wanted: &'static str,
    most: u16,
) -> Result<Option<u16>, ParameterError> {
    parameters.take(name, wanted, |value| value.parse().ok().filter(|count| (1..=most).contains(count)))
}

fn take_timeout(parameters: &mut ParameterReader) -> Result<Option<Duration>, ParameterError> {
    parameters.take("timeout_ms", "time for a command in milliseconds (10 or more)", |value| {
        value.parse().ok().map(Duration::from_millis).filter(|timeout| *timeout >= IO_TIMEOUT_MIN)
    })
}

#[cfg(test)]
mod tests {
    use block::DeviceUri;

    use super::*;

    const HOST: &str = "hostnqn=nqn.2014-08.org.nvmexpress:uuid:00112233-4455-6677-8899-aabbccddeeff";

    fn take(parameters: &str) -> Result<RemoteOptions, RemoteOptionsError> {
        let uri: DeviceUri =
            format!("rdma://127.0.0.2/nqn.2024-05.com.example:s?{HOST}{parameters}").parse().unwrap();
        let mut reader = uri.parameters().reader();
        let options = RemoteOptions::take(&mut reader)?;
        reader.finish()?;
        Ok(options)
    }

    #[test]
    fn the_defaults_are_those_of_linux() {
        let options = take("").unwrap();
        assert_eq!(options.keep_alive, Duration::from_secs(5));
        assert_eq!(options.io_timeout, Duration::from_secs(30));
        assert_eq!(options.loss_timeout, Some(Duration::from_secs(600)));
        assert!(!options.fail_fast && options.in_capsule && options.queues >= 1);
        let subsystem = "nqn.2024-05.com.example:s".parse().unwrap();
        assert_eq!(options.io(&subsystem).unwrap().io_entries, 129);
        assert!(options.discovery().is_ok());
    }

    #[test]
    fn parameters_are_taken() {
        let options = take(
            "&queues=3&depth=64&local=127.9.9.9&provider=soft&keep_alive_ms=700&ctrl_loss_timeout_s=9&timeout_ms=250\
             &fail_fast=1&in_capsule=0",
        )
        .unwrap();
        let local = "127.9.9.9".parse().unwrap();
        assert_eq!((options.queues, options.depth, options.local), (3, 64, Some(local)));
        assert_eq!(options.provider, ProviderChoice::Soft);
        assert_eq!(options.keep_alive, Duration::from_millis(700));
        assert_eq!(options.loss_timeout, Some(Duration::from_secs(9)));
        assert_eq!(options.io_timeout, Duration::from_millis(250));
        assert!(options.fail_fast && !options.in_capsule);
        assert_eq!(take("&ctrl_loss_timeout_s=0").unwrap().loss_timeout, None);
    }

    #[test]
    fn what_cannot_be_is_told() {
        let wrong = |parameters| take(parameters).unwrap_err().to_string();
        assert_eq!(wrong("&queues=63"), "parameter `queues`: `63` is no number of queues (1 to 62)");
        assert_eq!(wrong("&depth=0"), "parameter `depth`: `0` is no queue depth (1 to 4095)");
        assert_eq!(wrong("&local=here"), "parameter `local`: `here` is no IP address");
        assert!(wrong("&hostid=7").contains("is no UUID"));
        assert!(wrong("&depht=7").starts_with("unknown parameter `depht`"));
    }
}
