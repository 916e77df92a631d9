//! The socket: its one owner, who may ask, and how much.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use block::{MonotonicClock, Timestamp};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Uid, geteuid};
use thiserror::Error;
use tracing::{debug, warn};

use super::protocol::{self, REQUEST_BYTES_MAX, Reply, Request};

/// Most clients at once.
pub(crate) const CLIENTS_MAX: usize = 16;

/// How long a client may take for a request, from the answer to the former one until the end of its line.
pub(crate) const REQUEST_PATIENCE: Duration = Duration::from_secs(30);

/// How long a client may take to read a reply.
pub(crate) const REPLY_PATIENCE: Duration = Duration::from_secs(10);

/// How often, and how far apart, the end looks whether replies are still being written.
const FINISH_STEPS: u32 = 100;
const FINISH_STEP: Duration = Duration::from_millis(10);

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 4096;

/// Why there is no control socket.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Another target has it.
    #[error("{}: another target listens there", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something else is there, which we do not remove.
    #[error("{}: there is something that is no socket", path.display())]
    NoSocket {
        /// Where.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Answers a request. Several clients ask at once.
pub(crate) type Answer = Arc<dyn Fn(Request) -> Reply + Send + Sync>;

/// A control socket. Its file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
    answering: Arc<AtomicUsize>,
    /// Locked until it is closed, which the end of the process does too.
    _lock: File,
}

impl Server {
    /// Listens. A socket that a crash left behind is replaced.
    pub(crate) fn start(path: &Path, answer: Answer) -> Result<Self, ControlError> {
        let lock = lock(path)?;
        let listener = bind(path)?;
        let owner = geteuid();
        let clock = MonotonicClock::start();
        let answering = Arc::new(AtomicUsize::new(0));
        let desk = Desk { owner, answer, clock, answering: Arc::clone(&answering) };
        let accept = move || accept_all(&listener, &Arc::new(desk));
        let thread = thread::Builder::new().name("control".to_owned()).spawn(accept);
        thread.map_err(io_error(path, "start a thread"))?;
        Ok(Self { path: path.to_owned(), answering, _lock: lock })
    }

