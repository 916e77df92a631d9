//! Sockets to which QEMU connects, read line by line with a deadline.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::clock::Deadline;
use crate::error::{Context, LabError, Result};

/// Bytes taken from the socket at once.
const CHUNK: usize = 4096;

/// A listening socket, which must exist before QEMU starts.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    what: &'static str,
}

impl Door {
    /// Listens at a path.
    pub fn open(path: &Path, what: &'static str) -> Result<Self> {
        let listener = UnixListener::bind(path).about("listen at", path)?;
        listener.set_nonblocking(true).about("set up", path)?;
        Ok(Self { listener, what })
    }

    /// Waits for QEMU. `is_alive` fails when there is nobody to wait for any more.
    pub fn accept(&self, deadline: Deadline, mut is_alive: impl FnMut() -> Result<()>) -> Result<Channel> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Channel::new(stream, self.what),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_alive()?,
                Err(source) => return Err(LabError::Io { what: format!("accept {}", self.what), source }),
            }
            if !deadline.pause() {
                return Err(LabError::GuestGone(format!("QEMU never connected to {}", self.what)));
            }
        }
    }
}

/// A connected socket.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    what: &'static str,
    partial: Vec<u8>,
    lines: VecDeque<String>,
}

impl Channel {
    fn new(stream: UnixStream, what: &'static str) -> Result<Self> {
        stream.set_nonblocking(false).about("set up", Path::new(what))?;
        Ok(Self { stream, what, partial: Vec::new(), lines: VecDeque::new() })
    }

    /// Sends a line.
    pub fn send(&mut self, line: &str) -> Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes()).map_err(|error| self.broken(&error))
    }

    /// The next line, or `None` when the deadline passes first.
    pub fn line(&mut self, deadline: Deadline) -> Result<Option<String>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            let Some(left) = deadline.left() else { return Ok(None) };
            self.stream.set_read_timeout(Some(left)).map_err(|error| self.broken(&error))?;
            let mut chunk = [0; CHUNK];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(LabError::GuestGone(format!("{} was closed", self.what))),
                Ok(length) => self.take_in(&chunk[..length]),
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
                self.partial.clear();
                self.lines.push_back(line);
            } else {
                self.partial.push(byte);
            }
        }
    }

    fn broken(&self, error: &io::Error) -> LabError {
        LabError::GuestGone(format!("{}: {error}", self.what))
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
