//! SIGINT and SIGTERM as something to sleep on.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// As shells report a process that a signal ended.
const SIGNALLED: i32 = 128;

/// The signals that came. A second one ends the process at once.
pub(super) struct Signals {
    came: UnixStream,
}

impl Signals {
    pub(super) fn note() -> io::Result<Self> {
        let (came, comes) = UnixStream::pair()?;
        came.set_nonblocking(true)?;
        let second = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal arms, the second finds it armed.
            flag::register_conditional_shutdown(signal, SIGNALLED + signal, Arc::clone(&second))?;
            flag::register(signal, Arc::clone(&second))?;
            pipe::register(signal, comes.try_clone()?)?;
        }
        Ok(Self { came })
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.came.as_raw_fd()
    }

    /// Whether one came since the last look.
    pub(super) fn has_come(&mut self) -> bool {
        self.came.read(&mut [0; 16]).is_ok_and(|bytes| bytes > 0)
    }
}