    /// Ends, after the last reply has been written: the process is about to.
    pub(crate) fn finish(self) {
        for _ in 0..FINISH_STEPS {
            if self.answering.load(Ordering::Acquire) == 0 {
                return;
            }
            thread::park_timeout(FINISH_STEP);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it cannot be removed, the next target replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whoever has this lock owns the socket: that a file is there says nothing, since a crash leaves it.
fn lock(path: &Path) -> Result<File, ControlError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(io_error(folder, "make the directory"))?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
    let lock = lock.map_err(io_error(&lock_path, "open"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(ControlError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io_error(&lock_path, "lock")(source)),
    }
}

/// The socket gets its permissions before it gets its name, so at no moment anybody else can connect.
fn bind(path: &Path) -> Result<UnixListener, ControlError> {
    use std::os::unix::fs::FileTypeExt;
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket()) {
        return Err(ControlError::NoSocket { path: path.to_owned() });
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // Left by a crash; the lock says that nobody uses it.
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new).map_err(io_error(&new, "listen"))?;
    fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(io_error(&new, "protect"))?;
    fs::rename(&new, path).map_err(io_error(path, "replace"))?;
    Ok(listener)
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> ControlError {
    let path = path.to_owned();
    move |source| ControlError::Io { path, action, source }
}

/// Who may ask, and who answers.
struct Desk {
    owner: Uid,
    answer: Answer,
    clock: MonotonicClock,
    /// Clients whose reply is not yet written.
    answering: Arc<AtomicUsize>,
}

fn accept_all(listener: &UnixListener, desk: &Arc<Desk>) {
    let clients = Arc::new(AtomicUsize::new(0));
    loop {
        match listener.accept() {
            Ok((stream, _)) => admit(stream, desk, &clients),
            Err(error) => {
                warn!("the control socket: {error}");
                // Descriptors have run out, most likely: they come back when somebody else lets go of some.
                thread::park_timeout(Duration::from_millis(100));
            }
        }
    }
}

fn admit(mut stream: UnixStream, desk: &Arc<Desk>, clients: &Arc<AtomicUsize>) {
    if let Err(reason) = check_peer(&stream, desk.owner) {
        warn!("the control socket: {reason}");
        return refuse(&mut stream, &reason);
    }
    if clients.fetch_add(1, Ordering::AcqRel) >= CLIENTS_MAX {
        clients.fetch_sub(1, Ordering::AcqRel);
        return refuse(&mut stream, "too many clients");
    }
    let (leaving, desk) = (Leaving(Arc::clone(clients)), Arc::clone(desk));
    let talk = move || {
        let _leaving = leaving;
        if let Err(error) = talk(stream, &desk) {
            debug!("a client of the control socket: {error}");
        }
    };
    if let Err(error) = thread::Builder::new().name("control client".to_owned()).spawn(talk) {
        warn!("the control socket: no thread for a client: {error}");
    }
}

/// Counts a client out, also when its thread panics or never was.
struct Leaving(Arc<AtomicUsize>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Who asks is told by the kernel (SO_PEERCRED), not by the peer.
fn check_peer(stream: &UnixStream, owner: Uid) -> Result<(), String> {
    let peer = socket_peercred(stream).map_err(|error| format!("nobody knows who asks: {error}"))?;
    may_ask(peer.uid, owner)
}

/// The owner and root may ask.
fn may_ask(user: Uid, owner: Uid) -> Result<(), String> {
    if user == owner || user.is_root() {
        Ok(())
    } else {
        Err(format!("user {} may not ask this target", user.as_raw()))
    }
}

fn refuse(stream: &mut UnixStream, reason: &str) {
    // Whoever does not read it is refused all the same; nobody waits for it.
    let _ = stream.set_nonblocking(true);
    let _ = stream.write_all(&protocol::encode_reply(&Reply::error(reason)));
}

/// Answers a client's requests until it goes or breaks the bounds.
fn talk(mut stream: UnixStream, desk: &Desk) -> io::Result<()> {
    stream.set_write_timeout(Some(REPLY_PATIENCE))?;
    let mut lines = Lines { buffer: Vec::new() };
    loop {
        let until = desk.clock.now().after(REQUEST_PATIENCE);
        match lines.next(&mut stream, desk.clock, until)? {
            Line::End => return Ok(()),
            Line::TooLong => {
                let reply = Reply::error(format_args!("a request of more than {REQUEST_BYTES_MAX} bytes"));
                return stream.write_all(&protocol::encode_reply(&reply));
            }
            Line::Request(line) => {
                let _answering = Answering::begin(desk);
                let request = protocol::decode_request(&line);
                let reply = request.map_or_else(Reply::error, |request| (desk.answer)(request));
                stream.write_all(&protocol::encode_reply(&reply))?;
            }
        }
    }
}

/// Counts a request that is being answered.
struct Answering<'a>(&'a AtomicUsize);

impl<'a> Answering<'a> {
    fn begin(desk: &'a Desk) -> Self {
        desk.answering.fetch_add(1, Ordering::AcqRel);
        Self(&desk.answering)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

enum Line {
    Request(Vec<u8>),
    TooLong,
    End,
}

/// Cuts what comes into lines.
struct Lines {
    buffer: Vec<u8>,
}

impl Lines {
    /// The next line without its end. A peer that sends byte by byte has no more time than others.
    fn next(&mut self, stream: &mut UnixStream, clock: MonotonicClock, until: Timestamp) -> io::Result<Line> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Ok(Line::Request(line));
            }
            if self.buffer.len() >= REQUEST_BYTES_MAX {
                return Ok(Line::TooLong);
            }
            let left_ns = until.ns_since(clock.now());
            if left_ns == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(Duration::from_nanos(left_ns)))?;
            let mut chunk = [0; CHUNK_BYTES];
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(Line::End),
                Ok(bytes) => self.buffer.extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests;
