use block::{BlockRange, IoError, Op, ReservationOp};
use nvme_spec::{Lba, Nsid, Sqe, Status, StatusCode};

use super::*;
use crate::controller::testing::SUBSYSTEM;
use crate::controller::testing::{KEY, entry, keyed};
use crate::controller::tests::{Rig, info, nqn, with_null_sgl};
use crate::controller::{KeyedMemory, Transfer};

const MEMORY: KeyedMemory =
    KeyedMemory { address: 0x7f00_0000_1000, bytes: 4096, key: KEY, invalidate: true };

fn queue() -> (Rig, Box<IoQueue>) {
    let mut rig = Rig::new();
    let (_, queue) = rig.io_queue();
    (rig, queue)
}

fn take(queue: &mut IoQueue, sqe: Sqe, data: &[u8]) -> IoAction {
    let mut message = sqe.to_bytes().to_vec();
    message.extend_from_slice(data);
    queue.handle_message(&message)
}

fn executed(queue: &mut IoQueue, sqe: Sqe) -> IoCommand {
    match take(queue, sqe, &[]) {
        IoAction::Execute(command) => command,
        other => panic!("{other:?}"),
    }
}

fn refused(queue: &mut IoQueue, sqe: Sqe) -> Status {
    match take(queue, sqe, &[]) {
        IoAction::Respond(response) => response.cqe.status(),
        other => panic!("{other:?}"),
    }
}

/// One block of 4 KiB at LBA 5.
fn one_block(opcode: u8) -> Sqe {
    entry(opcode, 1, keyed(4096), [5, 0, 0, 0, 0, 0])
}

fn in_capsule(offset: u64, bytes: u32) -> [u8; 16] {
    let mut descriptor = [0; 16];
    descriptor[..8].copy_from_slice(&offset.to_le_bytes());
    descriptor[8..12].copy_from_slice(&bytes.to_le_bytes());
    descriptor[15] = 0x01;
    descriptor
}

#[test]
fn reads_and_writes_say_where_their_data_goes() {
    let (_, mut queue) = queue();
    let at = BlockRange::new(Lba(5), 1);
    let read = executed(&mut queue, one_block(0x02));
    assert_eq!((read.op, read.nsid, read.range), (Op::Read, Nsid(1), at));
    assert_eq!(read.transfer, Transfer::ToHost(MEMORY));
    let write = executed(&mut queue, one_block(0x01));
    assert_eq!((write.op, write.range), (Op::Write { fua: false }, at));
    assert_eq!(write.transfer, Transfer::FromHost(MEMORY));
    assert_ne!(read.slot, write.slot);
    let response = queue.complete(read.slot, Ok(()));
    assert_eq!(response.invalidate, Some(KEY), "exactly that key");
    assert_eq!((response.cqe.cid().0, response.cqe.sqhd()), (0xf005, 2));
    assert_eq!(queue.complete(write.slot, Ok(())).cqe.sqhd(), 3);
    assert_eq!(queue.in_flight(), 0);
}

#[test]
fn the_cid_is_echoed_as_it_came_and_never_an_index() {
    let (_, mut queue) = queue();
    let slots: Vec<Slot> = (0..3).map(|_| executed(&mut queue, one_block(0x02)).slot).collect();
    assert!(slots.iter().all(|slot| slot.index() < 32), "though the identifier is F005h");
    for slot in slots.into_iter().rev() {
        assert_eq!(queue.complete(slot, Ok(())).cqe.cid().0, 0xf005, "equal ones are tolerated");
    }
}

#[test]
fn fua_and_deallocate_reach_the_device() {
    let (_, mut queue) = queue();
    let write = entry(0x01, 1, keyed(4096), [0, 0, 1 << 30, 0, 0, 0]);
    assert_eq!(executed(&mut queue, write).op, Op::Write { fua: true });
    let zeroes = with_null_sgl(entry(0x08, 1, [0; 16], [0, 0, 1 << 30 | 1 << 25 | 9, 0, 0, 0]));
    let command = executed(&mut queue, zeroes);
    assert_eq!(command.op, Op::WriteZeroes { fua: true, may_unmap: true });
    assert_eq!((command.range.blocks, command.transfer), (10, Transfer::None));
    let flush = executed(&mut queue, with_null_sgl(entry(0x00, 1, [0; 16], [0; 6])));
    assert_eq!((flush.op, flush.transfer), (Op::Flush, Transfer::None));
    let everywhere = with_null_sgl(entry(0x00, 0xffff_ffff, [0; 16], [0; 6]));
    let invalid = Status::permanent(StatusCode::INVALID_NAMESPACE_OR_FORMAT);
    assert_eq!(refused(&mut queue, everywhere), invalid);
}

