//! Requests against the bytes of their commands (NVM, NVM Command Set Commands; Base, I/O Commands).

use block::{BlockRange, BlockSize, Limits, WriteCache};
use dma::{MemoryOptions, Pool, PoolOptions, ScatterList};
use nvme_spec::Lba;
use nvme_spec::command::{AcquireAction, PersistChange, RegisterAction, ReleaseAction};
use nvme_spec::reservation::ReservationType;

use super::*;

const BLOCKS: u64 = 1 << 40;
const SLBA: u64 = 0x89_0123_4567;
const ALL: Abilities = Abilities::all();

fn limited(limits: Limits) -> Geometry {
    Geometry {
        block_size: BlockSize::B512,
        blocks: BLOCKS,
        limits,
        atomic_blocks: 1,
        write_cache: WriteCache::Volatile,
    }
}

fn memory(bytes: u32) -> ScatterList {
    let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
    let pool = Pool::new(PoolOptions { chunk_bytes: 8192, chunks: 1, memory }).unwrap();
    pool.take().unwrap().into_segment().slice(0, bytes).unwrap().into()
}

/// A request of `blocks` blocks with the memory that belongs to it.
fn request(op: Op, start: u64, blocks: u64) -> Request {
    let data =
        if op.has_data() { memory(u32::try_from(blocks * 512).unwrap()) } else { ScatterList::default() };
    Request::new(op, BlockRange::new(Lba(start), blocks), data)
}

fn fill(request: &Request, limits: Limits, abilities: Abilities) -> Result<(Sqe, Inline), IoError> {
    // Whatever was in the slot before must not shine through.
    let mut sqe = Sqe::from_dwords([0xFFFF_FFFF; 16]);
    let ids = (Nsid(0x0102_0304), CommandId(0x1234));
    fill_command(&mut sqe, request, &limited(limits), abilities, ids).map(|inline| (sqe, inline))
}

fn error(request: &Request, limits: Limits, abilities: Abilities) -> Option<IoError> {
    fill(request, limits, abilities).err()
}

/// An entry with this opcode, CID 1234h, NSID 01020304h, dwords 10 to 12, and all else zero.
fn entry(opcode: u8, dwords: [u32; 3]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&[opcode, 0, 0x34, 0x12, 4, 3, 2, 1]);
    for (at, dword) in (40..).step_by(4).zip(dwords) {
        bytes[at..at + 4].copy_from_slice(&dword.to_le_bytes());
    }
    bytes
}

fn assert_entry(request: &Request, opcode: u8, dwords: [u32; 3]) {
    let (sqe, inline) = fill(request, Limits::NONE, ALL).unwrap();
    assert_eq!(sqe.to_bytes(), entry(opcode, dwords), "{:?}", request.op);
    assert_eq!(inline, None, "{:?}", request.op);
}

#[test]
fn every_command_on_blocks() {
    let zeroes = |fua, may_unmap| Op::WriteZeroes { fua, may_unmap };
    // Opcode, and bits 31:24 of CDW12: FUA is bit 30, DEAC bit 25.
    let cases = [
        (Op::Read, 0x02, 0),
        (Op::Write { fua: false }, 0x01, 0),
        (Op::Write { fua: true }, 0x01, 0x4000_0000),
        (Op::Compare, 0x05, 0),
        (zeroes(false, false), 0x08, 0),
        (zeroes(true, false), 0x08, 0x4000_0000),
        (zeroes(false, true), 0x08, 0x0200_0000),
        (zeroes(true, true), 0x08, 0x4200_0000),
        (Op::Verify, 0x0C, 0),
    ];
    for (op, opcode, control) in cases {
        // CDW10-11 SLBA, CDW12 15:0 NLB, 0-based.
        assert_entry(&request(op, SLBA, 8), opcode, [0x0123_4567, 0x89, control | 7]);
        assert_entry(&request(op, 0, 1), opcode, [0, 0, control]);
    }
    assert_entry(&request(Op::Verify, 0, 65536), 0x0C, [0, 0, 0xFFFF]);
    assert_entry(&request(zeroes(false, false), 0, 65536), 0x08, [0, 0, 0xFFFF]);
}

#[test]
fn a_flush_has_the_namespace_only() {
    assert_entry(&Request::flush(), 0x00, [0; 3]);
}

#[test]
fn a_discard_has_its_range_in_memory() {
    let discard = |start, blocks| {
        let (sqe, inline) = fill(&request(Op::Discard, start, blocks), Limits::NONE, ALL).unwrap();
        // CDW10 NR, 0-based; CDW11 bit 2 AD.
        assert_eq!(sqe.to_bytes(), entry(0x09, [0, 4, 0]));
        inline.unwrap()
    };
    // Context attributes 3:0, length in blocks 7:4, SLBA 15:8.
    let bytes = [0, 0, 0, 0, 0x04, 0x03, 0x02, 0x01, 0x67, 0x45, 0x23, 0x01, 0x89, 0, 0, 0];
    assert_eq!(discard(SLBA, 0x0102_0304), bytes);
    assert_eq!(discard(1, 0xFFFF_FFFF), [0, 0, 0, 0, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0]);
}

