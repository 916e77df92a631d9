//! Error Information (Base, Error Information Log Entry).

use nvme_spec::Nsid;
use nvme_spec::command::{Cns, LogPageId};
use nvme_spec::identify::IdentifyController;
use nvme_spec::log::{ErrorEntry, TransportType};

use super::device::AdminDevice;
use super::json::Object;
use super::page::hex;
use super::{NvmeError, Printed};

/// What nvme-cli puts between entries.
const RULE: &str = ".................\n";

/// Reads as many entries as the controller has, at most `entries_max`.
pub(super) fn print(device: &AdminDevice, entries_max: u16) -> Result<Printed, NvmeError> {
    let identify = device.identify(Cns::CONTROLLER, Nsid::NONE)?;
    let entries = IdentifyController::from_bytes(&identify)
        .map(|identify| identify.error_log_entries())
        .map_err(|short| NvmeError::Answer { device: device.name.clone(), reason: short.to_string() })?;
    let bytes = usize::from(entries.min(entries_max)) * ErrorEntry::BYTES;
    Ok(show(&device.name, &device.log(LogPageId::ERROR_INFORMATION, bytes)?))
}

pub(super) fn show(device: &str, bytes: &[u8]) -> Printed {
    let entries: Vec<_> = bytes.as_chunks().0.iter().map(ErrorEntry::from_array).collect();
    let mut text = format!("Error Log Entries for device:{device} entries:{}\n{RULE}", entries.len());
    for (index, entry) in entries.iter().enumerate() {
        text.push_str(&format!(" Entry[{index:2}]   \n{RULE}{}{RULE}", entry_text(entry)));
    }
    let mut json = Object::default();
    json.list("errors", entries.iter().map(entry_json).collect());
    Printed { text, json }
}

/// The status field without the phase tag, and the phase tag.
fn status_and_phase(entry: &ErrorEntry) -> (u16, u16) {
    (entry.status_info / 2, entry.status_info % 2)
}

fn entry_text(entry: &ErrorEntry) -> String {
    let (status, phase) = status_and_phase(entry);
    let shown = |number: u64| hex(number.into());
    format!(
        "error_count\t: {}\nsqid\t\t: {}\ncmdid\t\t: {}\nstatus_field\t: {}({})\nphase_tag\t: {}\n\
         parm_err_loc\t: {}\nlba\t\t: {}\nnsid\t\t: {}\nvs\t\t: {}\ntrtype\t\t: {}\ncs\t\t: {}\n\
         trtype_spec_info: {}\n",
        entry.error_count,
        entry.sqid.0,
        shown(entry.cid.0.into()),
        shown(status.into()),
        entry.status().code().name().unwrap_or("Unknown"),
        shown(phase.into()),
        shown(entry.parameter_location.into()),
        shown(entry.lba.0),
        shown(entry.nsid.0.into()),
        entry.vendor_log,
        transport(entry.trtype),
        shown(entry.command_specific),
        shown(entry.transport_specific.into()),
    )
}

fn transport(trtype: u8) -> String {
    if trtype == 0 { "none".to_owned() } else { TransportType(trtype).to_string() }
}

fn entry_json(entry: &ErrorEntry) -> Object {
    let (status, phase) = status_and_phase(entry);
    let mut object = Object::default();
    object.value("error_count", entry.error_count);
    object.value("sqid", entry.sqid.0);
    object.value("cmdid", entry.cid.0);
    object.value("status_field", status);
    object.value("phase_tag", phase);
    object.value("parm_error_location", entry.parameter_location);
    object.value("lba", entry.lba.0);
    object.value("nsid", entry.nsid.0);
    object.value("vs", entry.vendor_log);
    object.value("trtype", entry.trtype);
    object.value("cs", entry.command_specific);
    object.value("trtype_spec_info", entry.transport_specific);
    object
}
