//! Get Log Page (Base, Log Pages).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use nvme_spec::command::{AdminOpcode, GetLogPage, LogPageId, NvmOpcode};
use nvme_spec::identify::NamespaceList;
use nvme_spec::log::{
    AddressFamily, CommandEffects, CommandsSupported, DISCOVERY_RECORD_FORMAT, DiscoveryEntry,
    DiscoveryHeader, ErrorEntry, FirmwareSlots, RdmaCms, RdmaProvider, RdmaQpType, RdmaTsas, SmartHealth,
    SubsystemType, TransportRequirements, TransportType,
};
use nvme_spec::text::Text;
use nvme_spec::{ControllerId, Nsid, Status, StatusCode};

use super::admin::Answer;
use super::association::{Controller, Kind};
use super::context::Domain;
use super::limits::{ADMIN_QUEUE_ENTRIES_MIN, ERROR_LOG_ENTRIES};
use crate::wire::Nqn;

const INVALID_FIELD: Status = Status::permanent(StatusCode::INVALID_FIELD);

/// Pages of an I/O controller.
const IO_PAGES: [LogPageId; 6] = [
    LogPageId::SUPPORTED_LOG_PAGES,
    LogPageId::ERROR_INFORMATION,
    LogPageId::SMART_HEALTH,
    LogPageId::FIRMWARE_SLOT,
    LogPageId::CHANGED_NAMESPACES,
    LogPageId::COMMANDS_SUPPORTED,
];

/// Pages of a discovery controller.
const DISCOVERY_PAGES: [LogPageId; 2] = [LogPageId::SUPPORTED_LOG_PAGES, LogPageId::DISCOVERY];

/// Admin commands of an I/O controller.
const ADMIN_COMMANDS: [AdminOpcode; 7] = [
    AdminOpcode::GetLogPage,
    AdminOpcode::Identify,
    AdminOpcode::Abort,
    AdminOpcode::SetFeatures,
    AdminOpcode::GetFeatures,
    AdminOpcode::AsyncEventRequest,
    AdminOpcode::KeepAlive,
];

impl Controller {
    pub(super) fn log_page(&mut self, domain: &Domain, command: &GetLogPage) -> Result<Answer, Status> {
        let pages: &[LogPageId] = match self.kind {
            Kind::Io => &IO_PAGES,
            Kind::Discovery => &DISCOVERY_PAGES,
        };
        if !pages.contains(&command.lid) {
            return Err(Status::permanent(StatusCode::INVALID_LOG_PAGE));
        }
        if command.index_offset {
            return Err(INVALID_FIELD);
        }
        let page = self.page(domain, command, pages)?;
        let answer = part(&page, command)?;
        if !command.retain_event {
            self.events.page_read(command.lid);
        }
        Ok(Answer::data(answer))
    }

    fn page(&self, domain: &Domain, command: &GetLogPage, pages: &[LogPageId]) -> Result<Vec<u8>, Status> {
        Ok(match command.lid {
            LogPageId::SUPPORTED_LOG_PAGES => supported(pages),
            LogPageId::ERROR_INFORMATION => vec![0; usize::from(ERROR_LOG_ENTRIES) * ErrorEntry::BYTES],
            // Per namespace it is not kept (LPA bit 0).
            LogPageId::SMART_HEALTH if matches!(command.nsid, Nsid::NONE | Nsid::ALL) => {
                SmartHealth { available_spare: 100, ..SmartHealth::default() }.to_bytes().to_vec()
            }
            LogPageId::FIRMWARE_SLOT => self.firmware(domain),
            LogPageId::CHANGED_NAMESPACES => NamespaceList::encode(self.events.changed()).to_vec(),
            LogPageId::COMMANDS_SUPPORTED => commands_supported(),
            LogPageId::DISCOVERY => self.discovery_page(domain),
            _ => return Err(INVALID_FIELD),
        })
    }

    fn firmware(&self, domain: &Domain) -> Vec<u8> {
        let mut slots = FirmwareSlots { afi: 1, ..FirmwareSlots::default() };
        if let Some(subsystem) = domain.subsystems.get(&self.subsystem) {
            slots.frs[0] = subsystem.texts.firmware;
        }
        slots.to_bytes().to_vec()
    }

