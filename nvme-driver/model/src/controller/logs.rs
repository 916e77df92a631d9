//! Get Log Page (Base 5.1.12), and what the pages tell.

use std::collections::{BTreeSet, VecDeque};

use nvme_spec::command::{AdminOpcode, GetLogPage, LogPageId, NvmOpcode};
use nvme_spec::identify::{NSIDS_MAX, NamespaceList, NvmCommands};
use nvme_spec::log::{
    ChangedNamespaces, CommandEffects, CommandsSupported, CriticalWarning, DATA_UNIT_BYTES, ErrorEntry,
    FirmwareSlots, ReservationNotification, ReservationNotificationType, SmartHealth,
};
use nvme_spec::text::Text;
use nvme_spec::{Nsid, Status, StatusCode};

use super::events::Event;
use super::{Answer, Controller, Fetched};
use crate::faults::CriticalWarningBit;

/// Entries of the Error Information log page.
pub(super) const ERROR_ENTRIES_MAX: usize = 64;

/// Reservation notifications that are kept.
const NOTIFICATIONS_MAX: usize = 64;

/// The temperature that the model says it has, in kelvins.
const TEMPERATURE_K: u16 = 310;

/// What the log pages are made of. Resets do not clear it.
#[derive(Debug, Default)]
pub(super) struct Logs {
    errors: VecDeque<ErrorEntry>,
    error_count: u64,
    changed: BTreeSet<Nsid>,
    warning: CriticalWarning,
    reads: u64,
    writes: u64,
    bytes_read: u64,
    bytes_written: u64,
    media_errors: u64,
    notifications: VecDeque<ReservationNotification>,
    notification_count: u64,
}

impl Logs {
    #[inline]
    pub(super) fn count_read(&mut self, bytes: u64) {
        self.reads += 1;
        self.bytes_read += bytes;
    }

    #[inline]
    pub(super) fn count_write(&mut self, bytes: u64) {
        self.writes += 1;
        self.bytes_written += bytes;
    }

    pub(super) fn namespace_changed(&mut self, nsid: Nsid) {
        self.changed.insert(nsid);
    }

    /// Keeps a notification; the oldest is dropped if there are too many.
    pub(super) fn notify(&mut self, kind: ReservationNotificationType, nsid: Nsid) {
        self.notification_count += 1;
        if self.notifications.len() == NOTIFICATIONS_MAX {
            self.notifications.pop_front();
        }
        let lpc = self.notification_count;
        self.notifications.push_back(ReservationNotification { lpc, rnlpt: kind as u8, nalp: 0, nsid });
    }

    fn error_page(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(ERROR_ENTRIES_MAX * ErrorEntry::BYTES);
        self.errors.iter().rev().for_each(|entry| page.extend_from_slice(&entry.to_bytes()));
        page.resize(ERROR_ENTRIES_MAX * ErrorEntry::BYTES, 0);
        page
    }

    fn health_page(&self) -> Vec<u8> {
        let page = SmartHealth {
            critical_warning: self.warning,
            composite_temperature_k: TEMPERATURE_K,
            available_spare: 100,
            available_spare_threshold: 10,
            data_units_read: u128::from(self.bytes_read.div_ceil(DATA_UNIT_BYTES)),
            data_units_written: u128::from(self.bytes_written.div_ceil(DATA_UNIT_BYTES)),
            host_reads: self.reads.into(),
            host_writes: self.writes.into(),
            power_cycles: 1,
            media_errors: self.media_errors.into(),
            error_log_entries: self.error_count.into(),
            ..SmartHealth::default()
        };
        page.to_bytes().to_vec()
    }

    /// The list is cleared when it is read without retaining the event.
    fn changed_page(&self) -> Vec<u8> {
        if self.changed.len() > NSIDS_MAX {
            ChangedNamespaces::encode_too_many().to_vec()
        } else {
            NamespaceList::encode(self.changed.iter().copied()).to_vec()
        }
    }

    fn notification_page(&self) -> Vec<u8> {
        let more = u8::try_from(self.notifications.len().saturating_sub(1)).unwrap_or(u8::MAX);
        let first = self.notifications.front().cloned().unwrap_or_default();
        ReservationNotification { nalp: more, ..first }.to_bytes().to_vec()
    }
}

fn firmware_page() -> Vec<u8> {
    let mut page = FirmwareSlots { afi: 1, ..FirmwareSlots::default() };
    page.frs[0] = Text::space_padded("1.0").unwrap_or_default();
    page.to_bytes().to_vec()
}

impl Controller {
    pub(super) fn get_log_page(&mut self, command: &Fetched, get: &GetLogPage) -> Answer {
        if get.index_offset {
            return Err(Status::permanent(StatusCode::INVALID_FIELD));
        }
        let page = self.log_page(get.lid)?;
        let Some(rest) = usize::try_from(get.offset).ok().and_then(|offset| page.get(offset..)) else {
            return Err(Status::permanent(StatusCode::INVALID_FIELD));
        };
        let wanted = usize::try_from(get.length.bytes()).unwrap_or(usize::MAX);
        self.check_log_length(wanted)?;
        let mut data = rest[..rest.len().min(wanted)].to_vec();
        // What a host asks for beyond the end of a page is undefined; zeroes tell nothing.
        data.resize(wanted, 0);
        self.reply(command, &data)?;
        if !get.retain_event {
            self.events.log_was_read(get.lid);
            self.log_was_read(get.lid);
        }
        Ok(0)
    }