#[test]
fn in_capsule_data_is_taken_from_where_it_lies() {
    let (_, mut queue) = queue();
    let write = entry(0x01, 1, in_capsule(0, 4096), [5, 0, 0, 0, 0, 0]);
    let IoAction::Execute(command) = take(&mut queue, write, &[7; 4096]) else { panic!("refused") };
    assert_eq!(command.transfer, Transfer::InCapsule { offset: 0, bytes: 4096 });
    assert_eq!(queue.complete(command.slot, Ok(())).invalidate, None);
    let cut_off = take(&mut queue, write, &[7; 4095]);
    let IoAction::Respond(response) = cut_off else { panic!("{cut_off:?}") };
    assert_eq!(response.cqe.status(), Status::permanent(StatusCode::SGL_OFFSET_INVALID));
    let read = entry(0x02, 1, in_capsule(0, 4096), [5, 0, 0, 0, 0, 0]);
    assert_eq!(refused(&mut queue, read), Status::permanent(StatusCode::SGL_DESCRIPTOR_TYPE_INVALID));
}

#[test]
fn ranges_must_be_inside_and_never_overflow() {
    let (_, mut queue) = queue();
    let outside = Status::permanent(StatusCode::LBA_OUT_OF_RANGE);
    for (low, high, zero_based) in
        [(1000, 0, 0), (999, 0, 1), (u32::MAX, u32::MAX, 0), (u32::MAX, u32::MAX, 0xffff)]
    {
        let read = entry(0x02, 1, keyed(4096), [low, high, zero_based, 0, 0, 0]);
        assert_eq!(refused(&mut queue, read), outside);
    }
    assert_eq!(executed(&mut queue, entry(0x02, 1, keyed(4096), [999, 0, 0, 0, 0, 0])).range.blocks, 1);
}

#[test]
fn more_than_mdts_or_another_length_is_refused() {
    let (_, mut queue) = queue();
    let largest = entry(0x02, 1, keyed(1 << 20), [0, 0, 255, 0, 0, 0]);
    assert_eq!(executed(&mut queue, largest).range.blocks, 256);
    let larger = entry(0x02, 1, keyed((1 << 20) + 4096), [0, 0, 256, 0, 0, 0]);
    assert_eq!(refused(&mut queue, larger), Status::permanent(StatusCode::INVALID_FIELD));
    let wrong = Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID);
    for bytes in [0, 4092, 8192] {
        assert_eq!(refused(&mut queue, entry(0x02, 1, keyed(bytes), [0; 6])), wrong);
    }
}

#[test]
fn ranges_to_deallocate_may_come_in_a_larger_buffer() {
    let (_, mut queue) = queue();
    for bytes in [16, 4096] {
        assert_eq!(executed(&mut queue, entry(0x09, 1, keyed(bytes), [0, 4, 0, 0, 0, 0])).op, Op::Discard);
    }
    let wrong = Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID);
    assert_eq!(refused(&mut queue, entry(0x09, 1, keyed(16), [1, 4, 0, 0, 0, 0])), wrong);
}

#[test]
fn what_a_namespace_cannot_do_is_refused_in_the_specifications_words() {
    let (mut rig, mut queue) = queue();
    let mut read_only = info(2);
    read_only.abilities = block::Abilities::empty();
    rig.target.add_namespace(&nqn(SUBSYSTEM), read_only).unwrap();
    queue.set_namespaces(rig.target.namespaces(queue.controller()));
    let on = |opcode, nsid| entry(opcode, nsid, keyed(4096), [0; 6]);
    let bare = |opcode, nsid| with_null_sgl(entry(opcode, nsid, [0; 16], [0; 6]));
    let invalid_opcode = Status::permanent(StatusCode::INVALID_OPCODE);
    let protected = Status::permanent(StatusCode::NAMESPACE_IS_WRITE_PROTECTED);
    let deallocate = entry(0x09, 2, keyed(16), [0, 4, 0, 0, 0, 0]);
    for (sqe, status) in [
        (on(0x01, 2), protected),
        (bare(0x08, 2), protected),
        (deallocate, protected),
        (on(0x05, 2), invalid_opcode),
        (bare(0x0c, 2), invalid_opcode),
        (bare(0x04, 1), invalid_opcode),
        (on(0x19, 1), invalid_opcode),
        (on(0x80, 1), invalid_opcode),
        (on(0x02, 3), Status::permanent(StatusCode::INVALID_FIELD)),
        (on(0x02, 0), Status::permanent(StatusCode::INVALID_NAMESPACE_OR_FORMAT)),
        (on(0x02, 1025), Status::permanent(StatusCode::INVALID_NAMESPACE_OR_FORMAT)),
    ] {
        assert_eq!(refused(&mut queue, sqe), status, "{sqe:?}");
    }
    assert_eq!(executed(&mut queue, on(0x02, 2)).nsid, Nsid(2));
}

