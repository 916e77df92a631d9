//! From Identify data to what a namespace is: every number here comes from a controller that may lie.

use std::collections::BTreeMap;

use block::{Abilities, BlockSize, Geometry, Identity, Limits, WriteCache};
use nvme_spec::Nsid;
use nvme_spec::command::CommandSetId;
use nvme_spec::identify::{
    IdentifyNamespace, NamespaceAttributes, NamespaceIds, NvmCommands, ReadAfterDeallocate,
};
use nvme_spec::identify::{NamespaceFeatures, NamespaceSharing};
use nvme_spec::prp::PageSize;
use nvme_spec::text::Text;
use thiserror::Error;
use uuid::Uuid;

use super::info::ControllerInfo;

/// Most namespaces of a controller that are looked at.
pub const NAMESPACES_MAX: usize = 1024;
/// Most blocks of a command that carries a 16-bit count.
const BLOCKS_MAX: u64 = 1 << 16;

/// Why a namespace cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NamespaceError {
    /// It has another command set than NVM's.
    #[error("it has the {0}")]
    CommandSet(CommandSetId),
    /// The controller has several command sets and does not say which one this is of.
    #[error("it does not say which command set it has")]
    NoCommandSet,
    /// It has metadata, which this host does not carry.
    #[error("it has {bytes} bytes of metadata in each block")]
    Metadata {
        /// Bytes of a block's metadata.
        bytes: u16,
    },
    /// Blocks of a size that no device here has.
    #[error("its blocks have 2^{lbads} bytes")]
    BlockSize {
        /// LBADS.
        lbads: u8,
    },
    /// A command cannot move even one block.
    #[error("the controller moves at most {bytes} bytes in a command, less than a block")]
    TransferSize {
        /// What a command can move.
        bytes: u32,
    },
    /// NSTAT says that it is not ready.
    #[error("it is not ready")]
    NotReady,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its identifier.
    pub nsid: Nsid,
    /// Its shape. A request is cut to it before it becomes commands.
    pub geometry: Geometry,
    /// What it can do.
    pub abilities: Abilities,
    /// Who it is.
    pub identity: Identity,
    /// NMIC: other controllers may have it, too.
    pub is_shared: bool,
}

/// The namespaces of a controller: those that can be used, and why others cannot.
pub type NamespaceMap = BTreeMap<Nsid, Result<Namespace, NamespaceError>>;

impl Namespace {
    /// What Identify says, or why it is of no use. `transfer_bytes_max`: of one command.
    pub(super) fn new(
        nsid: Nsid,
        info: &ControllerInfo,
        structure: &IdentifyNamespace,
        ids: &NamespaceIds,
        transfer_bytes_max: u32,
    ) -> Result<Self, NamespaceError> {
        check_command_set(info, ids)?;
        let block_size = block_size(structure)?;
        let geometry = Geometry {
            block_size,
            blocks: structure.nsze,
            limits: limits_of(info, structure, block_size, transfer_bytes_max)?,
            atomic_blocks: atomic_blocks(info, structure),
            write_cache: if info.identify.vwc.is_present() {
                WriteCache::Volatile
            } else {
                WriteCache::Through
            },
        };
        Ok(Self {
            nsid,
            geometry,
            abilities: abilities_of(info, structure),
            identity: identity_of(info, structure, ids),
            is_shared: structure.nmic.contains(NamespaceSharing::SHARED),
        })
    }

    /// Whether it is the same namespace as `other` for all that its identifiers say: a new one under an old NSID is another device.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let (a, b) = (&self.identity, &other.identity);
        a.uuid == b.uuid
            && a.nguid == b.nguid
            && a.eui64 == b.eui64
            && a.serial == b.serial
            && self.geometry.block_size == other.geometry.block_size
    }
}

fn check_command_set(info: &ControllerInfo, ids: &NamespaceIds) -> Result<(), NamespaceError> {
    match ids.csi {
        Some(CommandSetId::NVM) => Ok(()),
        None if !info.has_command_sets() => Ok(()),
        None => Err(NamespaceError::NoCommandSet),
        Some(other) => Err(NamespaceError::CommandSet(other)),
    }
}