    /// Get Log Page keeps to MDTS as all commands do; without MDTS to the largest page.
    fn check_log_length(&self, bytes: usize) -> Result<(), Status> {
        let most = if self.options.mdts == 0 { 1 << 20 } else { 4096_usize << self.options.mdts.min(20) };
        if bytes <= most { Ok(()) } else { Err(Status::permanent(StatusCode::INVALID_FIELD)) }
    }

    fn log_page(&self, lid: LogPageId) -> Result<Vec<u8>, Status> {
        match lid {
            LogPageId::ERROR_INFORMATION => Ok(self.logs.error_page()),
            LogPageId::SMART_HEALTH => Ok(self.logs.health_page()),
            LogPageId::FIRMWARE_SLOT => Ok(firmware_page()),
            LogPageId::CHANGED_NAMESPACES => Ok(self.logs.changed_page()),
            LogPageId::COMMANDS_SUPPORTED => Ok(self.effects_page()),
            LogPageId::RESERVATION_NOTIFICATION => Ok(self.logs.notification_page()),
            _ => Err(Status::permanent(StatusCode::INVALID_LOG_PAGE)),
        }
    }

    fn log_was_read(&mut self, lid: LogPageId) {
        match lid {
            LogPageId::CHANGED_NAMESPACES => self.logs.changed.clear(),
            LogPageId::RESERVATION_NOTIFICATION => {
                self.logs.notifications.pop_front();
                if !self.logs.notifications.is_empty() {
                    self.raise_event(Event::ReservationLogAvailable);
                }
            }
            _ => {}
        }
    }

    /// Writes an error to the log. Returns the status with More set, which says so.
    pub(super) fn log_error(&mut self, command: Fetched, status: Status) -> Status {
        let status = status.with_more(true);
        let logs = &mut self.logs;
        logs.error_count += 1;
        logs.media_errors += u64::from(status.is_media_error());
        if logs.errors.len() == ERROR_ENTRIES_MAX {
            logs.errors.pop_front();
        }
        logs.errors.push_back(ErrorEntry {
            error_count: logs.error_count,
            sqid: command.sqid,
            cid: command.sqe.cid(),
            status_info: status.raw() << 1,
            parameter_location: u16::MAX,
            nsid: command.sqe.nsid(),
            opcode: command.sqe.opcode(),
            ..ErrorEntry::default()
        });
        status
    }

    fn effects_page(&self) -> Vec<u8> {
        let mut page = CommandsSupported::default();
        for opcode in [
            AdminOpcode::DeleteIoSq,
            AdminOpcode::CreateIoSq,
            AdminOpcode::GetLogPage,
            AdminOpcode::DeleteIoCq,
            AdminOpcode::CreateIoCq,
            AdminOpcode::Identify,
            AdminOpcode::Abort,
            AdminOpcode::SetFeatures,
            AdminOpcode::GetFeatures,
            AdminOpcode::AsyncEventRequest,
            AdminOpcode::KeepAlive,
        ] {
            page.admin[usize::from(opcode.raw())] = CommandEffects::SUPPORTED;
        }
        if self.options.doorbell_buffer {
            page.admin[usize::from(AdminOpcode::DoorbellBufferConfig.raw())] = CommandEffects::SUPPORTED;
        }
        for (opcode, changes) in self.io_commands() {
            let effects = if changes { CommandEffects::CONTENT_CHANGE } else { CommandEffects::empty() };
            page.io[usize::from(opcode.raw())] = CommandEffects::SUPPORTED | effects;
        }
        page.to_bytes().to_vec()
    }

    /// The I/O commands, and whether they change what blocks hold.
    fn io_commands(&self) -> impl Iterator<Item = (NvmOpcode, bool)> {
        let uncorrectable = self.nvm_commands().contains(NvmCommands::WRITE_UNCORRECTABLE);
        [
            (NvmOpcode::Flush, false),
            (NvmOpcode::Write, true),
            (NvmOpcode::Read, false),
            (NvmOpcode::WriteUncorrectable, true),
            (NvmOpcode::Compare, false),
            (NvmOpcode::WriteZeroes, true),
            (NvmOpcode::DatasetManagement, true),
            (NvmOpcode::Verify, false),
            (NvmOpcode::ReservationRegister, false),
            (NvmOpcode::ReservationReport, false),
            (NvmOpcode::ReservationAcquire, false),
            (NvmOpcode::ReservationRelease, false),
        ]
        .into_iter()
        .filter(move |(opcode, _)| uncorrectable || *opcode != NvmOpcode::WriteUncorrectable)
    }

    /// A critical warning bit is set, with its event.
    pub(super) fn warn(&mut self, bit: CriticalWarningBit) {
        let (warning, event) = match bit {
            CriticalWarningBit::Spare => (CriticalWarning::SPARE, Event::SmartSpare),
            CriticalWarningBit::Temperature => (CriticalWarning::TEMPERATURE, Event::SmartTemperature),
            CriticalWarningBit::Reliability => (CriticalWarning::RELIABILITY, Event::SmartReliability),
            CriticalWarningBit::ReadOnly => (CriticalWarning::READ_ONLY, Event::SmartReliability),
        };
        self.logs.warning |= warning;
        self.raise_event(event);
    }
}
