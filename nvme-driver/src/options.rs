//! How the driver treats a controller.

use std::time::Duration;

use block::uri::{ParameterError, ParameterReader};

/// How the driver treats a controller. The defaults suit a local drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverOptions {
    /// I/O queue pairs to ask the controller for; it may grant fewer. 1 to [`Self::QUEUES_MAX`].
    pub io_queues: u16,
    /// How long a command may take before it is aborted.
    pub command_timeout: Duration,
    /// How long an abort may take before the controller is reset.
    pub abort_timeout: Duration,
    /// How long an admin command may take before the controller is reset.
    pub admin_timeout: Duration,
    /// Use shadow doorbells where the controller offers them.
    pub shadow_doorbells: bool,
    /// Use SGLs where the controller offers them and PRPs would not do.
    pub sgls: bool,
}

impl DriverOptions {
    /// Most I/O queue pairs of a controller that we use. With the usual doorbell stride their shadow doorbells fit in one
    /// page; with a wider one they are not used.
    pub const QUEUES_MAX: u16 = 128;

    /// Takes the parameters of a device URI that are the driver's: `timeout_ms`, how long a command may take before it
    /// is aborted; `io_queues`, how many I/O queue pairs to ask for; `shadow_doorbells`.
    ///
    /// # Errors
    /// [`ParameterError`] for a value that is none.
    pub fn take(reader: &mut ParameterReader) -> Result<Self, ParameterError> {
        let mut options = Self::default();
        if let Some(timeout_ms) = reader.take_u64("timeout_ms")? {
            options.command_timeout = Duration::from_millis(timeout_ms.max(1));
        }
        let number = |text: &str| text.parse().ok().filter(|queues| (1..=Self::QUEUES_MAX).contains(queues));
        if let Some(io_queues) = reader.take("io_queues", "number from 1 to 128", number)? {
            options.io_queues = io_queues;
        }
        options.shadow_doorbells = reader.take_bool("shadow_doorbells")?.unwrap_or(true);
        Ok(options)
    }

    /// The options with every value in its range.
    #[must_use]
    pub(crate) fn clamped(mut self) -> Self {
        self.io_queues = self.io_queues.clamp(1, Self::QUEUES_MAX);
        self
    }
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            io_queues: 32,
            command_timeout: Duration::from_secs(30),
            abort_timeout: Duration::from_secs(5),
            admin_timeout: Duration::from_secs(30),
            shadow_doorbells: true,
            sgls: true,
        }
    }
}
