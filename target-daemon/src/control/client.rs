//! The asking side of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::protocol::{self, ProtocolError, REPLY_BYTES_MAX, Reply, Request};

/// How long a target may take to answer: opening and closing devices takes its time.
pub const REPLY_PATIENCE: Duration = Duration::from_secs(90);

/// Why a target did not answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is none, or we may not ask it.
    #[error("cannot reach a target at {}: {source}", path.display())]
    Connect {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was not heard of.
    #[error("the target at {} does not answer: {source}", path.display())]
    Silent {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended the conversation.
    #[error("the target at {} closed the connection", path.display())]
    Closed {
        /// Where.
        path: PathBuf,
    },
    /// It says something else than targets of ours do.
    #[error("the target at {} answers in other words: {source}", path.display())]
    Protocol {
        /// Where.
        path: PathBuf,
        /// Which.
        source: ProtocolError,
    },
}

/// A connection to a target.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let error = |source| ClientError::Connect { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).map_err(error)?;
        stream.set_read_timeout(Some(REPLY_PATIENCE)).map_err(error)?;
        stream.set_write_timeout(Some(REPLY_PATIENCE)).map_err(error)?;
        Ok(Self { path: path.to_owned(), stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let line = protocol::encode_request(request);
        let sent = self.stream.get_mut().write_all(&line);
        // Who refuses us says so first and closes then: the answer tells more than the failed write.
        match (self.read_line(), sent) {
            (Ok(line), _) => protocol::decode_reply(&line)
                .map_err(|source| ClientError::Protocol { path: self.path.clone(), source }),
            (Err(_), Err(source)) => Err(ClientError::Silent { path: self.path.clone(), source }),
            (Err(error), Ok(())) => Err(error),
        }
    }

    /// Waits until the target closes the connection, as it does when it ends.
    pub fn wait_for_end(mut self, patience: Duration) -> Result<(), ClientError> {
        let silent = |source| ClientError::Silent { path: self.path.clone(), source };
        self.stream.get_ref().set_read_timeout(Some(patience)).map_err(silent)?;
        match self.stream.read(&mut [0; 1]) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(source) => Err(ClientError::Silent { path: self.path, source }),
        }
    }

    fn read_line(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(REPLY_BYTES_MAX as u64).read_until(b'\n', &mut line);
        read.map_err(|source| ClientError::Silent { path: self.path.clone(), source })?;
        if line.pop() == Some(b'\n') {
            Ok(line)
        } else {
            Err(ClientError::Closed { path: self.path.clone() })
        }
    }
}
