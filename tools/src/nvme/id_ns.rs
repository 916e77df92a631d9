//! Identify Namespace (NVM, Identify Namespace Data Structure).

use nvme_spec::Nsid;
use nvme_spec::command::Cns;
use nvme_spec::identify::{IdentifyNamespace, LbaFormat, NamespaceFeatures};

use super::device::AdminDevice;
use super::json::Object;
use super::page::Kind::{Decimal, Hex, Identifier};
use super::page::{Field, Page, hex};
use super::{NvmeError, Printed};

/// The width of labels.
const WIDTH: usize = 8;

const FIELDS: &[Field] = &[
    Field("nsze", 0, Hex(8)),
    Field("ncap", 8, Hex(8)),
    Field("nuse", 16, Hex(8)),
    Field("nsfeat", 24, Hex(1)),
    Field("nlbaf", 25, Decimal(1)),
    Field("flbas", 26, Hex(1)),
    Field("mc", 27, Hex(1)),
    Field("dpc", 28, Hex(1)),
    Field("dps", 29, Hex(1)),
    Field("nmic", 30, Hex(1)),
    Field("rescap", 31, Hex(1)),
    Field("fpi", 32, Hex(1)),
    Field("dlfeat", 33, Decimal(1)),
    Field("nawun", 34, Decimal(2)),
    Field("nawupf", 36, Decimal(2)),
    Field("nacwu", 38, Decimal(2)),
    Field("nabsn", 40, Decimal(2)),
    Field("nabo", 42, Decimal(2)),
    Field("nabspf", 44, Decimal(2)),
    Field("noiob", 46, Decimal(2)),
    Field("nvmcap", 48, Decimal(16)),
];

/// Fields that are defined only with [`NamespaceFeatures::OPTIMAL_PERFORMANCE`].
const OPTIMAL_PERFORMANCE_FIELDS: &[Field] = &[
    Field("npwg", 64, Decimal(2)),
    Field("npwa", 66, Decimal(2)),
    Field("npdg", 68, Decimal(2)),
    Field("npda", 70, Decimal(2)),
    Field("nows", 72, Decimal(2)),
];

const LAST_FIELDS: &[Field] = &[
    Field("mssrl", 74, Decimal(2)),
    Field("mcl", 76, Decimal(4)),
    Field("msrc", 80, Decimal(1)),
    Field("nulbaf", 82, Decimal(1)),
    Field("anagrpid", 92, Decimal(4)),
    // nvme-cli has a tab here, and scripts compare.
    Field("nsattr\t", 99, Decimal(1)),
    Field("nvmsetid", 100, Decimal(2)),
    Field("endgid", 102, Decimal(2)),
    Field("nguid", 104, Identifier(16)),
    Field("eui64", 120, Identifier(8)),
];

pub(super) fn print(device: &AdminDevice) -> Result<Printed, NvmeError> {
    let bytes = device.identify(Cns::NAMESPACE, device.nsid)?;
    show(device.nsid, &bytes).ok_or_else(|| NvmeError::Answer {
        device: device.name.clone(),
        reason: "the answer is too short".to_owned(),
    })
}

pub(super) fn show(nsid: Nsid, bytes: &[u8]) -> Option<Printed> {
    let structure = IdentifyNamespace::from_bytes(bytes).ok()?;
    let optimal = structure.nsfeat.contains(NamespaceFeatures::OPTIMAL_PERFORMANCE);
    let optional = if optimal { OPTIMAL_PERFORMANCE_FIELDS } else { &[] };
    let mut text = format!("NVME Identify Namespace {nsid}:\n");
    let mut json = Object::default();
    for field in FIELDS.iter().chain(optional).chain(LAST_FIELDS) {
        // The tab stands for the padding.
        let width = if field.0.ends_with('\t') { 0 } else { WIDTH };
        field.print(Page(bytes), width, &mut text, &mut json);
    }
    let formats = usize::from(structure.nlbaf) + usize::from(structure.nulbaf) + 1;
    let formats = &structure.lbaf[..formats.min(structure.lbaf.len())];
    let current = usize::from(structure.flbas.index());
    for (index, format) in formats.iter().enumerate() {
        text.push_str(&format_line(index, *format, index == current));
    }
    json.list("lbafs", formats.iter().map(|format| format_json(*format)).collect());
    Some(Printed { text, json })
}

fn format_line(index: usize, format: LbaFormat, in_use: bool) -> String {
    let rp = hex(format.relative_performance().into());
    let mark = if in_use { "(in use)" } else { "" };
    format!("lbaf {index:2} : ms:{:<3} lbads:{:<2} rp:{rp} {mark}\n", format.metadata_bytes(), format.lbads())
}

fn format_json(format: LbaFormat) -> Object {
    let mut object = Object::default();
    object.value("ms", format.metadata_bytes());
    object.value("ds", format.lbads());
    object.value("rp", format.relative_performance());
    object
}
