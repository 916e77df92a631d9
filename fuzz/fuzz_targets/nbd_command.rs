//! NBD commands: whatever is accepted is inside the export, and no larger than was said.
#![no_main]

use block::{Access, BlockSize, MemDevice};
use initiator::nbd::Export;
use initiator::nbd::command::{Command, payload_bytes};
use initiator::nbd::export::TRANSFER_BYTES_MAX;
use initiator::nbd::negotiation::Agreement;
use initiator::nbd::wire::{REQUEST_BYTES, RequestHeader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u8; REQUEST_BYTES], u32, bool, bool, bool)| {
    let (bytes, blocks, read_only, structured, allocation) = input;
    let size = u64::from(blocks.max(1)) << 12;
    let Ok(device) = MemDevice::new("mem:", BlockSize::B4096, size, Access::ReadWrite) else { return };
    let Ok(name) = "disk".parse() else { return };
    let Ok(export) = Export::of(&device, name, read_only) else { return };
    let Some(header) = RequestHeader::read(&bytes) else { return };
    let agreed = Agreement { structured, allocation };
    let Ok(command) = Command::read(&header, &export, &agreed) else { return };
    assert!(command.data_bytes() <= u64::from(TRANSFER_BYTES_MAX));
    let span = match command {
        Command::Read(span)
        | Command::Write { span, .. }
        | Command::Trim { span, .. }
        | Command::WriteZeroes { span, .. }
        | Command::BlockStatus { span, .. } => span,
        Command::Flush | Command::Disconnect => return,
    };
    assert!(export.contains(span.offset, span.bytes));
    match command {
        Command::Write { .. } => assert_eq!(payload_bytes(&header), span.bytes),
        _ => assert_eq!(payload_bytes(&header), 0),
    }
    assert!(!read_only || matches!(command, Command::Read(_) | Command::BlockStatus { .. }));
});
