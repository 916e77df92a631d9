//! A blocking client of a controller's admin queue, for tools.

use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use nvme_spec::command::{AdminCommand, DwordCount, GetLogPage, Identify, LogPageId};
use nvme_spec::{CommandId, Cqe, Nsid, Sqe};
use nvmf::host::discovery::{DiscoveryError, DiscoveryLog};
use nvmf::host::{ControllerInfo, HostOptions, NamespaceMap, OutgoingData};
use nvmf::wire::Nqn;
use rdma::{Device, Provider, ProviderTask};

use crate::attach::{attach, provider_for};
use crate::error::{AdminError, ConnectError};
use crate::handle::Handle;
use crate::options::RemoteOptions;
use crate::shared::{Message, View};

/// Longest wait for an answer; the association ends before that if the controller is silent.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// Most bytes of data of one command.
pub const ADMIN_BYTES_MAX: usize = 1 << 20;
/// Bytes of a log page that are asked for at once.
const LOG_PIECE_BYTES: u32 = 4096;

/// The data of an admin command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminData {
    /// None.
    None,
    /// To the controller.
    ToController(Vec<u8>),
    /// From the controller.
    FromController {
        /// How many bytes.
        bytes: u32,
    },
}

/// How a controller answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAnswer {
    /// The completion, whatever its status.
    pub cqe: Cqe,
    /// What the controller wrote: as many bytes as were asked for, zeroes where it wrote none.
    pub data: Vec<u8>,
}

/// What a client needs of a controller, whatever the provider.
pub(crate) trait Control: Send + Sync {
    fn view(&self) -> View;
    fn wait_for_log(&self) -> Option<Result<DiscoveryLog, DiscoveryError>>;
    fn command(&self, sqe: Sqe, data: OutgoingData) -> Result<AdminAnswer, AdminError>;
}

impl<D: Device> Control for Handle<D> {
    fn view(&self) -> View {
        self.shared().view()
    }

    fn wait_for_log(&self) -> Option<Result<DiscoveryLog, DiscoveryError>> {
        self.shared().wait_until(ANSWER_MAX, |view| view.discovered.clone())
    }

    fn command(&self, sqe: Sqe, data: OutgoingData) -> Result<AdminAnswer, AdminError> {
        let (reply, answer) = sync_channel(1);
        self.shared().tell(Message::Admin { sqe, data, reply });
        match answer.recv_timeout(ANSWER_MAX) {
            Ok(Some((cqe, data))) => Ok(AdminAnswer { cqe, data }),
            Ok(None) => Err(AdminError::NotReady),
            Err(RecvTimeoutError::Disconnected) => Err(AdminError::Lost),
            Err(RecvTimeoutError::Timeout) => Err(AdminError::TimedOut),
        }
    }
}

struct Attaching<'a> {
    peer: SocketAddr,
    options: &'a RemoteOptions,
    host: HostOptions,
}

impl ProviderTask for Attaching<'_> {
    type Output = Result<Box<dyn Control>, ConnectError>;

    fn run<P: Provider>(self, provider: &P) -> Self::Output {
        Ok(Box::new(attach(provider, self.peer, self.options, self.host, None)?))
    }
}

/// Attaches to a controller without namespaces of ours.
pub(crate) fn control(
    peer: SocketAddr,
    options: &RemoteOptions,
    host: HostOptions,
) -> Result<Box<dyn Control>, ConnectError> {
    provider_for(peer, options)?.run(Attaching { peer, options, host })?
}

/// A blocking client of a controller's admin queue. Its association has one I/O queue, which nobody uses. Dropping it ends the
/// association in order.
pub struct AdminClient {
    control: Box<dyn Control>,
}

impl AdminClient {
    /// Attaches to a subsystem's controller, and waits until that is done or cannot be.
    pub fn connect(peer: SocketAddr, subsystem: &Nqn, options: &RemoteOptions) -> Result<Self, ConnectError> {
        let host = if subsystem.is_discovery() {
            options.discovery()?
        } else {
            RemoteOptions { queues: 1, ..options.clone() }.io(subsystem)?
        };
        Ok(Self { control: control(peer, options, host)? })
    }

    /// What the controller says of itself.
    pub fn controller(&self) -> Result<ControllerInfo, AdminError> {
        self.control.view().info.map(|info| *info).ok_or(AdminError::NotReady)
    }

    /// Its namespaces, and why some cannot be used.
    #[must_use]
    pub fn namespaces(&self) -> NamespaceMap {
        self.control.view().namespaces
    }

    /// Sends a command of the caller's, and waits for the answer. The entry's identifier and data pointer are replaced.
    ///
    /// Commands that change what the association lives by (Connect, properties, queues, events) must not be sent.
    pub fn command(&self, sqe: Sqe, data: AdminData) -> Result<AdminAnswer, AdminError> {
        let bytes = match &data {
            AdminData::None => 0,
            AdminData::ToController(bytes) => bytes.len(),
            AdminData::FromController { bytes } => *bytes as usize,
        };
        let is_right =
            if data == AdminData::None { bytes == 0 } else { (1..=ADMIN_BYTES_MAX).contains(&bytes) };
        if !is_right {
            return Err(AdminError::Length(bytes));
        }
        self.control.command(
            sqe,
            match data {
                AdminData::None => OutgoingData::None,
                AdminData::ToController(bytes) => OutgoingData::ToController(bytes),
                AdminData::FromController { bytes } => OutgoingData::FromController { bytes },
            },
        )
    }

    /// Identify: the structure's 4096 bytes.
    pub fn identify(&self, identify: Identify) -> Result<Vec<u8>, AdminError> {
        self.read(&AdminCommand::Identify(identify), 4096)
    }

    /// Get Log Page: the first `bytes` bytes (a multiple of 4) of a page, in pieces.
    pub fn get_log(&self, lid: LogPageId, nsid: Nsid, bytes: u32) -> Result<Vec<u8>, AdminError> {
        let mut page = Vec::new();
        while let offset = u32::try_from(page.len()).unwrap_or(u32::MAX)
            && offset < bytes
        {
            let piece = (bytes - offset).min(LOG_PIECE_BYTES);
            let length = DwordCount::from_bytes(piece.into()).ok_or(AdminError::Length(piece as usize))?;
            let command = GetLogPage { nsid, offset: offset.into(), ..GetLogPage::new(lid, length) };
            page.extend(self.read(&AdminCommand::GetLogPage(command), piece)?);
        }
        Ok(page)
    }

    fn read(&self, command: &AdminCommand, bytes: u32) -> Result<Vec<u8>, AdminError> {
        let AdminAnswer { cqe, data } =
            self.command(command.sqe(CommandId(0)), AdminData::FromController { bytes })?;
        let status = cqe.status();
        if status.is_success() { Ok(data) } else { Err(AdminError::Status(status)) }
    }
}

impl std::fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminClient").field("phase", &self.control.view().phase).finish_non_exhaustive()
    }
}
