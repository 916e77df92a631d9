//! From Identify data to what a device is: every number here comes from a device that may lie.

use block::{Abilities, BlockSize, Geometry, Identity, Limits, WriteCache};
use nvme_spec::command::CommandSetId;
use nvme_spec::identify::{
    IdentifyController, IdentifyNamespace, NamespaceFeatures, NamespaceIds, NvmCommands, NvmController,
    ReadAfterDeallocate,
};
use nvme_spec::prp::PageSize;
use nvme_spec::registers::Version;
use nvme_spec::text::Text;
use uuid::Uuid;

use crate::data_pointer::{LIST_ENTRIES_MAX, PAGE_BYTES, TRANSFER_BYTES_MAX};
use crate::namespace::NamespaceError;
use crate::namespace_state::NamespaceShape;

/// Most blocks of a command that carries a 16-bit count.
const BLOCKS_MAX: u64 = 1 << 16;
/// Segments of a request, each at least one PRP entry or one SGL descriptor of the command's page.
const SEGMENTS_MAX_SGL: u16 = 256;

/// What a controller says of itself.
#[derive(Clone, Debug)]
pub struct ControllerInfo {
    /// Where it is.
    pub address: String,
    /// The specification that it follows.
    pub version: Version,
    /// Its Identify Controller data.
    pub identify: IdentifyController,
    /// The limits of its NVM command set; all zero (no limit) where it tells none.
    pub limits: NvmController,
}

impl ControllerInfo {
    pub(crate) fn new(address: &str, version: Version, identify: IdentifyController) -> Self {
        Self { address: address.to_owned(), version, identify, limits: NvmController::default() }
    }

    /// Whether its SGLs may begin and end where ours do, at multiples of four bytes.
    pub(crate) fn takes_sgls(&self) -> bool {
        self.identify.sgls.alignment().is_some()
    }
}

/// Text of a device, with what is not ASCII replaced.
pub(crate) fn text<const N: usize>(text: &Text<N>) -> String {
    let printable = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '\u{fffd}' };
    text.trimmed().iter().map(printable).collect()
}

/// The shape of a namespace, or why this driver does not serve it.
pub(crate) fn shape_of(
    info: &ControllerInfo,
    structure: &IdentifyNamespace,
    ids: &NamespaceIds,
    sgls: bool,
) -> Result<NamespaceShape, NamespaceError> {
    if let Some(csi) = ids.csi.filter(|csi| *csi != CommandSetId::NVM) {
        return Err(NamespaceError::CommandSet(csi));
    }
    let format = structure.format();
    if format.metadata_bytes() != 0 {
        return Err(NamespaceError::Metadata { bytes: format.metadata_bytes() });
    }
    let block_size = format
        .data_bytes()
        .and_then(|bytes| BlockSize::try_from(u64::from(bytes)).ok())
        .ok_or(NamespaceError::BlockSize { lbads: format.lbads() })?;
    let geometry = Geometry {
        block_size,
        blocks: structure.nsze,
        limits: limits_of(info, structure, block_size, sgls)?,
        atomic_blocks: atomic_blocks(info, structure),
        write_cache: if info.identify.vwc.is_present() { WriteCache::Volatile } else { WriteCache::Through },
    };
    Ok(NamespaceShape {
        geometry,
        abilities: abilities_of(info, structure),
        identity: identity_of(info, structure, ids),
    })
}

fn limits_of(
    info: &ControllerInfo,
    structure: &IdentifyNamespace,
    block_size: BlockSize,
    sgls: bool,
) -> Result<Limits, NamespaceError> {
    let page = PageSize::KIB_4;
    let in_blocks = |bytes: u64| (bytes >> block_size.shift()).min(BLOCKS_MAX);
    let mdts_bytes = info.identify.max_transfer_bytes(page).unwrap_or(u64::MAX);
    let transfer = in_blocks(mdts_bytes.min(u64::from(TRANSFER_BYTES_MAX)));
    let transfer_blocks_max = u32::try_from(transfer).ok().filter(|blocks| *blocks > 0);
    let transfer_blocks_max =
        transfer_blocks_max.ok_or(NamespaceError::TransferSize { bytes: mdts_bytes })?;
    // A limit of 2^n pages; none means that only the count of the command limits (NVM 4.1.5.4).
    let pages = |power: u8| if power == 0 { None } else { 1u64.checked_shl(power.into()) };
    let zeroes =
        pages(info.limits.wzsl).map_or(BLOCKS_MAX, |count| in_blocks(count.saturating_mul(page.bytes())));
    let discard = match (info.limits.dmrsl, info.limits.dmsl) {
        (0, 0) => u64::from(u32::MAX),
        (range, 0) => u64::from(range),
        (0, all) => all,
        (range, all) => u64::from(range).min(all),
    };
    Ok(Limits {
        transfer_blocks_max,
        zeroes_blocks_max: zeroes.max(1),
        discard_blocks_max: discard.min(u64::from(u32::MAX)),
        boundary_blocks: u32::from(structure.noiob),
        segments_max: if sgls {
            SEGMENTS_MAX_SGL
        } else {
            u16::try_from(LIST_ENTRIES_MAX).unwrap_or(u16::MAX)
        },
        segment_alignment: 4,
        seam_alignment: if sgls { 4 } else { PAGE_BYTES },
    })
}

fn atomic_blocks(info: &ControllerInfo, structure: &IdentifyNamespace) -> u32 {
    let own = structure.nsfeat.contains(NamespaceFeatures::ATOMIC_UNITS);
    u32::from(if own { structure.nawupf } else { info.identify.awupf }) + 1
}

fn abilities_of(info: &ControllerInfo, structure: &IdentifyNamespace) -> Abilities {
    let write_protected =
        structure.nsattr.contains(nvme_spec::identify::NamespaceAttributes::WRITE_PROTECTED);
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
        // All zeroes is no identifier, wherever a drive puts it.
        uuid: ids.uuid.filter(|uuid| *uuid != [0; 16]).map(Uuid::from_bytes),
        nguid: ids.nguid.filter(|nguid| *nguid != [0; 16]).or(structure.nguid()),
        eui64: ids.eui64.filter(|eui64| *eui64 != [0; 8]).or(structure.eui64()),
    }
}

#[cfg(test)]
mod tests;
