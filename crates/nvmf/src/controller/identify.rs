//! Identify (Base, Identify; NVM, Identify).

use block::{Abilities, WriteCache};
use nvme_spec::command::{Cns, CommandSetId, Identify};
use nvme_spec::identify::{
    AdminCommands, ControllerAttributes, ControllerType, DeallocateFeatures, FormattedLba, IDENTIFY_BYTES,
    IdentifyController, IdentifyNamespace, IndependentNamespace, LbaFormat, LogAttributes, MultiPath,
    NSIDS_MAX, NamespaceAttributes, NamespaceFeatures, NamespaceIds, NamespaceList, NamespaceSharing,
    NamespaceStatus, NvmCommands, NvmController, NvmNamespace, QueueEntrySizes, ReadAfterDeallocate,
    ReservationCapabilities, SglAlignment, SglSupport, VolatileWriteCache,
};
use nvme_spec::text::Text;
use nvme_spec::{Nsid, Status, StatusCode};

use super::admin::Answer;
use super::association::{Controller, Kind};
use super::context::Domain;
use super::keep_alive::GRANULARITY_UNITS;
use super::limits::{ASYNC_EVENT_REQUESTS_MAX, ERROR_LOG_ENTRIES, NAMESPACES_MAX};
use super::namespace::{NamespaceInfo, NamespaceMap};
use super::registers::VERSION;

const INVALID_FIELD: Status = Status::permanent(StatusCode::INVALID_FIELD);
const INVALID_NAMESPACE: Status = Status::permanent(StatusCode::INVALID_NAMESPACE_OR_FORMAT);

/// NSFEAT of CNS 08h: a volatile write cache is not present (VWCNP).
const NO_VOLATILE_CACHE: u8 = 1 << 5;

/// OFCS: Disconnect.
const DISCONNECT: u16 = 1;

/// RTD3E: how long a host should give an orderly shutdown, in microseconds.
const SHUTDOWN_US: u32 = 30_000_000;

/// A namespace that a command names: none that could be is Invalid Namespace, none that is there is an inactive one (Base,
/// Namespace Identifier).
pub(super) fn namespace(map: &NamespaceMap, nsid: Nsid) -> Result<Option<&NamespaceInfo>, Status> {
    if (1..=NAMESPACES_MAX).contains(&nsid.0) { Ok(map.get(nsid)) } else { Err(INVALID_NAMESPACE) }
}

impl Controller {
    pub(super) fn identify(&self, domain: &Domain, command: &Identify) -> Result<Answer, Status> {
        let map = domain.namespaces(&self.subsystem);
        if self.kind == Kind::Discovery && command.cns != Cns::CONTROLLER {
            return Err(INVALID_FIELD);
        }
        let found = || namespace(&map, command.nsid);
        let data = match command.cns {
            Cns::CONTROLLER => self.identify_controller(domain).to_bytes(),
            Cns::NAMESPACE | Cns::ALLOCATED_NAMESPACE => {
                found()?.map_or([0; IDENTIFY_BYTES], |info| identify_namespace(info).to_bytes())
            }
            Cns::ACTIVE_NAMESPACES | Cns::ALLOCATED_NAMESPACES => list_after(&map, command.nsid)?,
            Cns::NAMESPACE_DESCRIPTORS => descriptors(found()?.ok_or(INVALID_FIELD)?),
            Cns::COMMAND_SET_NAMESPACE if command.csi == CommandSetId::NVM => {
                found()?;
                NvmNamespace::default().to_bytes()
            }
            // Nothing is claimed: the limits are those of the commands' own fields.
            Cns::COMMAND_SET_CONTROLLER if command.csi == CommandSetId::NVM => {
                NvmController::default().to_bytes()
            }
            Cns::COMMAND_SET_ACTIVE_NAMESPACES if command.csi == CommandSetId::NVM => {
                list_after(&map, command.nsid)?
            }
            Cns::INDEPENDENT_NAMESPACE => {
                found()?.map_or([0; IDENTIFY_BYTES], |info| independent(info).to_bytes())
            }
            Cns::COMMAND_SETS => command_sets(),
            _ => return Err(INVALID_FIELD),
        };
        Ok(Answer::data(data.to_vec()))
    }

