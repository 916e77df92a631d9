//! Identify Controller (Base, Identify Controller Data Structure).

use nvme_spec::Nsid;
use nvme_spec::command::Cns;
use nvme_spec::identify::PowerState;

use super::device::AdminDevice;
use super::json::Object;
use super::page::Kind::{Decimal, Hex, Oui, Text, Uuid};
use super::page::{Field, Page};
use super::{NvmeError, Printed, power};

/// The width of labels.
const WIDTH: usize = 10;

/// Where the number of power states, 0-based, and the power states are.
const NPSS_AT: usize = 263;
const PSD_AT: usize = 2048;
/// Power states that the structure has room for.
const POWER_STATES_MAX: usize = 32;

const FIELDS: &[Field] = &[
    Field("vid", 0, Hex(2)),
    Field("ssvid", 2, Hex(2)),
    Field("sn", 4, Text(20)),
    Field("mn", 24, Text(40)),
    Field("fr", 64, Text(8)),
    Field("rab", 72, Decimal(1)),
    Field("ieee", 73, Oui),
    Field("cmic", 76, Hex(1)),
    Field("mdts", 77, Decimal(1)),
    Field("cntlid", 78, Hex(2)),
    Field("ver", 80, Hex(4)),
    Field("rtd3r", 84, Hex(4)),
    Field("rtd3e", 88, Hex(4)),
    Field("oaes", 92, Hex(4)),
    Field("ctratt", 96, Hex(4)),
    Field("rrls", 100, Hex(2)),
    Field("cntrltype", 111, Decimal(1)),
    Field("fguid", 112, Uuid),
    Field("crdt1", 128, Decimal(2)),
    Field("crdt2", 130, Decimal(2)),
    Field("crdt3", 132, Decimal(2)),
    Field("nvmsr", 253, Decimal(1)),
    Field("vwci", 254, Decimal(1)),
    Field("mec", 255, Decimal(1)),
    Field("oacs", 256, Hex(2)),
    Field("acl", 258, Decimal(1)),
    Field("aerl", 259, Decimal(1)),
    Field("frmw", 260, Hex(1)),
    Field("lpa", 261, Hex(1)),
    Field("elpe", 262, Decimal(1)),
    Field("npss", NPSS_AT, Decimal(1)),
    Field("avscc", 264, Hex(1)),
    Field("apsta", 265, Hex(1)),
    Field("wctemp", 266, Decimal(2)),
    Field("cctemp", 268, Decimal(2)),
    Field("mtfa", 270, Decimal(2)),
    Field("hmpre", 272, Decimal(4)),
    Field("hmmin", 276, Decimal(4)),
    Field("tnvmcap", 280, Decimal(16)),
    Field("unvmcap", 296, Decimal(16)),
    Field("rpmbs", 312, Hex(4)),
    Field("edstt", 316, Decimal(2)),
    Field("dsto", 318, Decimal(1)),
    Field("fwug", 319, Decimal(1)),
    Field("kas", 320, Decimal(2)),
    Field("hctma", 322, Hex(2)),
    Field("mntmt", 324, Decimal(2)),
    Field("mxtmt", 326, Decimal(2)),
    Field("sanicap", 328, Hex(4)),
    Field("hmminds", 332, Decimal(4)),
    Field("hmmaxd", 336, Decimal(2)),
    Field("nsetidmax", 338, Decimal(2)),
    Field("endgidmax", 340, Decimal(2)),
    Field("anatt", 342, Decimal(1)),
    Field("anacap", 343, Decimal(1)),
    Field("anagrpmax", 344, Decimal(4)),
    Field("nanagrpid", 348, Decimal(4)),
    Field("pels", 352, Decimal(4)),
    Field("domainid", 356, Decimal(2)),
    Field("megcap", 368, Decimal(16)),
    Field("sqes", 512, Hex(1)),
    Field("cqes", 513, Hex(1)),
    Field("maxcmd", 514, Decimal(2)),
    Field("nn", 516, Decimal(4)),
    Field("oncs", 520, Hex(2)),
    Field("fuses", 522, Hex(2)),
    Field("fna", 524, Hex(1)),
    Field("vwc", 525, Hex(1)),
    Field("awun", 526, Decimal(2)),
    Field("awupf", 528, Decimal(2)),
    Field("icsvscc", 530, Decimal(1)),
    Field("nwpc", 531, Decimal(1)),
    Field("acwu", 532, Decimal(2)),
    Field("ocfs", 534, Hex(2)),
    Field("sgls", 536, Hex(4)),
    Field("mnan", 540, Decimal(4)),
    Field("maxdna", 544, Decimal(16)),
    Field("maxcna", 560, Decimal(4)),
    Field("subnqn", 768, Text(256)),
    Field("ioccsz", 1792, Decimal(4)),
    Field("iorcsz", 1796, Decimal(4)),
    Field("icdoff", 1800, Decimal(2)),
    Field("fcatt", 1802, Hex(1)),
    Field("msdbd", 1803, Decimal(1)),
    Field("ofcs", 1804, Decimal(2)),
];

pub(super) fn print(device: &AdminDevice) -> Result<Printed, NvmeError> {
    Ok(show(&device.identify(Cns::CONTROLLER, Nsid::NONE)?))
}

pub(super) fn show(bytes: &[u8]) -> Printed {
    let page = Page(bytes);
    let mut text = "NVME Identify Controller:\n".to_owned();
    let mut json = Object::default();
    for field in FIELDS {
        field.print(page, WIDTH, &mut text, &mut json);
    }
    let states = usize::from(page.bytes(NPSS_AT, 1).first().copied().unwrap_or(0)) + 1;
    let at = |index| page.bytes(PSD_AT + index * PowerState::BYTES, PowerState::BYTES);
    let states: Vec<_> = (0..states.min(POWER_STATES_MAX))
        .filter_map(|index| PowerState::from_bytes(at(index)).ok())
        .collect();
    for (index, state) in states.iter().enumerate() {
        text.push_str(&power::text(index, state));
    }
    json.list("psds", states.iter().map(power::json).collect());
    Printed { text, json }
}