    /// The log of everything that this host may attach to, as it can reach it from where it is: the discovery subsystem first.
    fn discovery_page(&self, domain: &Domain) -> Vec<u8> {
        let here = self.arrival.local;
        let resolve = |listener: &SocketAddr| match listener.ip().is_unspecified() {
            true => SocketAddr::new(here.ip(), listener.port()),
            false => *listener,
        };
        let addresses: BTreeSet<SocketAddr> = domain.listeners.iter().map(resolve).collect();
        let mut entries = vec![entry(&Nqn::discovery(), SubsystemType::CURRENT_DISCOVERY, (0, here))];
        for subsystem in domain.subsystems.values().filter(|subsystem| subsystem.admits(&self.host)) {
            let nqn = &subsystem.options.nqn;
            let ports = (1..).zip(addresses.iter().copied());
            entries.extend(ports.map(|port| entry(nqn, SubsystemType::NVM, port)));
        }
        let header = DiscoveryHeader {
            genctr: domain.discovery_generation,
            numrec: entries.len() as u64,
            recfmt: DISCOVERY_RECORD_FORMAT,
        };
        let mut page = header.to_bytes().to_vec();
        entries.iter().for_each(|entry| page.extend_from_slice(&entry.to_bytes()));
        page
    }
}

fn entry(nqn: &Nqn, subtype: SubsystemType, (portid, address): (u16, SocketAddr)) -> DiscoveryEntry {
    let ip = address.ip().to_canonical();
    DiscoveryEntry {
        trtype: TransportType::RDMA,
        adrfam: if matches!(ip, IpAddr::V4(_)) { AddressFamily::IPV4 } else { AddressFamily::IPV6 },
        subtype,
        // Of secure channels nothing is said, as nvmet does: nvme-cli has no word for "not required" beside the other bit.
        treq: TransportRequirements::SQ_FLOW_CONTROL_DISABLE,
        portid,
        cntlid: ControllerId::DYNAMIC,
        asqsz: ADMIN_QUEUE_ENTRIES_MIN,
        trsvcid: Text::space_padded(&address.port().to_string()).unwrap_or_default(),
        subnqn: Text::nul_terminated(nqn.as_str()).unwrap_or_default(),
        traddr: Text::space_padded(&ip.to_string()).unwrap_or_default(),
        tsas: RdmaTsas {
            qptype: RdmaQpType::RELIABLE_CONNECTED,
            prtype: RdmaProvider::NOT_SPECIFIED,
            cms: RdmaCms::RDMA_CM,
            pkey: 0,
        },
        ..DiscoveryEntry::default()
    }
}

/// What was asked for of a page. An offset behind its end is wrong; what lies behind its end is zeroes.
fn part(page: &[u8], command: &GetLogPage) -> Result<Vec<u8>, Status> {
    let start = usize::try_from(command.offset).map_err(|_| INVALID_FIELD)?;
    let bytes = usize::try_from(command.length.bytes()).map_err(|_| INVALID_FIELD)?;
    let rest = page.get(start..).ok_or(INVALID_FIELD)?;
    let mut answer = rest[..rest.len().min(bytes)].to_vec();
    answer.resize(bytes, 0);
    Ok(answer)
}

/// Log page 00h: a dword for each page, whose bit 0 is LSUPP.
fn supported(pages: &[LogPageId]) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    pages.iter().for_each(|page| bytes[usize::from(page.0) * 4] = 1);
    bytes
}

fn commands_supported() -> Vec<u8> {
    let mut page = CommandsSupported::default();
    for opcode in ADMIN_COMMANDS {
        page.admin[usize::from(opcode.raw())] = CommandEffects::SUPPORTED;
    }
    let changes = CommandEffects::SUPPORTED | CommandEffects::CONTENT_CHANGE;
    for (opcode, effects) in [
        (NvmOpcode::Flush, CommandEffects::SUPPORTED),
        (NvmOpcode::Write, changes),
        (NvmOpcode::Read, CommandEffects::SUPPORTED),
        (NvmOpcode::Compare, CommandEffects::SUPPORTED),
        (NvmOpcode::WriteZeroes, changes),
        (NvmOpcode::DatasetManagement, changes),
        (NvmOpcode::Verify, CommandEffects::SUPPORTED),
    ] {
        page.io[usize::from(opcode.raw())] = effects;
    }
    page.to_bytes().to_vec()
}