    fn identify_controller(&self, domain: &Domain) -> IdentifyController {
        let limits = &domain.limits;
        let common = IdentifyController {
            mdts: limits.mdts(),
            cntlid: self.id,
            ver: VERSION,
            rtd3e_us: SHUTDOWN_US,
            oaes: self.events.supported(),
            ctratt: ControllerAttributes::HOST_IDENTIFIER_128,
            aerl: ASYNC_EVENT_REQUESTS_MAX - 1,
            acl: 3,
            lpa: LogAttributes::EXTENDED_DATA,
            elpe: ERROR_LOG_ENTRIES - 1,
            kas: GRANULARITY_UNITS,
            sqes: QueueEntrySizes::new(6, 6),
            cqes: QueueEntrySizes::new(4, 4),
            maxcmd: limits.io_queue_entries,
            sgls: SglSupport::new(SglAlignment::Byte).with_keyed_and_offset(),
            ioccsz: limits.ioccsz(),
            iorcsz: 1,
            msdbd: 1,
            ofcs: DISCONNECT,
            fr: Text::space_padded(env!("CARGO_PKG_VERSION")).unwrap_or_default(),
            ..IdentifyController::default()
        };
        match self.kind {
            Kind::Io => self.identify_io_controller(domain, common),
            Kind::Discovery => IdentifyController {
                cntrltype: ControllerType::DISCOVERY,
                sn: Text::space_padded("").unwrap_or_default(),
                mn: Text::space_padded("Remora").unwrap_or_default(),
                maxcmd: limits.admin_queue_entries,
                subnqn: Text::nul_terminated(self.subsystem.as_str()).unwrap_or_default(),
                ..common
            },
        }
    }

    fn identify_io_controller(&self, domain: &Domain, common: IdentifyController) -> IdentifyController {
        let map = domain.namespaces(&self.subsystem);
        let texts = domain.subsystems.get(&self.subsystem).map(|subsystem| &subsystem.texts);
        IdentifyController {
            sn: texts.map_or_else(Text::default, |texts| texts.serial),
            mn: texts.map_or_else(Text::default, |texts| texts.model),
            fr: texts.map_or(common.fr, |texts| texts.firmware),
            subnqn: Text::nul_terminated(self.subsystem.as_str()).unwrap_or_default(),
            cntrltype: ControllerType::IO,
            cmic: MultiPath::PORTS | MultiPath::CONTROLLERS,
            oacs: AdminCommands::empty(),
            lpa: LogAttributes::EXTENDED_DATA | LogAttributes::COMMANDS_SUPPORTED,
            frmw: 0b0011,
            nn: NAMESPACES_MAX,
            mnan: NAMESPACES_MAX,
            oncs: nvm_commands(&map),
            // A host reads this once, and namespaces come later: so always present, and Flush is always taken. CNS 08h says
            // which namespaces need none.
            vwc: VolatileWriteCache::PRESENT,
            ..common
        }
    }
}

/// What any namespace can do: one that cannot answers Invalid Opcode, which hosts fall back from. Dataset Management is a hint
/// that every namespace takes.
fn nvm_commands(map: &NamespaceMap) -> NvmCommands {
    let abilities = map.iter().fold(Abilities::empty(), |all, info| all | info.abilities);
    let table = [
        (Abilities::COMPARE, NvmCommands::COMPARE),
        (Abilities::WRITE_ZEROES, NvmCommands::WRITE_ZEROES),
        (Abilities::VERIFY, NvmCommands::VERIFY),
        (Abilities::RESERVATIONS, NvmCommands::RESERVATIONS),
    ];
    let there = table.into_iter().filter(|(ability, _)| abilities.contains(*ability));
    there.fold(NvmCommands::DATASET_MANAGEMENT, |all, (_, command)| all | command)
}

