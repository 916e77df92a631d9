use super::*;
use crate::ids::{CommandId, ControllerId, Nsid, QueueId};
use crate::lba::{BlockCount, Lba};
use crate::reservation::ReservationType;

const CID: CommandId = CommandId(0x1234);
const NSID: Nsid = Nsid(5);

/// An entry with this opcode, CID 1234h, NSID and dwords 10 to 15, byte by byte.
fn entry(opcode: u8, nsid: u32, dwords: [u32; 6]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..4].copy_from_slice(&[opcode, 0, 0x34, 0x12]);
    bytes[4..8].copy_from_slice(&nsid.to_le_bytes());
    for (index, dword) in dwords.into_iter().enumerate() {
        bytes[40 + 4 * index..44 + 4 * index].copy_from_slice(&dword.to_le_bytes());
    }
    bytes
}

fn both_ways_nvm(bytes: [u8; 64], command: NvmCommand) {
    assert_eq!(NvmCommand::try_from(&Sqe::from_bytes(&bytes)), Ok(command));
    assert_eq!(command.sqe(CID).to_bytes(), bytes, "{command:?}");
}

fn both_ways_admin(bytes: [u8; 64], command: AdminCommand) {
    assert_eq!(AdminCommand::try_from(&Sqe::from_bytes(&bytes)), Ok(command));
    assert_eq!(command.sqe(CID).to_bytes(), bytes, "{command:?}");
}

#[test]
fn block_commands() {
    // NVM, Write command: SLBA CDW10-11, NLB CDW12 15:0, DTYPE 23:20, STC 24, PRINFO 29:26,
    // FUA 30, LR 31; DSM CDW13 7:0, DSPEC 31:16; ILBRT CDW14; LBAT CDW15 15:0, LBATM 31:16.
    let dwords = [0x5566_7788, 0x1122_3344, 0xF410_0007, 0xABCD_0042, 0xDEAD_BEEF, 0xFFFF_0A0B];
    let io = BlockIo {
        nsid: NSID,
        range: crate::lba::LbaRange::new(Lba(0x1122_3344_5566_7788), BlockCount::new(8).unwrap()),
        control: IoControl::LIMITED_RETRY
            | IoControl::FORCE_UNIT_ACCESS
            | IoControl::PROTECTION_ACTION
            | IoControl::CHECK_GUARD
            | IoControl::CHECK_REFERENCE_TAG,
        directive_type: 1,
        directive_specific: 0xABCD,
        dataset: 0x42,
        tags: ProtectionTags { reference: 0xDEAD_BEEF, application: 0x0A0B, application_mask: 0xFFFF },
    };
    both_ways_nvm(entry(0x01, 5, dwords), NvmCommand::Write(io));
    both_ways_nvm(entry(0x02, 5, dwords), NvmCommand::Read(io));
    both_ways_nvm(entry(0x04, 5, dwords), NvmCommand::WriteUncorrectable(io));
    both_ways_nvm(entry(0x05, 5, dwords), NvmCommand::Compare(io));
    both_ways_nvm(entry(0x08, 5, dwords), NvmCommand::WriteZeroes(io));
    both_ways_nvm(entry(0x0C, 5, dwords), NvmCommand::Verify(io));
}

#[test]
fn each_control_bit() {
    // CDW12: STC 24, DEAC 25 (NVM, Write Zeroes), PRCHK 28:26 (reference, application, guard), PRACT 29, FUA
    // 30, LR 31.
    let flags = [
        IoControl::STORAGE_TAG_CHECK,
        IoControl::DEALLOCATE,
        IoControl::CHECK_REFERENCE_TAG,
        IoControl::CHECK_APPLICATION_TAG,
        IoControl::CHECK_GUARD,
        IoControl::PROTECTION_ACTION,
        IoControl::FORCE_UNIT_ACCESS,
        IoControl::LIMITED_RETRY,
    ];
    for (bit, flag) in (24..32).zip(flags) {
        let io = BlockIo::new(NSID, Lba(0), BlockCount::ONE).with_control(flag);
        both_ways_nvm(entry(0x08, 5, [0, 0, 1 << bit, 0, 0, 0]), NvmCommand::WriteZeroes(io));
    }
}