fn block_size(structure: &IdentifyNamespace) -> Result<BlockSize, NamespaceError> {
    let format = structure.format();
    if format.metadata_bytes() != 0 {
        return Err(NamespaceError::Metadata { bytes: format.metadata_bytes() });
    }
    let size = format.data_bytes().and_then(|bytes| BlockSize::try_from(u64::from(bytes)).ok());
    size.ok_or(NamespaceError::BlockSize { lbads: format.lbads() })
}

fn limits_of(
    info: &ControllerInfo,
    structure: &IdentifyNamespace,
    block_size: BlockSize,
    transfer_bytes_max: u32,
) -> Result<Limits, NamespaceError> {
    let in_blocks = |bytes: u64| (bytes >> block_size.shift()).min(BLOCKS_MAX);
    let transfer = u32::try_from(in_blocks(transfer_bytes_max.into())).unwrap_or(u32::MAX);
    if transfer == 0 {
        return Err(NamespaceError::TransferSize { bytes: transfer_bytes_max });
    }
    // A limit of 2^n pages; none means that only the count of the command limits.
    let pages = |power: u8| if power == 0 { None } else { 1u64.checked_shl(power.into()) };
    let zeroes = pages(info.limits.wzsl)
        .map_or(BLOCKS_MAX, |count| in_blocks(count.saturating_mul(PageSize::KIB_4.bytes())));
    let no_limit_is_0 = |limit: u64| if limit == 0 { u64::MAX } else { limit };
    let discard = no_limit_is_0(info.limits.dmrsl.into()).min(no_limit_is_0(info.limits.dmsl));
    Ok(Limits {
        transfer_blocks_max: transfer,
        zeroes_blocks_max: zeroes.max(1),
        discard_blocks_max: discard.min(u32::MAX.into()),
        boundary_blocks: u32::from(structure.noiob),
        // A command has one keyed descriptor; what is behind it is the memory's owner's business.
        segments_max: u16::MAX,
        segment_alignment: 1,
        seam_alignment: 1,
    })
}

fn atomic_blocks(info: &ControllerInfo, structure: &IdentifyNamespace) -> u32 {
    let own = structure.nsfeat.contains(NamespaceFeatures::ATOMIC_UNITS);
    u32::from(if own { structure.nawupf } else { info.identify.awupf }) + 1
}

fn abilities_of(info: &ControllerInfo, structure: &IdentifyNamespace) -> Abilities {
    let write_protected = structure.nsattr.contains(NamespaceAttributes::WRITE_PROTECTED);
    let mut abilities = if write_protected { Abilities::empty() } else { Abilities::WRITE };
    let optional = [
        (NvmCommands::COMPARE, Abilities::COMPARE),
        (NvmCommands::DATASET_MANAGEMENT, Abilities::DISCARD),
        (NvmCommands::WRITE_ZEROES, Abilities::WRITE_ZEROES),
        (NvmCommands::RESERVATIONS, Abilities::RESERVATIONS),
        (NvmCommands::VERIFY, Abilities::VERIFY),
    ];
    for (command, ability) in optional {
        abilities.set(ability, info.identify.oncs.contains(command));
    }
    let zeroes = structure.dlfeat.reads_as() == Some(ReadAfterDeallocate::Zeroes);
    abilities.set(Abilities::DISCARD_ZEROES, zeroes && abilities.contains(Abilities::DISCARD));
    abilities
}

fn identity_of(info: &ControllerInfo, structure: &IdentifyNamespace, ids: &NamespaceIds) -> Identity {
    Identity {
        model: text(&info.identify.mn),
        serial: text(&info.identify.sn),
        firmware: text(&info.identify.fr),
        // All zeroes is no identifier, wherever a controller puts it.
        uuid: ids.uuid.filter(|uuid| *uuid != [0; 16]).map(Uuid::from_bytes),
        nguid: ids.nguid.filter(|nguid| *nguid != [0; 16]).or(structure.nguid()),
        eui64: ids.eui64.filter(|eui64| *eui64 != [0; 8]).or(structure.eui64()),
    }
}

/// Text of a controller, with what is not printable replaced.
fn text<const N: usize>(text: &Text<N>) -> String {
    text.to_string()
}

#[cfg(test)]
mod tests;
