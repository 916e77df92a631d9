use super::*;
use crate::ids::HolderId;

/// The first version's image, written by hand; its CRC comes from another program.
fn fixture() -> Box<[u8; LABEL_BYTES]> {
    let mut bytes = Box::new([0; LABEL_BYTES]);
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"REMORMIR");
    put(8, &[1, 0, 0, 0]);
    put(16, &[4, 0, 0, 0, 0, 0, 0, 0]);
    put(32, &[0x11; 16]);
    put(48, &[0x22; 16]);
    put(64, &[0x02, 0x01, 0, 0, 0, 0, 0, 0]);
    put(72, &[9, 0, 0, 0, 0, 0, 0, 0]);
    put(80, &[0x33; 16]);
    put(96, &[0x05, 0x04, 0x03, 0x02, 0x01, 0, 0, 0]);
    put(104, &[0x00, 0x10, 0, 0]);
    put(108, &[0, 0, 0, 1]);
    put(112, &[0, 0, 0x10, 0, 0, 0, 0, 0]);
    put(120, &[0, 0, 0x02, 0, 0, 0, 0, 0]);
    put(128, &[2, 3, 2, 2]);
    for (at, uuid, role) in [(256, 0x21, 1), (288, 0x22, 1), (320, 0x23, 2)] {
        put(at, &[uuid; 16]);
        put(at + 16, &[role]);
    }
    for (at, counter, id) in [(384, 8, 0x44), (408, 5, 0x55)] {
        put(at, &[counter, 0, 0, 0, 0, 0, 0, 0]);
        put(at + 8, &[id; 16]);
    }
    put(4092, &[0x69, 0x7b, 0xf8, 0xe3]);
    bytes
}

fn meaning() -> Label {
    let uuid = |byte| Uuid::from_bytes([byte; 16]);
    let name = |counter, id| GenerationName { counter, id: uuid(id) };
    let member = |id, role| Member { uuid: uuid(id), role };
    Label {
        compatible: 4,
        mirror: uuid(0x11),
        holder: uuid(0x22),
        sequence: 258,
        generation: Generation { name: name(9, 0x33), ancestors: vec![name(8, 0x44), name(5, 0x55)] },
        in_sync: HolderId::new(1).into_iter().collect(),
        policy: Policy::Majority,
        members: vec![member(0x21, Role::Leg), member(0x22, Role::Leg), member(0x23, Role::Witness)],
        shape: Shape { blocks: 0x01_0203_0405, block_bytes: 4096, region_blocks: 1 << 24 },
        data_offset_bytes: 1 << 20,
        map_offset_bytes: 1 << 17,
    }
}

/// The fixture with a field changed and a checksum that fits.
fn changed(at: usize, field: &[u8]) -> Box<[u8; LABEL_BYTES]> {
    let mut bytes = fixture();
    bytes[at..at + field.len()].copy_from_slice(field);
    let sum = crc(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&sum);
    bytes
}

#[test]
fn the_first_version_is_these_bytes() {
    assert_eq!(meaning().encode(), fixture());
    assert_eq!(Label::decode(&fixture()), Ok(meaning()));
}

#[test]
fn what_cannot_be_used_is_refused_in_words() {
    let refused = |at, field: &[u8]| Label::decode(&changed(at, field)).unwrap_err();
    assert_eq!(refused(0, b"X"), LabelError::None);
    assert_eq!(refused(8, &[2]), LabelError::Version { version: 2 });
    assert_eq!(refused(24, &[2]), LabelError::Features { unknown: 2 });
    assert_eq!(refused(128, &[3]), LabelError::Field { field: "policy" });
    for members in [0, 5] {
        assert_eq!(refused(129, &[members]), LabelError::Field { field: "table of members" });
    }
    // The witness, nobody, and a bit that stands for no holder.
    for set in [0b100, 0b1000, 0b1_0000] {
        assert_eq!(refused(130, &[set]), LabelError::Field { field: "in-sync set" });
    }
    assert_eq!(refused(131, &[33]), LabelError::Field { field: "number of ancestors" });
    assert_eq!(refused(108, &[0, 0, 0, 0]), LabelError::Field { field: "shape" });
    assert_eq!(refused(272, &[0]), LabelError::Field { field: "table of members" });
    let mut torn = fixture();
    torn[2000] ^= 1;
    assert_eq!(Label::decode(&torn), Err(LabelError::Damaged));
}

#[test]
fn of_two_copies_the_newer_good_one_counts_and_the_other_is_written_next() {
    let newer = changed(64, &[0x03]);
    let newest = |first: &[u8; LABEL_BYTES], second: &[u8; LABEL_BYTES]| {
        Label::newest(&[Box::new(*first), Box::new(*second)]).map(|(label, next)| (label.sequence, next))
    };
    let nothing = Box::new([0; LABEL_BYTES]);
    let mut torn = newer.clone();
    torn[100] ^= 1;
    assert_eq!(newest(&fixture(), &newer), Ok((259, 0)));
    assert_eq!(newest(&newer, &fixture()), Ok((259, 1)));
    assert_eq!(newest(&fixture(), &torn), Ok((258, 1)));
    assert_eq!(newest(&torn, &fixture()), Ok((258, 0)));
    assert_eq!(newest(&nothing, &torn), Err(LabelError::Damaged));
    assert_eq!(newest(&nothing, &nothing), Err(LabelError::None));
}