#[test]
fn flush_and_dataset_management() {
    both_ways_nvm(entry(0x00, 0xFFFF_FFFF, [0; 6]), NvmCommand::Flush(Nsid::ALL));
    // NVM, Dataset Management: NR CDW10 7:0, 0-based; IDR, IDW, AD in CDW11 2:0.
    let trim = DatasetManagement::deallocate(NSID, RangeCount::new(256).unwrap());
    both_ways_nvm(entry(0x09, 5, [0xFF, 4, 0, 0, 0, 0]), NvmCommand::DatasetManagement(trim));
    assert_eq!((trim.ranges.bytes(), RangeCount::MAX.get()), (4096, 256));
    assert_eq!((RangeCount::new(0), RangeCount::new(257)), (None, None));
}

#[test]
fn dataset_range() {
    // NVM, Dataset Management Range Definition: context attributes 3:0, length 7:4, SLBA 15:8.
    let bytes = [1, 2, 3, 4, 0x10, 0, 0, 0x80, 8, 7, 6, 5, 4, 3, 2, 1];
    let range =
        DsmRange { context_attributes: 0x0403_0201, blocks: 0x8000_0010, slba: Lba(0x0102_0304_0506_0708) };
    assert_eq!((DsmRange::from_bytes(&bytes), range.to_bytes()), (Ok(range), bytes));
    assert_eq!(DsmRange { slba: Lba(u64::MAX), blocks: 1, context_attributes: 0 }.end(), None);
    assert_eq!(DsmRange { slba: Lba(u64::MAX), blocks: 0, context_attributes: 0 }.end(), Some(Lba(u64::MAX)));
}

#[test]
fn reservation_commands() {
    // Base, Reservation Register: RREGA CDW10 2:0, IEKEY 3, CPTPL 31:30.
    let register = ReservationRegister {
        nsid: NSID,
        action: RegisterAction::Replace,
        ignore_existing_key: true,
        persist: PersistChange::PersistThroughPowerLoss,
    };
    both_ways_nvm(entry(0x0D, 5, [0xC000_000A, 0, 0, 0, 0, 0]), NvmCommand::ReservationRegister(register));
    // Base, Reservation Acquire: RACQA 2:0, IEKEY 3, RTYPE 15:8.
    let acquire = ReservationAcquire {
        nsid: NSID,
        action: AcquireAction::PreemptAndAbort,
        ignore_existing_key: false,
        rtype: ReservationType::WriteExclusiveRegistrantsOnly,
    };
    both_ways_nvm(entry(0x11, 5, [0x0302, 0, 0, 0, 0, 0]), NvmCommand::ReservationAcquire(acquire));
    // Base, Reservation Release: RRELA 2:0, IEKEY 3, RTYPE 15:8.
    let release = ReservationRelease {
        nsid: NSID,
        action: ReleaseAction::Release,
        ignore_existing_key: true,
        rtype: Some(ReservationType::ExclusiveAccess),
    };
    both_ways_nvm(entry(0x15, 5, [0x0208, 0, 0, 0, 0, 0]), NvmCommand::ReservationRelease(release));
    let clear = ReservationRelease {
        action: ReleaseAction::Clear,
        ignore_existing_key: false,
        rtype: None,
        ..release
    };
    both_ways_nvm(entry(0x15, 5, [0x0001, 0, 0, 0, 0, 0]), NvmCommand::ReservationRelease(clear));
    // Base, Reservation Report: NUMD CDW10, EDS CDW11 bit 0.
    let report =
        ReservationReport { nsid: NSID, length: DwordCount::from_bytes(4096).unwrap(), extended: true };
    both_ways_nvm(entry(0x0E, 5, [0x3FF, 1, 0, 0, 0, 0]), NvmCommand::ReservationReport(report));
}

#[test]
fn reserved_reservation_values_are_invalid_fields() {
    let decode =
        |opcode, cdw10| NvmCommand::try_from(&Sqe::from_bytes(&entry(opcode, 5, [cdw10, 0, 0, 0, 0, 0])));
    for cdw10 in (3..8).chain([0x4000_0000]) {
        assert_eq!(decode(0x0D, cdw10), Err(INVALID_FIELD), "register {cdw10:#x}");
    }
    for cdw10 in (0x0103..0x0108).chain([0x0000, 0x0700, 0xFF00]) {
        assert_eq!(decode(0x11, cdw10), Err(INVALID_FIELD), "acquire {cdw10:#x}");
    }
    for cdw10 in (0x0102..0x0108).chain([0x0000, 0x0700]) {
        assert_eq!(decode(0x15, cdw10), Err(INVALID_FIELD), "release {cdw10:#x}");
    }
}

