//! Identify (Base 5.1.13), and the lies that faults make it tell.

use nvme_spec::async_event::AsyncEvents;
use nvme_spec::command::{Cns, CommandSetId, Identify};
use nvme_spec::identify::{
    AdminCommands, ControllerAttributes, ControllerType, DeallocateFeatures, FormattedLba, IDENTIFY_BYTES,
    IdentifyController, IdentifyNamespace, IndependentNamespace, LbaFormat, LogAttributes,
    NamespaceAttributes, NamespaceFeatures, NamespaceIds, NamespaceList, NamespaceStatus, NvmCommands,
    QueueEntrySizes, ReadAfterDeallocate, ReservationCapabilities, SglAlignment, SglSupport,
    VolatileWriteCache,
};
use nvme_spec::text::Text;
use nvme_spec::{ControllerId, Nsid, Status, StatusCode};

use super::logs::ERROR_ENTRIES_MAX;
use super::namespace::Namespace;
use super::{Answer, Controller, Fetched};
use crate::faults::Lie;

/// The controller's identifier in its subsystem.
const CNTLID: ControllerId = ControllerId(1);

/// Firmware revision.
const FIRMWARE: &str = "1.0";

/// Kelvins of the temperature warning and critical thresholds.
const WARNING_K: u16 = 343;
const CRITICAL_K: u16 = 353;

type Page = [u8; IDENTIFY_BYTES];

impl Controller {
    pub(super) fn identify(&mut self, command: &Fetched, identify: &Identify) -> Answer {
        let page = self.identify_page(identify)?;
        self.reply(command, &page)
    }

    fn identify_page(&mut self, identify: &Identify) -> Result<Page, Status> {
        match identify.cns {
            Cns::NAMESPACE => self.namespace_page(identify.nsid),
            Cns::CONTROLLER => Ok(self.controller_page()),
            Cns::ACTIVE_NAMESPACES => self.active_list(identify.nsid),
            Cns::NAMESPACE_DESCRIPTORS => self.descriptors(identify.nsid),
            Cns::INDEPENDENT_NAMESPACE => self.independent_namespace(identify.nsid),
            Cns::COMMAND_SET_NAMESPACE | Cns::COMMAND_SET_CONTROLLER | Cns::COMMAND_SET_ACTIVE_NAMESPACES
                if identify.csi != CommandSetId::NVM =>
            {
                Err(Status::permanent(StatusCode::INVALID_FIELD))
            }
            // No storage tags, no extended formats: nothing to say.
            Cns::COMMAND_SET_NAMESPACE => self.attached(identify.nsid).map(|_| [0; IDENTIFY_BYTES]),
            // No limits besides MDTS.
            Cns::COMMAND_SET_CONTROLLER => Ok([0; IDENTIFY_BYTES]),
            Cns::COMMAND_SET_ACTIVE_NAMESPACES => self.active_list(identify.nsid),
            _ => Err(Status::permanent(StatusCode::INVALID_FIELD)),
        }
    }

    /// A namespace; `None` if the identifier is legal and nothing is attached there.
    fn attached(&self, nsid: Nsid) -> Result<Option<&Namespace>, Status> {
        if !(1..=self.options.namespaces_max).contains(&nsid.0) {
            return Err(Status::permanent(StatusCode::INVALID_NAMESPACE_OR_FORMAT));
        }
        Ok(self.namespaces.attached().find(|namespace| namespace.nsid == nsid))
    }

    fn namespace_page(&self, nsid: Nsid) -> Result<Page, Status> {
        let namespace = self.attached(nsid)?;
        let mut page =
            namespace.map_or_else(IdentifyNamespace::default, |namespace| self.namespace(namespace));
        match self.lie {
            Some(Lie::BlockSizeZero) => page.lbaf[0] = LbaFormat::new(0, 0),
            Some(Lie::BlockSizeHuge) => page.lbaf[0] = LbaFormat::new(63, 0),
            Some(Lie::SizeHuge) => page.nsze = u64::MAX,
            Some(Lie::SizeZero) => page.nsze = 0,
            Some(Lie::FormatOutOfRange) => page.flbas = FormattedLba::new(5, false),
            Some(Lie::AllOnes) => return Ok([0xFF; IDENTIFY_BYTES]),
            _ => {}
        }
        Ok(page.to_bytes())
    }

