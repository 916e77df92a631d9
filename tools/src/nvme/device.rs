//! A controller to be asked.

use block::OpenError;
use block::uri::{DeviceUri, Target};
use initiator::{AdminClient, AdminData, RemoteOptions, RemoteOptionsError, resolve};
use nvme_driver::vfio::{VfioFunction, open_nvme_controller};
use nvme_driver::{ADMIN_BYTES_MAX, AdminError, NvmeController};
use nvme_model::{SOFT_NSID, SoftSsd, open_soft_nvme_controller};
use nvme_spec::command::{AdminCommand, Cns, DwordCount, GetLogPage, Identify, LogPageId};
use nvme_spec::identify::IDENTIFY_BYTES;
use nvme_spec::{CommandId, Nsid};
use nvmf::wire::Nqn;

use super::NvmeError;

/// A controller and one of its namespaces.
pub(super) struct AdminDevice {
    /// The name that it was opened by.
    pub(super) name: String,
    pub(super) nsid: Nsid,
    controller: Controller,
}

enum Controller {
    Drive(NvmeController<VfioFunction>),
    Soft(NvmeController<SoftSsd>),
    Remote(AdminClient),
}

impl AdminDevice {
    /// Opens an `nvme:`, `soft-nvme:` or `rdma:` device. The namespace may be one that cannot be used for I/O.
    pub(super) fn open(uri: &DeviceUri) -> Result<Self, OpenError> {
        let (nsid, controller) = match uri.target() {
            Target::Nvme { nsid, .. } => (*nsid, Controller::Drive(open_nvme_controller(uri)?)),
            Target::SoftNvme { .. } => (SOFT_NSID, Controller::Soft(open_soft_nvme_controller(uri)?)),
            Target::Rdma { .. } => connect(uri)?,
            _ => {
                let known = "nvme:, soft-nvme:, rdma:".to_owned();
                return Err(OpenError::NoOpener { scheme: uri.scheme(), known });
            }
        };
        Ok(Self { name: uri.to_string(), nsid, controller })
    }

    /// An Identify structure.
    pub(super) fn identify(&self, cns: Cns, nsid: Nsid) -> Result<Vec<u8>, NvmeError> {
        self.ask(AdminCommand::Identify(Identify::new(cns, nsid)), IDENTIFY_BYTES)
    }

    /// A log page of the controller.
    pub(super) fn log(&self, lid: LogPageId, bytes: usize) -> Result<Vec<u8>, NvmeError> {
        self.log_page(&GetLogPage::new(lid, DwordCount::from_zero_based(0)), bytes)
    }

    /// As many bytes of a log page from the command's offset on, in as many commands as it takes. Events that point to it stay
    /// as they are: looking changes nothing.
    pub(super) fn log_page(&self, first: &GetLogPage, bytes: usize) -> Result<Vec<u8>, NvmeError> {
        let wrong = |reason| NvmeError::Answer { device: self.name.clone(), reason };
        let mut page = Vec::with_capacity(bytes);
        while page.len() < bytes {
            let part = (bytes - page.len()).min(ADMIN_BYTES_MAX as usize);
            let length = DwordCount::from_bytes(part as u64)
                .ok_or_else(|| wrong(format!("{part} bytes of a log page cannot be asked for")))?;
            let offset = first.offset.checked_add(page.len() as u64);
            let offset = offset.ok_or_else(|| wrong("no log page is that long".to_owned()))?;
            let command = GetLogPage { retain_event: true, length, offset, ..*first };
            page.extend(self.ask(AdminCommand::GetLogPage(command), part)?);
        }
        Ok(page)
    }

    fn ask(&self, command: AdminCommand, bytes: usize) -> Result<Vec<u8>, NvmeError> {
        let too_large = AdminError::TooLarge { bytes: u32::MAX };
        let local = |source| NvmeError::Admin { device: self.name.clone(), source };
        let bytes = u32::try_from(bytes).map_err(|_| local(too_large))?;
        match &self.controller {
            Controller::Drive(controller) => controller.admin(command, bytes).map_err(local),
            Controller::Soft(controller) => controller.admin(command, bytes).map_err(local),
            Controller::Remote(client) => {
                let remote = |source| NvmeError::Remote { device: self.name.clone(), source };
                let data = AdminData::FromController { bytes };
                let answer = client.command(command.sqe(CommandId(0)), data).map_err(remote)?;
                let status = answer.cqe.status();
                if status.is_success() {
                    Ok(answer.data)
                } else {
                    Err(remote(initiator::AdminError::Status(status)))
                }
            }
        }
    }
}

/// A controller of a remote subsystem.
fn connect(uri: &DeviceUri) -> Result<(Nsid, Controller), OpenError> {
    let Target::Rdma { host, port, nqn } = uri.target() else {
        return Err(OpenError::NoOpener { scheme: uri.scheme(), known: "rdma:".to_owned() });
    };
    let failed = |reason: String| OpenError::Failed { device: uri.to_string(), reason };
    let mut parameters = uri.parameters().reader();
    let nsid = parameters.take("ns", "namespace number (1 and up)", |value| value.parse().ok().map(Nsid))?;
    let options = RemoteOptions::take(&mut parameters).map_err(|error| match error {
        RemoteOptionsError::Parameter(error) => OpenError::Parameter(error),
        RemoteOptionsError::Identity(error) => failed(error.to_string()),
    })?;
    parameters.finish()?;
    let subsystem: Nqn = nqn.parse().map_err(|error: nvmf::wire::NqnError| failed(error.to_string()))?;
    let peer = resolve(host, *port).map_err(|error| failed(error.to_string()))?;
    let client = AdminClient::connect(peer, &subsystem, &options);
    let client = client.map_err(|error| failed(error.to_string()))?;
    Ok((nsid.unwrap_or(Nsid(1)), Controller::Remote(client)))
}
