//! What is said to an attaching process, and what it answers: a line of JSON each way.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use initiator::nbd::{Server, Status};
use serde::{Deserialize, Serialize};

/// Longest line.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// How long the attaching process waits for somebody who has connected to say what it wants.
const REQUEST_PATIENCE: Duration = Duration::from_millis(500);

/// How long an attachment may take to say what it is.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// How long it may take to end: longer than it gives its commands, its device and its clients.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ask {
    /// What are you?
    Status,
    /// End, and say so.
    Detach,
}

/// What an attachment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) device: String,
    pub(super) uris: Vec<String>,
    pub(super) bytes: u64,
    pub(super) block_bytes: u32,
    pub(super) read_only: bool,
    pub(super) counters: Counters,
}

/// What it has done; see [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counters {
    pub(super) clients: u64,
    accepted: u64,
    reads: u64,
    read_bytes: u64,
    writes: u64,
    written_bytes: u64,
    flushes: u64,
    errors: u64,
    unaligned: u64,
    copied_bytes: u64,
}

impl From<Status> for Counters {
    fn from(status: Status) -> Self {
        Self {
            clients: status.clients,
            accepted: status.accepted,
            reads: status.reads,
            read_bytes: status.read_bytes,
            writes: status.writes,
            written_bytes: status.written_bytes,
            flushes: status.flushes,
            errors: status.errors,
            unaligned: status.unaligned,
            copied_bytes: status.copied_bytes,
        }
    }
}

/// How an attachment ended; no reason: well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) error: Option<String>,
}

impl Description {
    /// Of a server of this process.
    pub(super) fn of(server: &Server) -> Self {
        let export = server.export();
        Self {
            name: export.name.to_string(),
            pid: std::process::id(),
            device: export.description.clone(),
            uris: server.addresses().iter().map(|address| address.uri()).collect(),
            bytes: export.bytes,
            block_bytes: export.block_size.bytes(),
            read_only: export.is_read_only,
            counters: server.status().into(),
        }
    }
}

/// Hears what somebody wants who has just connected.
pub(super) fn hear(stream: &UnixStream) -> io::Result<Ask> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(REQUEST_PATIENCE))?;
    stream.set_write_timeout(Some(REQUEST_PATIENCE))?;
    read_line(stream)
}

/// Answers.
pub(super) fn answer<T: Serialize>(stream: &UnixStream, answer: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut stream = stream;
    stream.write_all(&line)
}

/// Asks an attachment what it is.
pub(super) fn ask_status(stream: &UnixStream) -> io::Result<Description> {
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    answer(stream, &Ask::Status)?;
    read_line(stream)
}

/// Asks an attachment to end, and waits.
pub(super) fn ask_detach(stream: &UnixStream) -> io::Result<Ended> {
    stream.set_read_timeout(Some(END_PATIENCE))?;
    answer(stream, &Ask::Detach)?;
    read_line(stream)
}

fn read_line<T: for<'a> Deserialize<'a>>(stream: &UnixStream) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_each_way() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let asks = std::thread::spawn(move || ask_detach(&theirs).unwrap());
        assert_eq!(hear(&ours).unwrap(), Ask::Detach);
        answer(&ours, &Ended { error: Some("why".to_owned()) }).unwrap();
        assert_eq!(asks.join().unwrap(), Ended { error: Some("why".to_owned()) });
    }

    #[test]
    fn the_words_are_a_part_of_the_interface() {
        assert_eq!(serde_json::to_string(&Ask::Status).unwrap(), "\"status\"");
        assert_eq!(serde_json::to_string(&Ask::Detach).unwrap(), "\"detach\"");
    }

    #[test]
    fn nonsense_and_silence_are_errors() {
        for said in [&b"nonsense\n"[..], b"\"status", b"\n", b""] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(said).unwrap();
            drop(theirs);
            assert!(hear(&ours).is_err());
        }
    }
}
