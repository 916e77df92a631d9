//! What a controller says of itself, and what follows for its queues.

use nvme_spec::identify::{ControllerType, IdentifyController, NvmController};
use nvme_spec::prp::PageSize;
use nvme_spec::registers::{Capabilities, CommandSets, Version};
use nvme_spec::{ControllerId, QueueId};

use super::event::Association;
use super::failure::Unusable;
use super::options::{ControllerKind, HostOptions};

/// Units of IOCCSZ and IORCSZ in bytes.
const CAPSULE_UNIT_BYTES: u32 = 16;
/// IOCCSZ of a capsule that is an entry and nothing else.
const CAPSULE_OF_ENTRY: u32 = 4;

/// What a controller says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerInfo {
    /// Its identifier.
    pub id: ControllerId,
    /// CAP.
    pub capabilities: Capabilities,
    /// VS: the specification that it follows.
    pub version: Version,
    /// Its Identify Controller data.
    pub identify: IdentifyController,
    /// The limits of its NVM command set; all zero (no limit) where it tells none.
    pub limits: NvmController,
}

impl ControllerInfo {
    /// Checks what a controller says against what is needed.
    pub(super) fn check(&self, kind: ControllerKind) -> Result<(), Unusable> {
        let identify = &self.identify;
        if identify.cntlid != self.id {
            return Err(Unusable::ControllerId { identified: identify.cntlid, connected: self.id });
        }
        // A controller of before NVMe 1.4 does not tell its type.
        let wanted = match kind {
            ControllerKind::Io => ControllerType::IO,
            ControllerKind::Discovery => ControllerType::DISCOVERY,
        };
        if ![wanted, ControllerType::NOT_REPORTED].contains(&identify.cntrltype) {
            return Err(Unusable::Kind(identify.cntrltype));
        }
        if !identify.sgls.keyed() {
            return Err(Unusable::NoKeyedSgls);
        }
        if kind == ControllerKind::Io { self.check_io() } else { Ok(()) }
    }

    fn check_io(&self) -> Result<(), Unusable> {
        let identify = &self.identify;
        if identify.kas == 0 {
            return Err(Unusable::NoKeepAlive);
        }
        if identify.ioccsz < CAPSULE_OF_ENTRY || identify.iorcsz < 1 {
            return Err(Unusable::Capsules { command: identify.ioccsz, response: identify.iorcsz });
        }
        if identify.maxcmd == 0 { Err(Unusable::NoCommands) } else { Ok(()) }
    }

    /// Whether the controller has I/O command sets besides NVM's, so that namespaces say which they have.
    #[must_use]
    pub fn has_command_sets(&self) -> bool {
        self.capabilities.css().contains(CommandSets::IO_COMMAND_SETS)
    }

    /// Bytes of data that fit in an I/O command's capsule (Base, In Capsule Data): IOCCSZ less the entry. None if the controller
    /// does not take offsets (SGLS bit 20), or wants the data somewhere else than directly behind the entry (ICDOFF).
    #[must_use]
    pub fn in_capsule_bytes(&self) -> u32 {
        if !self.identify.sgls.offset() || self.identify.icdoff != 0 {
            return 0;
        }
        self.identify.ioccsz.saturating_sub(CAPSULE_OF_ENTRY).saturating_mul(CAPSULE_UNIT_BYTES)
    }

    /// Most bytes of one command, of those that the host wants.
    #[must_use]
    pub fn transfer_bytes(&self, wanted: u32) -> u32 {
        let most = self.identify.max_transfer_bytes(PageSize::KIB_4);
        most.and_then(|most| u32::try_from(most).ok()).map_or(wanted, |most| most.min(wanted))
    }

    /// Entries of an I/O queue, of those that the host wants: MQES is 0-based, MAXCMD is not.
    #[must_use]
    pub fn io_entries(&self, wanted: u16) -> u16 {
        let entries_max = u16::try_from(self.capabilities.entries_max()).unwrap_or(u16::MAX);
        wanted.min(entries_max).min(self.identify.maxcmd).max(2)
    }
}

/// What was agreed of an I/O queue: all that its owner needs to know of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoQueueParameters {
    /// The association that it is part of.
    pub association: Association,
    /// Which queue.
    pub queue: QueueId,
    /// Entries of the submission queue; 2 or more.
    pub entries: u16,
    /// Where the submission queue's head was after Connect; `None` if there is no flow control.
    pub head: Option<u16>,
    /// Most bytes of data in a capsule; 0 if data cannot be there.
    pub in_capsule_bytes: u32,
    /// Most bytes of one command.
    pub transfer_bytes_max: u32,
}

impl IoQueueParameters {
    /// A queue of an association, before its Connect.
    pub(super) fn new(
        association: Association,
        queue: QueueId,
        info: &ControllerInfo,
        options: &HostOptions,
    ) -> Self {
        Self {
            association,
            queue,
            entries: info.io_entries(options.io_entries),
            head: None,
            in_capsule_bytes: if options.in_capsule { info.in_capsule_bytes() } else { 0 },
            transfer_bytes_max: info.transfer_bytes(options.transfer_bytes_max),
        }
    }

    /// Most commands in flight: one entry of the submission queue stays empty (Base, Queue Full).
    #[must_use]
    pub const fn depth(&self) -> u16 {
        self.entries - 1
    }
}

#[cfg(test)]
mod tests;