    fn namespace(&self, namespace: &Namespace) -> IdentifyNamespace {
        let options = &namespace.options;
        let (blocks, shift) = (namespace.blocks(), namespace.block_bytes().trailing_zeros());
        let mut page = IdentifyNamespace {
            nsze: blocks,
            ncap: blocks,
            nuse: namespace.media.allocated_blocks(),
            nsfeat: NamespaceFeatures::IDENTIFIERS_NOT_REUSED,
            dlfeat: DeallocateFeatures::new(ReadAfterDeallocate::Zeroes, true),
            rescap: reservation_capabilities(),
            noiob: options.optimal_boundary_blocks,
            nvmcap_bytes: u128::from(blocks) * u128::from(namespace.block_bytes()),
            nguid: options.nguid,
            eui64: options.eui64,
            ..IdentifyNamespace::default()
        };
        page.lbaf[0] = LbaFormat::new(u8::try_from(shift).unwrap_or(0), options.metadata_bytes);
        if options.metadata_bytes > 0 {
            page.mc = 2;
        }
        if let Some(atomic_blocks) = options.atomic_write_power_fail_blocks {
            page.nsfeat |= NamespaceFeatures::ATOMIC_UNITS;
            page.nawupf = atomic_blocks.saturating_sub(1);
            page.nawun = page.nawupf.max(self.options.atomic_write_blocks.saturating_sub(1));
        }
        if namespace.write_protected {
            page.nsattr = NamespaceAttributes::WRITE_PROTECTED;
        }
        page
    }

    fn independent_namespace(&self, nsid: Nsid) -> Result<Page, Status> {
        let Some(namespace) = self.attached(nsid)? else { return Ok([0; IDENTIFY_BYTES]) };
        let page = IndependentNamespace {
            rescap: reservation_capabilities(),
            nstat: NamespaceStatus::READY,
            nsattr: self.namespace(namespace).nsattr,
            ..IndependentNamespace::default()
        };
        Ok(page.to_bytes())
    }

    fn active_list(&self, after: Nsid) -> Result<Page, Status> {
        if after.0 >= Nsid::MAX.0 {
            return Err(Status::permanent(StatusCode::INVALID_NAMESPACE_OR_FORMAT));
        }
        Ok(NamespaceList::encode(self.namespaces.attached().map(|one| one.nsid).filter(|nsid| *nsid > after)))
    }

    fn descriptors(&self, nsid: Nsid) -> Result<Page, Status> {
        let Some(namespace) = self.attached(nsid)? else {
            return Err(Status::permanent(StatusCode::INVALID_FIELD));
        };
        let options = &namespace.options;
        let ids = NamespaceIds {
            eui64: (options.eui64 != [0; 8]).then_some(options.eui64),
            nguid: (options.nguid != [0; 16]).then_some(options.nguid),
            uuid: Some(*options.uuid.as_bytes()),
            csi: Some(CommandSetId::NVM),
        };
        Ok(ids.to_bytes())
    }

    fn controller_page(&self) -> Page {
        let mut page = self.controller();
        match self.lie {
            Some(Lie::MdtsHuge) => page.mdts = 255,
            Some(Lie::EntrySizesHuge) => {
                page.sqes = QueueEntrySizes::new(15, 15);
                page.cqes = QueueEntrySizes::new(15, 15);
            }
            Some(Lie::StringsNonsense) => {
                page.sn = Text::from_raw([0x1B; 20]);
                page.mn = Text::from_raw([0xFF; 40]);
                page.fr = Text::from_raw([0; 8]);
                page.subnqn = Text::from_raw([0xC3; 256]);
            }
            Some(Lie::AllOnes) => return [0xFF; IDENTIFY_BYTES],
            _ => {}
        }
        page.to_bytes()
    }