/// Namespaces after `nsid`; a list cannot begin at the broadcast value or the one before (Base, Active Namespace ID list).
fn list_after(map: &NamespaceMap, nsid: Nsid) -> Result<[u8; IDENTIFY_BYTES], Status> {
    if nsid >= Nsid::MAX {
        return Err(INVALID_NAMESPACE);
    }
    let after = map.iter().map(|info| info.nsid).filter(|other| *other > nsid);
    Ok(NamespaceList::encode(after.take(NSIDS_MAX)))
}

fn descriptors(info: &NamespaceInfo) -> [u8; IDENTIFY_BYTES] {
    NamespaceIds {
        eui64: info.eui64,
        nguid: info.nguid,
        uuid: info.uuid.map(uuid::Uuid::into_bytes),
        csi: Some(CommandSetId::NVM),
    }
    .to_bytes()
}

/// CNS 1Ch: one combination of I/O command sets, the NVM command set (bit 0 of the first vector).
fn command_sets() -> [u8; IDENTIFY_BYTES] {
    let mut bytes = [0; IDENTIFY_BYTES];
    bytes[0] = 1;
    bytes
}

fn reservation_capabilities(info: &NamespaceInfo) -> ReservationCapabilities {
    if info.abilities.contains(Abilities::RESERVATIONS) {
        ReservationCapabilities::all() - ReservationCapabilities::PERSIST_THROUGH_POWER_LOSS
    } else {
        ReservationCapabilities::empty()
    }
}

fn attributes(info: &NamespaceInfo) -> NamespaceAttributes {
    if info.abilities.contains(Abilities::WRITE) {
        NamespaceAttributes::empty()
    } else {
        NamespaceAttributes::WRITE_PROTECTED
    }
}

fn identify_namespace(info: &NamespaceInfo) -> IdentifyNamespace {
    let geometry = &info.geometry;
    let atomic = u16::try_from(geometry.atomic_blocks.saturating_sub(1)).unwrap_or(u16::MAX);
    let zeroes = info.abilities.contains(Abilities::DISCARD_ZEROES);
    let reads_as = if zeroes { ReadAfterDeallocate::Zeroes } else { ReadAfterDeallocate::NotReported };
    let mut lbaf = [LbaFormat::default(); 64];
    lbaf[0] = LbaFormat::new(geometry.block_size.shift(), 0);
    IdentifyNamespace {
        nsze: geometry.blocks,
        ncap: geometry.blocks,
        nuse: geometry.blocks,
        nsfeat: NamespaceFeatures::ATOMIC_UNITS | NamespaceFeatures::IDENTIFIERS_NOT_REUSED,
        flbas: FormattedLba::new(0, false),
        nmic: NamespaceSharing::SHARED,
        rescap: reservation_capabilities(info),
        dlfeat: DeallocateFeatures::new(
            reads_as,
            zeroes && info.abilities.contains(Abilities::WRITE_ZEROES | Abilities::DISCARD),
        ),
        nawun: atomic,
        nawupf: atomic,
        noiob: u16::try_from(geometry.limits.boundary_blocks).unwrap_or(0),
        nvmcap_bytes: geometry.bytes(),
        nsattr: attributes(info),
        nguid: info.nguid.unwrap_or_default(),
        eui64: info.eui64.unwrap_or_default(),
        lbaf,
        ..IdentifyNamespace::default()
    }
}

fn independent(info: &NamespaceInfo) -> IndependentNamespace {
    let cache = match info.geometry.write_cache {
        WriteCache::Volatile => 0,
        WriteCache::Through => NO_VOLATILE_CACHE,
    };
    IndependentNamespace {
        nsfeat: NamespaceFeatures::IDENTIFIERS_NOT_REUSED.bits() | cache,
        nmic: NamespaceSharing::SHARED,
        rescap: reservation_capabilities(info),
        nsattr: attributes(info),
        nstat: NamespaceStatus::READY,
        ..IndependentNamespace::default()
    }
}