#[test]
fn queue_commands() {
    // Base, Create I/O Submission Queue: QID CDW10 15:0, QSIZE 31:16 0-based; PC CDW11 0, QPRIO 2:1, CQID
    // 31:16; NVMSETID CDW12.
    let sq = CreateIoSq {
        qid: QueueId(3),
        size: QueueSize::new(1024).unwrap(),
        prp1: 0x0102_0304_0506_0000,
        contiguous: true,
        priority: QueuePriority::Medium,
        cqid: QueueId(2),
        nvmsetid: 9,
    };
    let mut bytes = entry(0x01, 0, [0x03FF_0003, 0x0002_0005, 9, 0, 0, 0]);
    bytes[24..32].copy_from_slice(&[0, 0, 6, 5, 4, 3, 2, 1]);
    both_ways_admin(bytes, AdminCommand::CreateIoSq(sq));
    // Base, Create I/O Completion Queue: PC CDW11 0, IEN 1, IV 31:16.
    let cq = CreateIoCq {
        qid: QueueId(2),
        size: QueueSize::new(2).unwrap(),
        prp1: 0x1000,
        contiguous: true,
        interrupt_vector: Some(7),
    };
    let mut bytes = entry(0x05, 0, [0x0001_0002, 0x0007_0003, 0, 0, 0, 0]);
    bytes[25] = 0x10;
    both_ways_admin(bytes, AdminCommand::CreateIoCq(cq));
    bytes[44..48].copy_from_slice(&[1, 0, 0, 0]);
    both_ways_admin(bytes, AdminCommand::CreateIoCq(CreateIoCq { interrupt_vector: None, ..cq }));
    both_ways_admin(entry(0x00, 0, [3, 0, 0, 0, 0, 0]), AdminCommand::DeleteIoSq(QueueId(3)));
    both_ways_admin(entry(0x04, 0, [2, 0, 0, 0, 0, 0]), AdminCommand::DeleteIoCq(QueueId(2)));
}

#[test]
fn a_queue_has_two_entries_at_least() {
    for opcode in [0x01, 0x05] {
        let sqe = Sqe::from_bytes(&entry(opcode, 0, [0x0000_0001, 1, 0, 0, 0, 0]));
        let expected = Status::permanent(StatusCode::INVALID_QUEUE_SIZE);
        assert_eq!(AdminCommand::try_from(&sqe), Err(expected));
    }
    assert_eq!((QueueSize::new(1), QueueSize::new(65537)), (None, None));
    assert_eq!(QueueSize::new(65536).map(QueueSize::zero_based), Some(0xFFFF));
}

#[test]
fn get_log_page() {
    // Base, Get Log Page: LID CDW10 7:0, LSP 14:8, RAE 15, NUMDL 31:16; NUMDU CDW11 15:0, LSI 31:16;
    // LPO CDW12-13; UUID index CDW14 6:0, OT 23, CSI 31:24.
    let page = GetLogPage {
        lid: LogPageId::ASYMMETRIC_NAMESPACE_ACCESS,
        nsid: Nsid::ALL,
        length: DwordCount::from_bytes(0x0002_0004 * 4).unwrap(),
        offset: 0x1122_3344_5566_7788,
        lsp: 0x41,
        lsi: 0xBEEF,
        retain_event: true,
        index_offset: true,
        csi: 2,
        uuid_index: 0x55,
    };
    let dwords = [0x0003_C10C, 0xBEEF_0002, 0x5566_7788, 0x1122_3344, 0x0280_0055, 0];
    both_ways_admin(entry(0x02, 0xFFFF_FFFF, dwords), AdminCommand::GetLogPage(page));
    let odd = Sqe::from_bytes(&entry(0x02, 0, [0x0003_0002, 0, 2, 0, 0, 0]));
    assert_eq!(AdminCommand::try_from(&odd), Err(INVALID_FIELD));
    assert_eq!(GetLogPage::new(LogPageId::SMART_HEALTH, page.length).with_offset(8).offset, 8);
}

#[test]
fn dword_counts() {
    assert_eq!(DwordCount::from_bytes(4).map(DwordCount::zero_based), Some(0));
    assert_eq!(DwordCount::from_bytes(1 << 34).map(DwordCount::zero_based), Some(u32::MAX));
    assert_eq!(DwordCount::from_zero_based(u32::MAX).bytes(), 1 << 34);
    for bytes in [0, 3, 6, (1 << 34) + 4, u64::MAX] {
        assert_eq!(DwordCount::from_bytes(bytes), None, "{bytes}");
    }
}