    fn controller(&self) -> IdentifyController {
        let options = &self.options;
        IdentifyController {
            // 0x1B36 is Red Hat's, for devices that are software; 0010h is the NVMe one.
            vid: 0x1B36,
            ssvid: 0x1B36,
            sn: Text::space_padded(&options.serial).unwrap_or_default(),
            mn: Text::space_padded(&options.model).unwrap_or_default(),
            fr: Text::space_padded(FIRMWARE).unwrap_or_default(),
            rab: 5,
            mdts: options.mdts,
            cntlid: CNTLID,
            ver: options.version,
            oaes: AsyncEvents::NAMESPACE_ATTRIBUTE,
            ctratt: ControllerAttributes::HOST_IDENTIFIER_128,
            cntrltype: ControllerType::IO,
            oacs: self.admin_commands(),
            acl: options.aborts_max.saturating_sub(1),
            aerl: options.async_events_max.saturating_sub(1),
            // One slot, which is read-only.
            frmw: 0b011,
            lpa: LogAttributes::COMMANDS_SUPPORTED | LogAttributes::EXTENDED_DATA,
            elpe: u8::try_from(ERROR_ENTRIES_MAX - 1).unwrap_or(u8::MAX),
            wctemp: WARNING_K,
            cctemp: CRITICAL_K,
            sqes: QueueEntrySizes::new(6, 6),
            cqes: QueueEntrySizes::new(4, 4),
            nn: options.namespaces_max,
            mnan: options.namespaces_max,
            oncs: self.nvm_commands(),
            vwc: self.write_cache(),
            awun: options.atomic_write_blocks.saturating_sub(1),
            awupf: options.atomic_write_power_fail_blocks.saturating_sub(1),
            nwpc: 1,
            sgls: self.sgl_support(),
            subnqn: Text::nul_terminated(&options.subnqn).unwrap_or_default(),
            ..IdentifyController::default()
        }
    }

    fn admin_commands(&self) -> AdminCommands {
        if self.options.doorbell_buffer {
            AdminCommands::DOORBELL_BUFFER_CONFIG
        } else {
            AdminCommands::empty()
        }
    }

    pub(super) fn nvm_commands(&self) -> NvmCommands {
        let always = NvmCommands::COMPARE
            | NvmCommands::DATASET_MANAGEMENT
            | NvmCommands::WRITE_ZEROES
            | NvmCommands::SAVE_AND_SELECT
            | NvmCommands::RESERVATIONS
            | NvmCommands::VERIFY;
        if self.options.write_uncorrectable { always | NvmCommands::WRITE_UNCORRECTABLE } else { always }
    }

    fn write_cache(&self) -> VolatileWriteCache {
        if self.options.volatile_write_cache {
            VolatileWriteCache::PRESENT_FLUSH_ALL
        } else {
            VolatileWriteCache::ABSENT
        }
    }

    fn sgl_support(&self) -> SglSupport {
        let Some(sgl) = self.options.sgl else { return SglSupport::default() };
        let alignment = if sgl.dword_aligned { SglAlignment::Dword } else { SglAlignment::Byte };
        let support = SglSupport::new(alignment);
        if sgl.bit_bucket { support.with_bit_bucket() } else { support }
    }
}

/// All six types, and persistence.
fn reservation_capabilities() -> ReservationCapabilities {
    ReservationCapabilities::PERSIST_THROUGH_POWER_LOSS
        | ReservationCapabilities::WRITE_EXCLUSIVE
        | ReservationCapabilities::EXCLUSIVE_ACCESS
        | ReservationCapabilities::WRITE_EXCLUSIVE_REGISTRANTS_ONLY
        | ReservationCapabilities::EXCLUSIVE_ACCESS_REGISTRANTS_ONLY
        | ReservationCapabilities::WRITE_EXCLUSIVE_ALL_REGISTRANTS
        | ReservationCapabilities::EXCLUSIVE_ACCESS_ALL_REGISTRANTS
        | ReservationCapabilities::IEKEY_AS_1_3
}