fn reserve(op: ReservationOp, bytes: u32) -> Request {
    Request::new(Op::Reservation(op), BlockRange::default(), memory(bytes))
}

#[test]
fn every_reservation_register() {
    // RREGA CDW10 2:0, IEKEY 3, CPTPL 31:30.
    let cases = [
        (RegisterAction::Register, false, PersistChange::Keep, 0),
        (RegisterAction::Unregister, false, PersistChange::ReleaseOnPowerLoss, 0x8000_0001),
        (RegisterAction::Replace, true, PersistChange::PersistThroughPowerLoss, 0xC000_000A),
    ];
    for (action, ignore_existing_key, persist, cdw10) in cases {
        let op = ReservationOp::Register { action, ignore_existing_key, persist };
        assert_entry(&reserve(op, 16), 0x0D, [cdw10, 0, 0]);
    }
}

#[test]
fn every_other_reservation_command() {
    // RACQA and RRELA CDW10 2:0, IEKEY 3 (never), RTYPE 15:8.
    for (action, rtype, cdw10) in [
        (AcquireAction::Acquire, ReservationType::WriteExclusive, 0x0100),
        (AcquireAction::Preempt, ReservationType::ExclusiveAccessAllRegistrants, 0x0601),
        (AcquireAction::PreemptAndAbort, ReservationType::WriteExclusiveRegistrantsOnly, 0x0302),
    ] {
        assert_entry(&reserve(ReservationOp::Acquire { action, rtype }, 16), 0x11, [cdw10, 0, 0]);
    }
    for (action, rtype, cdw10) in [
        (ReleaseAction::Release, Some(ReservationType::ExclusiveAccess), 0x0200),
        (ReleaseAction::Clear, None, 0x0001),
    ] {
        assert_entry(&reserve(ReservationOp::Release { action, rtype }, 8), 0x15, [cdw10, 0, 0]);
    }
    // NUMD CDW10, dwords and 0-based; EDS CDW11 bit 0.
    for (extended, cdw11) in [(false, 0), (true, 1)] {
        assert_entry(&reserve(ReservationOp::Report { extended }, 4096), 0x0E, [1023, cdw11, 0]);
        assert_entry(&reserve(ReservationOp::Report { extended }, 4), 0x0E, [0, cdw11, 0]);
    }
}

#[test]
fn a_report_fills_whole_dwords() {
    for bytes in [0, 2, 4094] {
        let report = reserve(ReservationOp::Report { extended: false }, bytes);
        assert_eq!(error(&report, Limits::NONE, ALL), Some(InvalidRequest::DataLength.into()), "{bytes}");
    }
}

#[test]
fn the_range_is_inside_the_namespace() {
    for op in [Op::Read, Op::Verify, Op::Discard, Op::WriteZeroes { fua: false, may_unmap: false }] {
        assert_eq!(error(&request(op, BLOCKS - 1, 1), Limits::NONE, ALL), None, "{op:?}");
        for (start, blocks) in [(0, 0), (BLOCKS, 1), (BLOCKS - 1, 2), (u64::MAX, 2)] {
            let expected = Some(InvalidRequest::Range.into());
            assert_eq!(error(&request(op, start, blocks), Limits::NONE, ALL), expected, "{op:?} {start}");
        }
    }
}

#[test]
fn the_memory_is_as_long_as_the_range() {
    for op in [Op::Read, Op::Write { fua: false }, Op::Compare, Op::Verify, Op::Discard] {
        let mut wrong = request(op, 0, 2);
        wrong.data = memory(512);
        assert_eq!(error(&wrong, Limits::NONE, ALL), Some(InvalidRequest::DataLength.into()), "{op:?}");
    }
}

#[test]
fn each_kind_has_its_own_limit() {
    let limits =
        Limits { transfer_blocks_max: 2, zeroes_blocks_max: 4, discard_blocks_max: 6, ..Limits::NONE };
    let too_large = Some(InvalidRequest::TooLarge.into());
    for (op, most) in [
        (Op::Read, 2),
        (Op::Write { fua: false }, 2),
        (Op::Compare, 2),
        (Op::Verify, 2),
        (Op::WriteZeroes { fua: false, may_unmap: true }, 4),
        (Op::Discard, 6),
    ] {
        assert_eq!(error(&request(op, 0, most), limits, ALL), None, "{op:?}");
        assert_eq!(error(&request(op, 0, most + 1), limits, ALL), too_large, "{op:?}");
    }
}