#[test]
fn identify() {
    // Base, Identify: CNS CDW10 7:0, CNTID 31:16; CNS specific CDW11 15:0, CSI 31:24; UUID index CDW14.
    let identify = Identify {
        cns: Cns::COMMAND_SET_NAMESPACE,
        nsid: NSID,
        cntid: ControllerId(0x0102),
        cns_specific: 0x0304,
        csi: CommandSetId::ZONED,
        uuid_index: 1,
    };
    both_ways_admin(entry(0x06, 5, [0x0102_0005, 0x0200_0304, 0, 0, 1, 0]), AdminCommand::Identify(identify));
    let plain = Identify::new(Cns::CONTROLLER, Nsid::NONE);
    both_ways_admin(entry(0x06, 0, [1, 0, 0, 0, 0, 0]), AdminCommand::Identify(plain));
}

#[test]
fn features() {
    // Base, Set Features: FID CDW10 7:0, SV 31. Get Features: SEL CDW10 10:8.
    let set = SetFeatures { save: true, ..SetFeatures::value(FeatureId::NUMBER_OF_QUEUES, 0x0007_0007) };
    both_ways_admin(entry(0x09, 0, [0x8000_0007, 0x0007_0007, 0, 0, 0, 0]), AdminCommand::SetFeatures(set));
    let get = GetFeatures { select: Select::Supported, ..GetFeatures::current(FeatureId::HOST_IDENTIFIER) };
    both_ways_admin(entry(0x0A, 0, [0x0381, 0, 0, 0, 0, 0]), AdminCommand::GetFeatures(get));
    for select in 4..8 {
        let sqe = Sqe::from_bytes(&entry(0x0A, 0, [select << 8 | 1, 0, 0, 0, 0, 0]));
        assert_eq!(AdminCommand::try_from(&sqe), Err(INVALID_FIELD));
    }
    assert_eq!(FeatureId::KEEP_ALIVE_TIMER.to_string(), "Keep Alive Timer");
    assert_eq!(FeatureId(0xC0).to_string(), "0xc0");
}

#[test]
fn small_admin_commands() {
    // Base, Abort: SQID CDW10 15:0, CID 31:16.
    let abort = AdminCommand::Abort { sqid: QueueId(3), cid: CommandId(0xABCD) };
    both_ways_admin(entry(0x08, 0, [0xABCD_0003, 0, 0, 0, 0, 0]), abort);
    both_ways_admin(entry(0x0C, 0, [0; 6]), AdminCommand::AsyncEventRequest);
    both_ways_admin(entry(0x18, 0, [0; 6]), AdminCommand::KeepAlive);
    let mut bytes = entry(0x7C, 0, [0; 6]);
    (bytes[25], bytes[33]) = (0x10, 0x20);
    both_ways_admin(bytes, AdminCommand::DoorbellBufferConfig { shadow: 0x1000, event_idx: 0x2000 });
}

#[test]
fn every_opcode_decodes_or_is_invalid() {
    let modelled_nvm = [0x00, 0x01, 0x02, 0x04, 0x05, 0x08, 0x09, 0x0C, 0x0D, 0x0E, 0x11, 0x15];
    let modelled_admin = [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0A, 0x0C, 0x18, 0x7C];
    for opcode in 0..=u8::MAX {
        // CDW10 0101 0100h: an NVM reservation type of 1 and a queue size of 258, both valid.
        let sqe = Sqe::from_bytes(&entry(opcode, 1, [0x0101_0100, 0, 0, 0, 0, 0]));
        let nvm = NvmCommand::try_from(&sqe);
        let admin = AdminCommand::try_from(&sqe);
        assert_eq!(
            nvm.map(|command| command.opcode().raw()).ok(),
            modelled_nvm.contains(&opcode).then_some(opcode)
        );
        assert_eq!(
            admin.map(|command| command.opcode().raw()).ok(),
            modelled_admin.contains(&opcode).then_some(opcode)
        );
        assert!(nvm.is_ok() || nvm == Err(INVALID_OPCODE));
        assert!(admin.is_ok() || admin == Err(INVALID_OPCODE));
    }
}

#[test]
fn reserved_fuse_and_psdt_are_invalid_fields() {
    for dw0 in [0x0000_0302, 0x0000_C002] {
        let mut dwords = [0; 16];
        dwords[0] = dw0;
        let sqe = Sqe::from_dwords(dwords);
        assert_eq!(NvmCommand::try_from(&sqe), Err(INVALID_FIELD));
        assert_eq!(AdminCommand::try_from(&sqe), Err(INVALID_FIELD));
    }
    assert_eq!((INVALID_FIELD.raw(), INVALID_OPCODE.raw()), (0x4002, 0x4001));
}
