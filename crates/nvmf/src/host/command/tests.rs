use nvme_spec::Lba;
use nvme_spec::command::{AcquireAction, PersistChange, RegisterAction, ReleaseAction};
use nvme_spec::reservation::ReservationType;

use super::*;

const MEMORY: KeyedMemory =
    KeyedMemory { address: 0x1122_3344_5566_7788, key: 0xaabb_ccdd, bytes: 0x2000, invalidate: true };

fn command(op: Op, start: u64, blocks: u64) -> IoCommand {
    IoCommand { nsid: Nsid(5), op, range: BlockRange::new(Lba(start), blocks) }
}

fn bytes(op: Op, start: u64, blocks: u64, placement: Placement) -> [u8; 64] {
    command(op, start, blocks).sqe(&placement, CommandId(0x1234)).unwrap().to_bytes()
}

/// An entry with these bytes at these places.
fn entry(places: &[(usize, &[u8])]) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (at, part) in places {
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

#[test]
fn psdt_is_01b_and_a_keyed_descriptor_has_24_bits_of_length_and_32_of_key() {
    let expected = entry(&[
        // Read, PSDT 01b, CID, NSID.
        (0, &[0x02, 0x40, 0x34, 0x12, 5, 0, 0, 0]),
        // Address, length, key, type 4h with subtype Fh.
        (24, &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]),
        (32, &[0x00, 0x20, 0x00, 0xdd, 0xcc, 0xbb, 0xaa, 0x4f]),
        // SLBA and NLB, which is 0-based.
        (40, &[0x00, 0x00, 0x00, 0x00, 0x01, 0, 0, 0, 0x0f, 0]),
    ]);
    assert_eq!(bytes(Op::Read, 1 << 32, 16, Placement::Memory(MEMORY)), expected);
}

#[test]
fn subtype_0_asks_for_no_invalidation() {
    let memory = KeyedMemory { invalidate: false, ..MEMORY };
    assert_eq!(bytes(Op::Read, 0, 16, Placement::Memory(memory))[39], 0x40);
    assert_eq!(bytes(Op::Read, 0, 16, Placement::Memory(MEMORY))[39], 0x4f);
}

#[test]
fn a_command_without_data_carries_a_keyed_descriptor_of_length_0() {
    let expected = entry(&[(0, &[0x00, 0x40, 0x34, 0x12, 5]), (39, &[0x40])]);
    assert_eq!(bytes(Op::Flush, 0, 0, Placement::None), expected);
}

#[test]
fn data_in_the_capsule_is_a_data_block_by_offset_0() {
    let expected = entry(&[
        (0, &[0x01, 0x40, 0x34, 0x12, 5]),
        (32, &[0x00, 0x10, 0, 0, 0, 0, 0, 0x01]),
        (40, &[7, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0x40]),
    ]);
    assert_eq!(bytes(Op::Write { fua: true }, 7, 8, Placement::InCapsule { bytes: 4096 }), expected);
}

#[test]
fn only_data_to_the_controller_goes_in_a_capsule() {
    let in_capsule = Placement::InCapsule { bytes: 4096 };
    let error = command(Op::Read, 0, 8).sqe(&in_capsule, CommandId(0)).unwrap_err();
    assert_eq!(error, InvalidRequest::DataLength.into());
    assert!(command(Op::Compare, 0, 8).sqe(&in_capsule, CommandId(0)).is_ok());
}

#[test]
fn zeroes_and_discards() {
    let zeroes = Op::WriteZeroes { fua: true, may_unmap: true };
    let expected =
        entry(&[(0, &[0x08, 0x40, 0x34, 0x12, 5]), (39, &[0x40]), (40, &[3]), (48, &[0xff, 0xff, 0, 0x42])]);
    assert_eq!(bytes(zeroes, 3, 65536, Placement::None), expected);
    let discard = command(Op::Discard, 0x0102, 9);
    let data = [0, 0, 0, 0, 9, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(discard.own_data(), Ok(Some(data)));
    let sqe = discard.sqe(&Placement::InCapsule { bytes: 16 }, CommandId(0x1234)).unwrap();
    let expected = entry(&[(0, &[0x09, 0x40, 0x34, 0x12, 5]), (32, &[16, 0, 0, 0, 0, 0, 0, 1]), (44, &[4])]);
    assert_eq!(sqe.to_bytes(), expected);
    let huge = command(Op::Discard, 0, 1 << 32);
    assert_eq!(huge.own_data(), Err(InvalidRequest::TooLarge));
}

#[test]
fn reservation_commands() {
    let register = ReservationOp::Register {
        action: RegisterAction::Register,
        ignore_existing_key: true,
        persist: PersistChange::Keep,
    };
    let memory = |bytes| Placement::Memory(KeyedMemory { bytes, ..MEMORY });
    assert_eq!(bytes(Op::Reservation(register), 0, 0, memory(16))[0], 0x0d);
    let rtype = ReservationType::WriteExclusive;
    let acquire = ReservationOp::Acquire { action: AcquireAction::Acquire, rtype };
    assert_eq!(bytes(Op::Reservation(acquire), 0, 0, memory(16))[..2], [0x11, 0x40]);
    let release = ReservationOp::Release { action: ReleaseAction::Release, rtype: Some(rtype) };
    assert_eq!(bytes(Op::Reservation(release), 0, 0, memory(8))[40..42], [0, 1]);
    let report = ReservationOp::Report { extended: true };
    assert_eq!(bytes(Op::Reservation(report), 0, 0, memory(64))[40..45], [15, 0, 0, 0, 1]);
    let wrong = command(Op::Reservation(release), 0, 0).sqe(&memory(16), CommandId(0));
    assert_eq!(wrong.unwrap_err(), InvalidRequest::DataLength.into());
}

#[test]
fn what_no_command_can_say_is_refused() {
    let refused =
        |op, blocks, placement: Placement| command(op, 0, blocks).sqe(&placement, CommandId(0)).unwrap_err();
    let memory = Placement::Memory(MEMORY);
    assert_eq!(refused(Op::Read, 0, memory), InvalidRequest::TooLarge.into());
    assert_eq!(refused(Op::Read, 65537, memory), InvalidRequest::TooLarge.into());
    assert_eq!(refused(Op::Read, 1, Placement::None), InvalidRequest::DataLength.into());
    assert_eq!(refused(Op::Flush, 0, memory), InvalidRequest::DataLength.into());
    let long = Placement::Memory(KeyedMemory { bytes: 1 << 24, ..MEMORY });
    assert_eq!(refused(Op::Read, 1, long), InvalidRequest::TooLarge.into());
}

#[test]
fn every_operation_has_one_direction() {
    use DataDirectionOfOp::{FromController, None, ToController};
    let ways = [
        (Op::Read, FromController),
        (Op::Write { fua: false }, ToController),
        (Op::Compare, ToController),
        (Op::Discard, ToController),
        (Op::Flush, None),
        (Op::Verify, None),
        (Op::WriteZeroes { fua: false, may_unmap: false }, None),
        (Op::Reservation(ReservationOp::Report { extended: false }), FromController),
    ];
    for (op, way) in ways {
        assert_eq!(command(op, 0, 1).direction(), way, "{op:?}");
    }
    let verify = entry(&[(0, &[0x0c, 0x40, 0x34, 0x12, 5]), (39, &[0x40])]);
    assert_eq!(bytes(Op::Verify, 0, 1, Placement::None), verify);
}