#[test]
fn what_the_command_cannot_count_is_too_large() {
    let too_large = Some(InvalidRequest::TooLarge.into());
    for op in [Op::Verify, Op::WriteZeroes { fua: false, may_unmap: false }] {
        assert_eq!(error(&request(op, 0, 65537), Limits::NONE, ALL), too_large, "{op:?}");
    }
    assert_eq!(error(&request(Op::Discard, 0, 1 << 32), Limits::NONE, ALL), too_large);
}

#[test]
fn read_only_is_not_unsupported() {
    let zeroes = Op::WriteZeroes { fua: false, may_unmap: false };
    let report = Op::Reservation(ReservationOp::Report { extended: false });
    let ask = |op, abilities| {
        let mut request = request(op, 0, 1);
        if op == report {
            request.data = memory(4);
        }
        error(&request, Limits::NONE, abilities)
    };
    for op in [Op::Read, Op::Flush] {
        assert_eq!(ask(op, Abilities::empty()), None, "{op:?}");
    }
    // Each with exactly what it needs, and with all else but that.
    for (op, needed) in [
        (Op::Write { fua: true }, Abilities::WRITE),
        (zeroes, Abilities::WRITE | Abilities::WRITE_ZEROES),
        (Op::Discard, Abilities::WRITE | Abilities::DISCARD),
        (Op::Compare, Abilities::COMPARE),
        (Op::Verify, Abilities::VERIFY),
        (report, Abilities::RESERVATIONS),
    ] {
        assert_eq!(ask(op, needed), None, "{op:?}");
        let without = if op.changes_data() { IoError::ReadOnly } else { IoError::NotSupported };
        assert_eq!(ask(op, ALL - needed), Some(without), "{op:?}");
    }
    for op in [Op::Compare, Op::Verify, report] {
        assert_eq!(ask(op, Abilities::empty()), Some(IoError::NotSupported), "{op:?}");
    }
    for (op, own) in [(zeroes, Abilities::WRITE_ZEROES), (Op::Discard, Abilities::DISCARD)] {
        assert_eq!(ask(op, ALL - own), Some(IoError::NotSupported), "{op:?}");
        assert_eq!(ask(op, ALL - Abilities::WRITE), Some(IoError::ReadOnly), "{op:?}");
    }
}

#[test]
fn what_a_status_says() {
    // SCT in bits 10:8, SC in bits 7:0, More 13, Do Not Retry 14.
    for aborting in [false, true] {
        for raw in [0x285, 0x6285] {
            assert_eq!(error_of(Status::from_raw(raw), aborting), IoError::Miscompare);
        }
        for raw in [0x020, 0x4020] {
            assert_eq!(error_of(Status::from_raw(raw), aborting), IoError::ReadOnly);
        }
        // Invalid Field, LBA out of Range, Unrecovered Read Error; SC 07h, 20h and 85h of other types.
        for raw in [0x4002, 0x080, 0x281, 0x107, 0x120, 0x085] {
            let status = Status::from_raw(raw);
            assert_eq!(error_of(status, aborting), IoError::Device(status), "{raw:#x}");
        }
    }
}

#[test]
fn an_abort_is_a_timeout_only_if_we_asked_for_it() {
    // Command Abort Requested, Aborted due to SQ Deletion, Command Aborted By Host.
    for raw in [0x007, 0x4007, 0x008, 0x371] {
        let status = Status::from_raw(raw);
        assert_eq!(error_of(status, true), IoError::TimedOut, "{raw:#x}");
        assert_eq!(error_of(status, false), IoError::Device(status), "{raw:#x}");
    }
}

/// Once, a register with less memory than its data structure made the drive read beyond it.
#[test]
fn a_reservation_carries_its_whole_data_structure() {
    let register = ReservationOp::Register {
        action: RegisterAction::Register,
        ignore_existing_key: false,
        persist: PersistChange::Keep,
    };
    let acquire =
        ReservationOp::Acquire { action: AcquireAction::Acquire, rtype: ReservationType::WriteExclusive };
    let release = ReservationOp::Release { action: ReleaseAction::Clear, rtype: None };
    let wrong = [(register, 4), (register, 32), (acquire, 8), (release, 16), (release, 4)];
    for (op, bytes) in wrong {
        let refused = error(&reserve(op, bytes), Limits::NONE, Abilities::all());
        assert_eq!(refused, Some(InvalidRequest::DataLength.into()), "{op:?} with {bytes} bytes");
    }
    assert_eq!(error(&reserve(register, 16), Limits::NONE, Abilities::all()), None);
    assert_eq!(error(&reserve(release, 8), Limits::NONE, Abilities::all()), None);
}
