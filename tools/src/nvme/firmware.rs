//! Firmware Slot Information (Base, Firmware Slot Information Log Page).

use nvme_spec::command::LogPageId;

use super::device::AdminDevice;
use super::json::Object;
use super::page::{Page, hex};
use super::{NvmeError, Printed};

/// Bytes of the page, and of a revision in it.
const LOG_BYTES: usize = 512;
const REVISION_BYTES: usize = 8;

/// Firmware slots that a controller can have.
const SLOTS: usize = 7;

pub(super) fn print(device: &AdminDevice) -> Result<Printed, NvmeError> {
    Ok(show(&device.name, &device.log(LogPageId::FIRMWARE_SLOT, LOG_BYTES)?))
}

pub(super) fn show(device: &str, bytes: &[u8]) -> Printed {
    let page = Page(bytes);
    let mut text = format!("Firmware Log for device:{device}\nafi  : {}\n", hex(page.number(0, 1)));
    let mut slots = Object::default();
    slots.value("Active Firmware Slot (afi)", page.short(0, 1));
    for slot in 1..=SLOTS {
        let revision = page.short(slot * REVISION_BYTES, REVISION_BYTES);
        // A slot without firmware is all zero.
        if revision != 0 {
            let name = graphic(page.bytes(slot * REVISION_BYTES, REVISION_BYTES));
            text.push_str(&format!("frs{slot} : {revision:#016x} ({name})\n"));
            slots.value(&format!("Firmware Rev Slot {slot}"), format!("{revision} ({name})"));
        }
    }
    let mut json = Object::default();
    json.object(device, slots);
    Printed { text, json }
}

/// A revision as it is shown: dots for what is no character.
fn graphic(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect()
}
