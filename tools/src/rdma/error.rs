//! Why a command of `remora rdma` did not do what it was asked.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use block::SleepError;
use dma::{AccessError, AttachError, PoolError};
use rdma::{
    AnswerError, BindError, ConnectionError, CreateError, DevicesError, ListenError, LocalAddressError,
    NotBuilt, OpenError, PostError, WorkError,
};
use thiserror::Error;

use crate::cli::{EXIT_FAILED, EXIT_USAGE};

/// Why a command of `remora rdma` did not do what it was asked.
#[derive(Debug, Error)]
pub enum RdmaError {
    /// Other arguments would help.
    #[error("{0}")]
    Usage(String),
    /// The provider that was asked for is not in this program.
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    /// Devices cannot be listed.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// The device cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An endpoint or a queue pair cannot be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The port cannot be listened on.
    #[error("{address}: {source}")]
    Listen {
        /// Address and port.
        address: SocketAddr,
        /// Why.
        source: ListenError,
    },
    /// There is no address to connect from.
    #[error("{0}")]
    Local(#[from] LocalAddressError),
    /// There is no connection, or no longer.
    #[error("{peer}: {}", connection_words(error))]
    Connection {
        /// The peer.
        peer: SocketAddr,
        /// Why.
        error: Box<ConnectionError>,
    },
    /// Work failed, and with it the connection.
    #[error("{peer}: {error}")]
    Work {
        /// The peer.
        peer: SocketAddr,
        /// How.
        error: WorkError,
    },
    /// The peer is silent.
    #[error("{peer} does not answer: {what} took more than {} s", patience.as_secs())]
    Silent {
        /// The peer.
        peer: SocketAddr,
        /// What was waited for.
        what: &'static str,
        /// How long.
        patience: Duration,
    },
    /// The peer speaks something else.
    #[error("{peer}: {problem}")]
    Protocol {
        /// The peer.
        peer: SocketAddr,
        /// What is wrong.
        problem: String,
    },
    /// Data came back wrong.
    #[error("{wrong} of {count} pings came back wrong")]
    WrongData {
        /// Pings with wrong data.
        wrong: u64,
        /// All pings.
        count: u64,
    },
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] PoolError),
    /// More memory would be held at once than was made: a fault of this program.
    #[error("out of buffers")]
    NoBuffer,
    /// Memory could not be reached: a fault of this program.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The device does not take the memory.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Memory cannot be opened to the peer.
    #[error("memory cannot be opened to the peer: {0}")]
    Bind(#[from] BindError),
    /// Work was not taken.
    #[error("work was not taken: {0}")]
    Post(#[from] PostError),
    /// The send queue is full, though it was made deep enough: a fault of this program.
    #[error("the send queue is full")]
    Full,
    /// A request could not be answered.
    #[error("a request to connect could not be answered: {0}")]
    Answer(#[from] AnswerError),
    /// The thread cannot sleep.
    #[error(transparent)]
    Sleep(#[from] SleepError),
    /// The thread cannot be pinned.
    #[error("this thread cannot be pinned to processor {0}")]
    Pin(usize),
    /// Signals cannot be noted.
    #[error("signals cannot be noted: {0}")]
    Signals(io::Error),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
    /// A signal ended it before it was done.
    #[error("stopped by a signal")]
    Stopped,
}

impl RdmaError {
    /// 2 if other arguments would help, 1 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::NotBuilt(_) | Self::Pin(_) => EXIT_USAGE,
            Self::Local(LocalAddressError::Family { .. } | LocalAddressError::Own(_)) => EXIT_USAGE,
            _ => EXIT_FAILED,
        }
    }
}

/// What happened to a connection, in a user's words; whatever is a refusal says so.
fn connection_words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Refused(private_data) => match text(private_data.bytes()) {
            Some(why) => format!("connection refused by the program there: {why}"),
            None => "connection refused by the program there".to_owned(),
        },
        ConnectionError::NoListener => "connection refused: nobody listens on that port".to_owned(),
        ConnectionError::Rejected(reason) => {
            format!("connection refused by the connection manager there, reason {reason}")
        }
        ConnectionError::TimedOut => "the peer does not answer".to_owned(),
        other => other.to_string(),
    }
}

/// Private data as words, if it reads as such; zeroes fill the field behind them.
fn text(private_data: &[u8]) -> Option<&str> {
    let words = std::str::from_utf8(private_data).ok()?.trim_end_matches('\0');
    (!words.is_empty() && words.chars().all(|letter| letter == ' ' || letter.is_ascii_graphic()))
        .then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdma::PrivateData;

    fn told(error: ConnectionError) -> String {
        let peer = "127.0.0.2:7174".parse().unwrap();
        RdmaError::Connection { peer, error: Box::new(error) }.to_string()
    }

    #[test]
    fn refusals_say_so() {
        let because = |bytes: &[u8]| ConnectionError::Refused(PrivateData::new(bytes).unwrap());
        assert_eq!(
            told(because(b"busy with another\0\0\0")),
            "127.0.0.2:7174: connection refused by the program there: busy with another"
        );
        let without_words = "127.0.0.2:7174: connection refused by the program there";
        for private_data in [&b""[..], &[0; 148], b"\x1b[2Jboo", b"\xff\xfe"] {
            assert_eq!(told(because(private_data)), without_words);
        }
        assert!(told(ConnectionError::NoListener).contains("refused"));
        assert!(told(ConnectionError::Rejected(3)).contains("refused"));
    }
}
