//! How an association is to be made.

use std::time::Duration;

use thiserror::Error;

use super::identity::HostIdentity;
use super::slots::SLOTS_MAX;
use crate::wire::Nqn;

/// Entries of the admin queue, as Linux has them: controllers are only sure to grant these.
pub(super) const ADMIN_ENTRIES: u16 = 32;
/// Most I/O queues of a controller.
const IO_QUEUES_MAX: u16 = 1024;
/// Most bytes of one command that a keyed descriptor can say (RDMA, Keyed SGL Data Block: 24 bits), in whole blocks of 64 KiB.
const TRANSFER_BYTES_MAX: u32 = 0xff_0000;
/// A keep-alive timeout below this is mostly an association that is lost by a busy machine.
const KEEP_ALIVE_MIN: Duration = Duration::from_millis(100);

/// What kind of controller is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControllerKind {
    /// One that has namespaces.
    Io,
    /// One that has the discovery log.
    Discovery,
}

/// What happens after an association was lost, or could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconnectOptions {
    /// The pause before the first new attempt; it doubles with each that fails.
    pub delay_min: Duration,
    /// The longest pause.
    pub delay_max: Duration,
    /// How long to try before the controller is given up; `None` is for ever.
    pub loss_timeout: Option<Duration>,
    /// Whether to try again if the very first attempt fails. `nvme connect` does not.
    pub retry_first: bool,
}

impl Default for ReconnectOptions {
    /// Ten minutes, as Linux; pauses from a quarter of a second up to Linux's ten seconds.
    fn default() -> Self {
        Self {
            delay_min: Duration::from_millis(250),
            delay_max: Duration::from_secs(10),
            loss_timeout: Some(Duration::from_secs(600)),
            retry_first: false,
        }
    }
}

/// How an association is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostOptions {
    /// What kind of controller is asked for.
    pub kind: ControllerKind,
    /// Who we are.
    pub host: HostIdentity,
    /// Whose controller.
    pub subsystem: Nqn,
    /// I/O queues to ask for; the controller may grant fewer. 0 for discovery.
    pub io_queues: u16,
    /// Entries of an I/O queue; the controller may allow fewer. One less can be in flight.
    pub io_entries: u16,
    /// Keep-alive timeout (KATO); zero is none, which only a discovery controller may have.
    pub keep_alive: Duration,
    /// Ask for I/O queues without flow control of the submission queue (CATTR bit 2).
    pub without_flow_control: bool,
    /// Whether small writes may go in the capsule.
    pub in_capsule: bool,
    /// Most bytes of one command, if the controller allows them.
    pub transfer_bytes_max: u32,
    /// How long an admin command may take.
    pub admin_timeout: Duration,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// What happens after a loss.
    pub reconnect: ReconnectOptions,
}

/// Why options cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// None, or too many I/O queues.
    #[error("{0} I/O queues: 1 to {IO_QUEUES_MAX} can be had")]
    IoQueues(u16),
    /// Too few or too many entries.
    #[error("I/O queues of {0} entries: 2 to {SLOTS_MAX} can be had")]
    IoEntries(u16),
    /// A keep-alive timeout that is none.
    #[error("a keep-alive timeout of {0:?}: {KEEP_ALIVE_MIN:?} to 49 days can be had")]
    KeepAlive(Duration),
    /// Commands of too few or too many bytes.
    #[error("commands of {0} bytes: 4096 to {TRANSFER_BYTES_MAX} can be had")]
    TransferBytes(u32),
    /// The longest pause is shorter than the shortest, or there is none.
    #[error("pauses between attempts from {0:?} to {1:?}")]
    Delays(Duration, Duration),
}

