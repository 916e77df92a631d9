//! Where clients come from.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::ServerError;
use crate::nbd::address::Address;

/// Clients that have come and were not looked at.
const BACKLOG: i32 = 64;

/// A Unix socket is its owner's only.
const OWNER_ONLY: u32 = 0o600;

/// What the kernel is to keep of replies that a client has not taken, as far as it allows: a large reply then leaves in one
/// call.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// A place where clients come from. A Unix socket's file goes with it.
#[derive(Debug)]
pub(super) enum Listener {
    Unix { socket: UnixListener, path: PathBuf },
    Tcp(TcpListener),
}

/// A client that was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    /// Its user.
    pub(super) uid: u32,
}

impl Listener {
    pub(super) fn bind(address: &Address) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Listen { address: address.clone(), source };
        match address {
            Address::Unix(path) => bind_unix(path).map_err(failed),
            Address::Tcp(socket) => {
                let listener = TcpListener::bind(socket).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                Ok(Self::Tcp(listener))
            }
        }
    }

    /// Where it listens indeed: with the port that the kernel chose.
    pub(super) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Unix { path, .. } => Ok(Address::Unix(path.clone())),
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        match self {
            Self::Unix { socket, .. } => socket.as_raw_fd(),
            Self::Tcp(listener) => listener.as_raw_fd(),
        }
    }

    /// The next client; `None` if there is none now.
    pub(super) fn accept(&self) -> io::Result<Option<Result<OwnedFd, Stranger>>> {
        let accepted = match self {
            Self::Unix { socket, .. } => socket.accept().map(|(stream, _)| OwnedFd::from(stream)),
            Self::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                Ok(OwnedFd::from(stream))
            }),
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) if is_nobody(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Self::Unix { .. } = self
            && let Err(stranger) = check_owner(&stream)?
        {
            return Ok(Some(Err(stranger)));
        }
        // Less is slower only.
        let _ = sockopt::set_socket_send_buffer_size(stream.as_fd(), SEND_BUFFER_BYTES);
        Ok(Some(Ok(stream)))
    }
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted | ErrorKind::Interrupted)
}

/// The file's mode keeps others out; this holds as well where the file was passed on or its mode changed.
fn check_owner(stream: &OwnedFd) -> io::Result<Result<(), Stranger>> {
    let peer = sockopt::socket_peercred(stream)?.uid;
    let is_welcome = peer == rustix::process::geteuid() || peer.is_root();
    Ok(if is_welcome { Ok(()) } else { Err(Stranger { uid: peer.as_raw() }) })
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    let socket = match listen_unix(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_stale(path) => {
            fs::remove_file(path)?;
            listen_unix(path)
        }
        answer => answer,
    }?;
    Ok(Listener::Unix { socket: socket.into(), path: path.to_owned() })
}

/// Nobody can connect before `listen`, so the mode is right from the first moment on.
fn listen_unix(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A socket's file that nobody listens at. The kernel refuses connections to files of other kinds in the same words, and
/// those are not ours to remove.
fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            // Somebody may have removed it, which is as good.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_socket_is_its_owners_only_and_goes_with_the_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let listener = Listener::bind(&Address::Unix(path.clone())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(listener.accept().unwrap().is_none());
        let _client = UnixStream::connect(&path).unwrap();
        assert!(matches!(listener.accept().unwrap(), Some(Ok(_))));
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_in_use_is_refused_and_a_stale_one_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let address = Address::Unix(path.clone());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = Listener::bind(&address).unwrap();
        let refused = Listener::bind(&address).unwrap_err().to_string();
        assert!(refused.contains("in use"), "{refused}");
        drop(first);
        fs::write(&path, "no socket").unwrap();
        assert!(Listener::bind(&address).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"no socket");
    }

    #[test]
    fn a_port_of_the_kernels_choice_is_told() {
        let listener = Listener::bind(&"tcp:0".parse().unwrap()).unwrap();
        let Address::Tcp(address) = listener.address().unwrap() else { unreachable!("it is TCP") };
        assert!(address.ip().is_loopback() && address.port() != 0);
    }
}