#[test]
fn fused_commands_are_refused() {
    let (_, mut queue) = queue();
    let mut bytes = one_block(0x05).to_bytes();
    bytes[1] |= 0b01;
    let refused = refused(&mut queue, Sqe::from_bytes(&bytes));
    assert_eq!(refused, Status::permanent(StatusCode::INVALID_FIELD));
}

#[test]
fn discards_have_their_ranges_in_their_data() {
    let (_, mut queue) = queue();
    let mut data = [0; 48];
    data[4..8].copy_from_slice(&10_u32.to_le_bytes());
    data[8..16].copy_from_slice(&90_u64.to_le_bytes());
    data[36..40].copy_from_slice(&1_u32.to_le_bytes());
    data[40..48].copy_from_slice(&999_u64.to_le_bytes());
    let discard = entry(0x09, 1, keyed(48), [2, 4, 0, 0, 0, 0]);
    let command = executed(&mut queue, discard);
    assert_eq!(
        (command.op, command.transfer),
        (Op::Discard, Transfer::FromHost(KeyedMemory { bytes: 48, ..MEMORY }))
    );
    let mut ranges = Vec::new();
    assert_eq!(queue.discard_ranges(command.slot, &data, &mut ranges), Ok(()));
    assert_eq!(
        ranges,
        [BlockRange::new(Lba(90), 10), BlockRange::new(Lba(999), 1)],
        "empty ones are nothing"
    );
    assert!(queue.complete(command.slot, Ok(())).cqe.status().is_success());
    data[36] = 2;
    ranges.clear();
    let command = executed(&mut queue, discard);
    let response = queue.discard_ranges(command.slot, &data, &mut ranges).unwrap_err();
    assert_eq!(response.cqe.status(), Status::permanent(StatusCode::LBA_OUT_OF_RANGE));
    assert_eq!((ranges.len(), queue.in_flight(), response.invalidate), (0, 0, Some(KEY)));
    let hint = refused(&mut queue, entry(0x09, 1, keyed(16), [0, 1, 0, 0, 0, 0]));
    assert_eq!(hint, Status::SUCCESS, "no Deallocate: only a hint");
}

#[test]
fn reservations_are_recognised_and_invalid_unless_the_namespace_has_them() {
    let (mut rig, mut queue) = queue();
    let register = |nsid| entry(0x0d, nsid, keyed(16), [0; 6]);
    let invalid = Status::permanent(StatusCode::INVALID_OPCODE);
    assert_eq!(refused(&mut queue, register(1)), invalid);
    let mut with = info(2);
    with.abilities |= block::Abilities::RESERVATIONS;
    rig.target.add_namespace(&nqn(SUBSYSTEM), with).unwrap();
    queue.set_namespaces(rig.target.namespaces(queue.controller()));
    let command = executed(&mut queue, register(2));
    assert!(matches!(command.op, Op::Reservation(ReservationOp::Register { .. })));
    assert_eq!(command.transfer, Transfer::FromHost(KeyedMemory { bytes: 16, ..MEMORY }));
    let report = executed(&mut queue, entry(0x0e, 2, keyed(64), [15, 1, 0, 0, 0, 0]));
    assert_eq!(report.op, Op::Reservation(ReservationOp::Report { extended: true }));
    assert_eq!(report.transfer, Transfer::ToHost(KeyedMemory { bytes: 64, ..MEMORY }));
    let acquire_1_x = entry(0x11, 2, keyed(16), [1 << 3 | 1 << 8, 0, 0, 0, 0, 0]);
    assert_eq!(refused(&mut queue, acquire_1_x), Status::permanent(StatusCode::INVALID_FIELD));
}

