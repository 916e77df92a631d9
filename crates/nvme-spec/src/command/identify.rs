//! Identify (Base, Identify command). The data structures are in [`crate::identify`].

use super::named_codes;
use super::opcode::AdminOpcode;
use crate::bits::{get32, high16, join16, low8, low16};
use crate::ids::{CommandId, ControllerId, Nsid};
use crate::sqe::Sqe;

named_codes! {
    /// Controller or Namespace Structure (CNS): what Identify returns.
    Cns {
        NAMESPACE = 0x00, "Identify Namespace";
        CONTROLLER = 0x01, "Identify Controller";
        ACTIVE_NAMESPACES = 0x02, "Active Namespace ID list";
        NAMESPACE_DESCRIPTORS = 0x03, "Namespace Identification Descriptor list";
        NVM_SET_LIST = 0x04, "NVM Set List";
        COMMAND_SET_NAMESPACE = 0x05, "I/O Command Set specific Identify Namespace";
        COMMAND_SET_CONTROLLER = 0x06, "I/O Command Set specific Identify Controller";
        COMMAND_SET_ACTIVE_NAMESPACES = 0x07, "Active Namespace ID list of an I/O Command Set";
        INDEPENDENT_NAMESPACE = 0x08, "I/O Command Set Independent Identify Namespace";
        ALLOCATED_NAMESPACES = 0x10, "Allocated Namespace ID list";
        ALLOCATED_NAMESPACE = 0x11, "Identify Namespace of an allocated namespace";
        NAMESPACE_CONTROLLERS = 0x12, "Controller List of a namespace";
        SUBSYSTEM_CONTROLLERS = 0x13, "Controller List of the NVM subsystem";
        COMMAND_SETS = 0x1C, "I/O Command Set";
    }
}

named_codes! {
    /// Command Set Identifier (CSI).
    CommandSetId {
        NVM = 0x00, "NVM Command Set";
        KEY_VALUE = 0x01, "Key Value Command Set";
        ZONED = 0x02, "Zoned Namespace Command Set";
    }
}

/// Identify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identify {
    /// What is asked for.
    pub cns: Cns,
    /// The namespace, or where a list is to start.
    pub nsid: Nsid,
    /// Controller Identifier (CNTID): the first of a controller list.
    pub cntid: ControllerId,
    /// CNS Specific Identifier, as of an NVM set.
    pub cns_specific: u16,
    /// Command Set Identifier (CSI), for a CNS that is specific to an I/O command set.
    pub csi: CommandSetId,
    /// UUID Index, 7 bits; 0 for what the specification defines.
    pub uuid_index: u8,
}

impl Identify {
    /// Identify with this CNS, for this namespace or none.
    #[must_use]
    pub const fn new(cns: Cns, nsid: Nsid) -> Self {
        Self { cns, nsid, cntid: ControllerId(0), cns_specific: 0, csi: CommandSetId::NVM, uuid_index: 0 }
    }

    pub(super) const fn sqe(&self, cid: CommandId) -> Sqe {
        Sqe::new(AdminOpcode::Identify.raw(), cid, self.nsid)
            .with_cdw10(join16(self.cns.0 as u16, self.cntid.0))
            .with_cdw11(self.cns_specific as u32 | (self.csi.0 as u32) << 24)
            .with_cdw14(self.uuid_index as u32 & 0x7F)
    }

    pub(super) const fn from_sqe(sqe: &Sqe) -> Self {
        Self {
            cns: Cns(low8(sqe.cdw10())),
            nsid: sqe.nsid(),
            cntid: ControllerId(high16(sqe.cdw10())),
            cns_specific: low16(sqe.cdw11()),
            csi: CommandSetId(low8(sqe.cdw11() >> 24)),
            uuid_index: low8(get32(sqe.cdw14(), 0, 7)),
        }
    }
}