impl HostOptions {
    /// Linux's defaults for a controller with namespaces: keep-alive 5 s, admin commands 60 s, 1 MiB a command.
    #[must_use]
    pub fn io(host: HostIdentity, subsystem: Nqn) -> Self {
        Self {
            kind: ControllerKind::Io,
            host,
            subsystem,
            io_queues: 1,
            io_entries: 128,
            keep_alive: Duration::from_secs(5),
            without_flow_control: false,
            in_capsule: true,
            transfer_bytes_max: 1 << 20,
            admin_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(3),
            reconnect: ReconnectOptions::default(),
        }
    }

    /// A discovery controller that stays: keep-alive 30 s as Linux's persistent ones.
    #[must_use]
    pub fn discovery(host: HostIdentity) -> Self {
        let io = Self::io(host, Nqn::discovery());
        Self { kind: ControllerKind::Discovery, io_queues: 0, keep_alive: Duration::from_secs(30), ..io }
    }

    /// Whether they can be followed.
    pub fn check(&self) -> Result<(), OptionsError> {
        let is_io = self.kind == ControllerKind::Io;
        if is_io && !(1..=IO_QUEUES_MAX).contains(&self.io_queues) {
            return Err(OptionsError::IoQueues(self.io_queues));
        }
        if is_io && !(2..=SLOTS_MAX).contains(&self.io_entries) {
            return Err(OptionsError::IoEntries(self.io_entries));
        }
        let none_is_right = self.keep_alive.is_zero() && !is_io;
        let in_32_bits = u32::try_from(self.keep_alive.as_millis()).is_ok();
        if !none_is_right && (self.keep_alive < KEEP_ALIVE_MIN || !in_32_bits) {
            return Err(OptionsError::KeepAlive(self.keep_alive));
        }
        if !(4096..=TRANSFER_BYTES_MAX).contains(&self.transfer_bytes_max) {
            return Err(OptionsError::TransferBytes(self.transfer_bytes_max));
        }
        let (min, max) = (self.reconnect.delay_min, self.reconnect.delay_max);
        if min.is_zero() || min > max { Err(OptionsError::Delays(min, max)) } else { Ok(()) }
    }

    /// KATO as Connect says it.
    pub(super) fn keep_alive_ms(&self) -> u32 {
        u32::try_from(self.keep_alive.as_millis()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> HostOptions {
        HostOptions::io(
            HostIdentity::of_uuid(uuid::Uuid::from_u128(1)),
            "nqn.2024-05.com.example:s".parse().unwrap(),
        )
    }

    #[test]
    fn the_defaults_are_those_of_linux() {
        let options = options();
        assert_eq!(options.check(), Ok(()));
        assert_eq!(options.keep_alive_ms(), 5000);
        assert_eq!(options.reconnect.delay_max, Duration::from_secs(10));
        assert_eq!(options.reconnect.loss_timeout, Some(Duration::from_secs(600)));
        assert_eq!(HostOptions::discovery(options.host).check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_told() {
        let wrong = |change: fn(&mut HostOptions)| {
            let mut options = options();
            change(&mut options);
            options.check().unwrap_err()
        };
        assert_eq!(wrong(|o| o.io_queues = 0), OptionsError::IoQueues(0));
        assert_eq!(wrong(|o| o.io_entries = 1), OptionsError::IoEntries(1));
        assert_eq!(wrong(|o| o.io_entries = 4097), OptionsError::IoEntries(4097));
        assert_eq!(wrong(|o| o.keep_alive = Duration::ZERO), OptionsError::KeepAlive(Duration::ZERO));
        assert_eq!(wrong(|o| o.transfer_bytes_max = 1 << 24), OptionsError::TransferBytes(1 << 24));
        let second = Duration::from_secs(1);
        let delays = wrong(|o| o.reconnect.delay_max = Duration::from_millis(1));
        assert_eq!(delays, OptionsError::Delays(Duration::from_millis(250), Duration::from_millis(1)));
        assert_eq!(
            wrong(|o| o.reconnect.delay_min = Duration::from_secs(11)),
            OptionsError::Delays(second * 11, second * 10)
        );
    }
}