#[test]
fn more_commands_than_the_queue_holds_and_short_messages_end_the_connection() {
    let (_, mut queue) = queue();
    for _ in 0..32 {
        executed(&mut queue, one_block(0x02));
    }
    assert_eq!(take(&mut queue, one_block(0x02), &[]), IoAction::Fatal(Violation::QueueOverrun));
    assert_eq!(queue.handle_message(&[0; 63]), IoAction::Fatal(Violation::CapsuleTooShort));
}

#[test]
fn fabrics_commands_on_an_io_queue() {
    let (_, mut queue) = queue();
    let fabrics = |kind| with_null_sgl(entry(0x7f, kind, [0; 16], [0; 6]));
    for (kind, code) in [
        (0x00, StatusCode::FABRICS_INVALID_QUEUE_TYPE),
        (0x04, StatusCode::FABRICS_INVALID_QUEUE_TYPE),
        (0x01, StatusCode::COMMAND_SEQUENCE_ERROR),
        (0x05, StatusCode::INVALID_OPCODE),
        (0x44, StatusCode::INVALID_OPCODE),
    ] {
        assert_eq!(refused(&mut queue, fabrics(kind)), Status::permanent(code));
    }
    let another_format = with_null_sgl(entry(0x7f, 0x08, [0; 16], [1, 0, 0, 0, 0, 0]));
    let incompatible = Status::permanent(StatusCode::FABRICS_INCOMPATIBLE_FORMAT);
    assert_eq!(refused(&mut queue, another_format), incompatible);
    assert!(matches!(take(&mut queue, fabrics(0x08), &[]), IoAction::RespondAndClose(_)));
    assert_eq!(take(&mut queue, one_block(0x02), &[]), IoAction::Fatal(Violation::Disconnected));
}

#[test]
fn a_devices_error_is_the_commands_status() {
    let (_, mut queue) = queue();
    let slot = executed(&mut queue, one_block(0x01)).slot;
    let response = queue.complete(slot, Err(IoError::Reset));
    assert_eq!(response.cqe.status(), Status::new(StatusCode::COMMAND_INTERRUPTED));
    assert_eq!(response.invalidate, Some(KEY));
    let slot = executed(&mut queue, one_block(0x01)).slot;
    let response = queue.complete_transfer_failed(slot);
    assert_eq!(response.cqe.status(), Status::new(StatusCode::DATA_TRANSFER_ERROR));
}

#[test]
fn a_namespace_that_went_is_inactive_and_what_runs_on_it_ends() {
    let (mut rig, mut queue) = queue();
    let slot = executed(&mut queue, one_block(0x02)).slot;
    rig.target.remove_namespace(&nqn(SUBSYSTEM), Nsid(1)).unwrap();
    queue.set_namespaces(rig.target.namespaces(queue.controller()));
    assert_eq!(refused(&mut queue, one_block(0x02)), Status::permanent(StatusCode::INVALID_FIELD));
    let status = queue.complete(slot, Err(IoError::Gone)).cqe.status();
    assert_eq!(status, Status::new(StatusCode::NAMESPACE_NOT_READY));
}

proptest::proptest! {
    #[test]
    fn any_message_is_answered_once_or_ends_the_connection(
        messages in proptest::collection::vec(
            proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), 1..40),
        opcodes in proptest::collection::vec(0_u8..0x12, 40),
    ) {
        let (_, mut queue) = queue();
        for (mut message, opcode) in messages.into_iter().zip(opcodes) {
            // Half of them get past the first check.
            if message.len() >= 64 && opcode % 2 == 0 {
                message[..8].copy_from_slice(&[opcode / 2, 0x40, 0, 0, 1, 0, 0, 0]);
                message[39] = 0x40;
            }
            let before = queue.in_flight();
            match queue.handle_message(&message) {
                IoAction::Execute(command) => {
                    proptest::prop_assert!(command.range.fits(1000));
                    if command.op == Op::Discard {
                        let ranges = queue.discard_ranges(command.slot, &message, &mut Vec::new());
                        proptest::prop_assert_eq!(queue.in_flight(), before + u16::from(ranges.is_ok()));
                    }
                }
                IoAction::Fatal(_) => return Ok(()),
                IoAction::Respond(_) | IoAction::RespondAndClose(_) => {
                    proptest::prop_assert_eq!(queue.in_flight(), before);
                }
            }
        }
    }
}
