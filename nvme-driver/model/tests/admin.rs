//! Admin commands and their errors, byte by byte. Status codes are those of Base Figures 102 and 103.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod host;

use host::{CC, CC_ENABLE, CSTS, DATA, Host, block_io, sqe};
use nvme_driver::PciFunction;
use nvme_model::{
    Action, ControllerOptions, CriticalWarningBit, MemoryMedia, NamespaceError, NamespaceOptions, Next,
};
use nvme_spec::Nsid;

fn enabled(options: ControllerOptions) -> Host {
    let mut host = Host::with(options, 512, 1024);
    host.enable();
    host
}

#[test]
fn configurations_that_no_controller_can_run_with() {
    // Base Figure 41: CSS 6:4, MPS 10:7, AMS 13:11, IOSQES 19:16, IOCQES 23:20.
    for bad in [1 << 4, 1 << 7, 1 << 11, 1 << 16, 1 << 20] {
        let mut host = Host::with(ControllerOptions::default(), 512, 8);
        host.ssd.write32(0x24, 31 | 31 << 16);
        host.ssd.write32(CC, CC_ENABLE ^ bad);
        assert_eq!(host.ssd.run(host.now, 10), Next::Idle);
        assert_eq!(host.ssd.read32(CSTS), 2, "CFS and not RDY: {bad:#x}");
        host.ssd.write32(CC, 0);
        host.step();
        assert_eq!(host.ssd.read32(CSTS), 0);
        host.enable();
    }
    let host = Host::with(ControllerOptions::default(), 512, 8);
    host.ssd.write32(CC, CC_ENABLE);
    host.step();
    assert_eq!(host.ssd.read32(CSTS), 2, "admin queues of one entry");
}

#[test]
fn a_queue_that_is_nowhere_is_fatal() {
    let host = enabled(ControllerOptions::default());
    host.ssd.write32(CC, 0);
    host.step();
    host.ssd.write64(0x28, 0xDEAD_0000);
    host.ssd.write32(CC, CC_ENABLE);
    host.step();
    host.ring(0, false, 1);
    host.step();
    assert_eq!(host.ssd.read32(CSTS), 3);
    let faults = host.ssd.ssd().dma_faults();
    assert_eq!((faults[0].iova, faults[0].bytes, faults[0].write), (0xDEAD_0000, 64, false));
}

#[test]
fn shutdowns_and_resets() {
    let mut host = Host::ready();
    // CC.SHN normal and abrupt; CSTS.SHST is in bits 3:2.
    for shn in [0x4000, 0x8000] {
        host.ssd.write32(CC, CC_ENABLE | shn);
        assert_eq!(host.ssd.read32(CSTS), 1 | 1 << 2);
        host.step();
        assert_eq!(host.ssd.read32(CSTS), 1 | 2 << 2);
        host.submit(1, block_io(2, 0, 1, host.iova + DATA));
        host.step();
        assert_eq!(host.reap(1), None);
        host.ssd.write32(CC, 0);
        host.step();
        assert_eq!(host.ssd.read32(CSTS), 0);
        host.enable();
        host.create_pair(1, 64, None);
    }
    // NSSR takes "NVMe"; CSTS.NSSRO is bit 4, and writing it clears it.
    host.ssd.write32(0x20, 0x4E56_4D64);
    assert_eq!(host.ssd.read32(CSTS), 1);
    host.ssd.write32(0x20, 0x4E56_4D65);
    host.step();
    assert_eq!((host.ssd.read32(CSTS), host.ssd.read32(CC)), (1 << 4, 0));
    host.ssd.write32(CSTS, 1 << 4);
    assert_eq!(host.ssd.read32(CSTS), 0);
}

#[test]
fn queues_are_created_with_every_check() {
    let mut host =
        enabled(ControllerOptions { queue_entries_max: 64, io_queue_pairs: 4, ..Default::default() });
    let base = host.iova + (1 << 20);
    let cq = |qid: u32, entries: u32, flags: u32, at: u64| {
        sqe(5, 0).prp1(at).cdw10(qid | (entries - 1) << 16).cdw11(flags)
    };
    let sq = |qid: u32, entries: u32, flags: u32, at: u64| {
        sqe(1, 0).prp1(at).cdw10(qid | (entries - 1) << 16).cdw11(flags)
    };
    assert_eq!(host.admin(cq(0, 8, 1, base)).code, 0x101);
    assert_eq!(host.admin(cq(5, 8, 1, base)).code, 0x101);
    assert_eq!(host.admin(cq(1, 1, 1, base)).code, 0x102);
    assert_eq!(host.admin(cq(1, 65, 1, base)).code, 0x102);
    assert_eq!(host.admin(cq(1, 8, 0, base)).code, 0x02);
    assert_eq!(host.admin(cq(1, 8, 1, base + 8)).code, 0x13);
    assert_eq!(host.admin(cq(1, 8, 1 | 2 | 5 << 16, base)).code, 0x108);
    assert_eq!(host.admin(cq(1, 64, 1 | 2 | 4 << 16, base)).code, 0);
    assert_eq!(host.admin(cq(1, 8, 1, base)).code, 0x101);
    let sq_base = base + 0x1_0000;
    assert_eq!(host.admin(sq(1, 8, 1 | 2 << 16, sq_base)).code, 0x100);
    assert_eq!(host.admin(sq(1, 8, 1 | 9 << 16, sq_base)).code, 0x101);
    assert_eq!(host.admin(sq(1, 8, 1, sq_base)).code, 0x101);
    assert_eq!(host.admin(sq(7, 8, 1 | 1 << 16, sq_base)).code, 0x101);
    assert_eq!(host.admin(sq(1, 65, 1 | 1 << 16, sq_base)).code, 0x102);
    assert_eq!(host.admin(sq(1, 8, 1 << 16, sq_base)).code, 0x02);
    assert_eq!(host.admin(sq(1, 8, 1 | 1 << 16, sq_base + 2048)).code, 0x13);
    assert_eq!(host.admin(sq(1, 64, 1 | 1 << 16, sq_base)).code, 0);
    assert_eq!(host.admin(sq(1, 8, 1 | 1 << 16, sq_base)).code, 0x101);
    // Deletion: the submission queue first.
    assert_eq!(host.admin(sqe(4, 0).cdw10(1)).code, 0x10C);
    assert_eq!(host.admin(sqe(0, 0).cdw10(0)).code, 0x101);
    assert_eq!(host.admin(sqe(4, 0).cdw10(0)).code, 0x101);
    assert_eq!(host.admin(sqe(0, 0).cdw10(2)).code, 0x101);
    assert_eq!(host.admin(sqe(0, 0).cdw10(1)).code, 0);
    assert_eq!(host.admin(sqe(4, 0).cdw10(1)).code, 0);
    assert_eq!(host.admin(sqe(4, 0).cdw10(1)).code, 0x101);
}

#[test]
fn entry_sizes_must_be_set_before_queues_are_made() {
    let mut host = Host::with(ControllerOptions::default(), 512, 8);
    host.enable();
    host.ssd.write32(CC, 1);
    assert_eq!(host.create_cq(1, 8, None).code, 0x102);
    assert_eq!(host.create_sq(1, 8, 1).code, 0x102);
}

#[test]
fn several_queues_may_share_a_completion_queue() {
    let mut host = enabled(ControllerOptions::default());
    host.create_pair(1, 16, None);
    host.create_cq(2, 16, None);
    assert_eq!(host.create_sq(2, 16, 1).code, 0);
    host.submit(2, block_io(2, 0, 1, host.iova + DATA));
    host.step();
    let done = host.reap(1).unwrap();
    assert_eq!((done.sqid, done.code), (2, 0));
    assert_eq!(host.admin(sqe(0, 0).cdw10(1)).code, 0);
    assert_eq!(host.admin(sqe(4, 0).cdw10(1)).code, 0x10C);
    assert_eq!(host.admin(sqe(0, 0).cdw10(2)).code, 0);
    assert_eq!(host.admin(sqe(4, 0).cdw10(1)).code, 0);
}

#[test]
fn a_full_completion_queue_holds_the_controller_back() {
    let mut host = enabled(ControllerOptions::default());
    host.create_cq(1, 4, None);
    host.create_sq(1, 16, 1);
    for _ in 0..10 {
        host.place(1, block_io(2, 0, 1, host.iova + DATA));
    }
    host.ring_tail(1);
    host.step();
    let fetched = |host: &Host| host.ssd.ssd().stats().fetched;
    let before = fetched(&host);
    let first: Vec<u16> = (0..3).map(|_| host.reap_quietly(1).unwrap().sqhd).collect();
    assert_eq!((first, host.reap_quietly(1)), (vec![1, 2, 3], None));
    host.step();
    assert_eq!(fetched(&host), before);
    host.ring(1, true, 2);
    host.step();
    assert_eq!(fetched(&host), before + 2);
    assert_eq!((host.reap(1).unwrap().sqhd, host.reap(1).unwrap().sqhd), (4, 5));
}

#[test]
fn unknown_commands_and_reserved_fields() {
    let mut host = Host::ready();
    for opcode in [0x03, 0x7F, 0x80, 0x0D, 0xFF] {
        let done = host.admin(sqe(opcode, 0));
        assert_eq!((done.code, done.dnr), (0x01, true), "{opcode:#x}");
    }
    for opcode in [0x03, 0x7F, 0x19] {
        assert_eq!(host.io(sqe(opcode, 1)).code, 0x01, "{opcode:#x}");
    }
    // FUSE 01b, and PSDT 11b, and an SGL in an admin command.
    for flags in [0x01, 0xC0, 0x40] {
        let mut identify = sqe(6, 0).prp1(host.iova + DATA).cdw10(1);
        identify.0[1] = flags;
        assert_eq!(host.admin(identify).code, 0x02, "{flags:#x}");
    }
}

#[test]
fn features_are_set_and_read() {
    let mut host = enabled(ControllerOptions::default());
    let get = |fid: u32, cdw11: u32| sqe(0x0A, 0).cdw10(fid).cdw11(cdw11);
    let set = |fid: u32, cdw11: u32| sqe(9, 0).cdw10(fid).cdw11(cdw11);
    for (fid, value) in [(1, 0x0102_0307), (2, 0x20), (5, 7), (6, 0), (8, 0x0A05), (0xB, 0x100), (0xF, 5000)]
    {
        assert_eq!(host.admin(set(fid, value)).code, 0, "{fid:#x}");
        let done = host.admin(get(fid, 0));
        assert_eq!((done.code, done.dw0), (0, value), "{fid:#x}");
    }
    // The default of the write cache is enabled; it is changeable and not saveable (Base Figure 196).
    assert_eq!(host.admin(get(6 | 1 << 8, 0)).dw0, 1);
    assert_eq!(host.admin(get(6 | 3 << 8, 0)).dw0, 1 << 2);
    assert_eq!(host.admin(get(6 | 4 << 8, 0)).code, 0x02);
    assert_eq!(host.admin(sqe(9, 0).cdw10(6 | 1 << 31).cdw11(1)).code, 0x10D);
    assert_eq!(host.admin(sqe(9, 1).cdw10(6).cdw11(1)).code, 0x10F);
    assert_eq!((host.admin(get(0x7A, 0)).code, host.admin(set(0xD, 0)).code), (0x02, 0x02));
    // Temperature threshold: over and under, of the composite temperature.
    host.admin(set(4, 350));
    host.admin(set(4, 260 | 1 << 20));
    assert_eq!((host.admin(get(4, 0)).dw0, host.admin(get(4, 1 << 20)).dw0), (350, 260 | 1 << 20));
    assert_eq!(host.admin(get(4, 2 << 20)).code, 0x02);
    // Interrupt vector configuration: by vector.
    host.admin(set(9, 3 | 1 << 16));
    assert_eq!((host.admin(get(9, 3)).dw0, host.admin(get(9, 4)).dw0), (3 | 1 << 16, 4));
    assert_eq!(host.admin(get(9, 1000)).code, 0x02);
    // A reset makes them the defaults.
    host.ssd.write32(CC, 0);
    host.step();
    host.enable();
    assert_eq!((host.admin(get(6, 0)).dw0, host.admin(get(0xB, 0)).dw0), (1, 0));
}

#[test]
fn the_number_of_queues_is_negotiated_once() {
    let mut host = enabled(ControllerOptions { io_queue_pairs: 4, ..Default::default() });
    let set = |cdw11: u32| sqe(9, 0).cdw10(7).cdw11(cdw11);
    assert_eq!(host.admin(set(0xFFFF)).code, 0x02);
    assert_eq!(host.admin(set(1 | 9 << 16)).dw0, 1 | 3 << 16);
    assert_eq!(host.admin(set(0)).code, 0x0C);
    assert_eq!(host.admin(sqe(0xA, 0).cdw10(7)).dw0, 1 | 3 << 16);
    assert_eq!((host.create_cq(4, 8, None).code, host.create_cq(5, 8, None).code), (0, 0x101));
    assert_eq!((host.create_sq(2, 8, 4).code, host.create_sq(3, 8, 4).code), (0, 0x101));
}

#[test]
fn a_controller_without_a_write_cache_says_so() {
    let mut host = enabled(ControllerOptions { volatile_write_cache: false, ..Default::default() });
    assert_eq!(host.identify(1, 0).unwrap()[525], 0);
    assert_eq!(host.admin(sqe(0xA, 0).cdw10(6)).code, 0x02);
}

#[test]
fn log_pages() {
    let mut host = Host::ready();
    assert_eq!(host.io(block_io(2, 5000, 1, host.iova + DATA)).code, 0x80);
    let failed = host.io(block_io(2, 1023, 2, host.iova + DATA));
    // Base Figure 207: Error Count 7:0, SQID 9:8, CID 11:10, Status 13:12 with the status field in bits 15:1.
    let errors = host.log_page(1, 192);
    assert_eq!((errors[0], errors[8], errors[10]), (2, 1, failed.cid as u8));
    assert_eq!(u16::from_le_bytes([errors[12], errors[13]]) >> 1, 0x80 | 1 << 13 | 1 << 14);
    assert_eq!((errors[64], errors[128]), (1, 0));
    host.io(block_io(2, 0, 1, host.iova + DATA));
    // Base Figure 208: Composite Temperature 2:1, Host Reads 79:64, Error Log Entries 191:176.
    let health = host.log_page(2, 512);
    assert_eq!((u16::from_le_bytes([health[1], health[2]]), health[64], health[176]), (310, 1, 2));
    assert_eq!(&host.log_page(3, 512)[..16], b"\x01\0\0\0\0\0\0\x001.0     ");
    // Base Figure 211: admin opcode 06h is at 4 * 6, I/O opcode 01h at 1024 + 4; CSUPP and LBCC.
    let effects = host.log_page(5, 4096);
    assert_eq!((effects[24], effects[1024 + 4], effects[1024 + 8], effects[1024 + 12]), (1, 3, 1, 0));
    for unknown in [0x0C, 0x70, 0x77] {
        let done = host.admin(sqe(2, u32::MAX).prp1(host.iova + DATA).cdw10(unknown));
        assert_eq!(done.code, 0x109);
    }
    // An offset into a page, and one beyond it.
    let part = sqe(2, u32::MAX).prp1(host.iova + DATA).cdw10(2).cdw12(64);
    assert_eq!((host.admin(part).code, host.read(DATA, 1)[0]), (0, 1));
    assert_eq!(host.admin(part.cdw12(516)).code, 0x02);
    assert_eq!(host.admin(part.cdw12(3)).code, 0x02);
}

#[test]
fn identify_knows_its_other_structures() {
    let mut host = Host::ready();
    // Base Figure 315: NIDT, NIDL, then the identifier: NGUID 2, UUID 3, CSI 4.
    let descriptors = host.identify(3, 1).unwrap();
    assert_eq!((descriptors[0], descriptors[1], descriptors[20], descriptors[21]), (2, 16, 3, 16));
    assert_eq!((descriptors[40], descriptors[41], descriptors[44]), (4, 1, 0));
    assert_eq!((&descriptors[4..20], descriptors[45]), (&descriptors[24..40], 0));
    // Base Figure 319: RESCAP 2, NSTAT 14.
    let independent = host.identify(8, 1).unwrap();
    assert_eq!((independent[2], independent[14]), (0xFF, 1));
    assert_eq!(host.identify(5, 1).unwrap(), vec![0; 4096]);
    assert_eq!(host.identify(6, 0).unwrap(), vec![0; 4096]);
    assert_eq!(host.identify(7, 0).unwrap()[0], 1);
    let other_set = sqe(6, 0).prp1(host.iova + DATA).cdw10(6).cdw11(2 << 24);
    assert_eq!(host.admin(other_set).code, 0x02);
    assert_eq!(host.identify(2, 1).unwrap(), vec![0; 4096]);
    assert_eq!(host.identify(2, 0xFFFF_FFFF), Err(0x0B));
}

#[test]
fn a_namespace_is_as_its_options_say() {
    let mut host = enabled(ControllerOptions { atomic_write_power_fail_blocks: 4, ..Default::default() });
    let options = NamespaceOptions {
        nguid: *b"0123456789abcdef",
        eui64: *b"eui64...",
        optimal_boundary_blocks: 256,
        atomic_write_power_fail_blocks: Some(8),
        ..Default::default()
    };
    host.ssd.ssd().add_namespace(Nsid(3), options, MemoryMedia::new(4096, 100)).unwrap();
    // NVM Figure 114: NSFEAT 24, NAWUPF 37:36, NOIOB 47:46, NVMCAP 63:48, NGUID 119:104, EUI64 127:120.
    let page = host.identify(0, 3).unwrap();
    assert_eq!((page[24] & 2, page[36], page[47], page[130]), (2, 7, 1, 12));
    assert_eq!(&page[48..52], &409_600u32.to_le_bytes());
    assert_eq!((&page[104..120], &page[120..128]), (&b"0123456789abcdef"[..], &b"eui64..."[..]));
    assert_eq!(host.identify(3, 3).unwrap()[..12], *b"\x01\x08\0\0eui64...");
    // Base Figure 312: AWUPF 529:528.
    assert_eq!(host.identify(1, 0).unwrap()[528], 3);
    assert_eq!(host.identify(2, 0).unwrap()[..12], [1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    let again = host.ssd.ssd().add_namespace(Nsid(3), NamespaceOptions::default(), MemoryMedia::new(512, 1));
    assert_eq!(again, Err(NamespaceError::Exists(Nsid(3))));
    let beyond =
        host.ssd.ssd().add_namespace(Nsid(33), NamespaceOptions::default(), MemoryMedia::new(512, 1));
    assert!(matches!(beyond, Err(NamespaceError::Identifier { .. })));
}

/// Arms an Asynchronous Event Request.
fn arm(host: &mut Host) -> u16 {
    let cid = host.submit(0, sqe(0x0C, 0));
    host.step();
    cid
}

#[test]
fn events_wait_for_a_request_and_are_masked_until_the_log_is_read() {
    let mut host = Host::ready();
    // Not asked for: not reported.
    arm(&mut host);
    host.ssd.act(Action::Resize(Nsid(1), 900));
    host.step();
    assert_eq!(host.reap(0), None);
    // Asynchronous Event Configuration: bit 8 is Attached Namespace Attribute Notices.
    host.admin(sqe(9, 0).cdw10(0xB).cdw11(0x100));
    host.ssd.act(Action::Resize(Nsid(1), 800));
    host.ssd.act(Action::Detach(Nsid(1)));
    host.step();
    // Base Figure 149: type Notice 2, information 0, log page 04h.
    assert_eq!(host.reap(0).unwrap().dw0, 2 | 4 << 16);
    arm(&mut host);
    host.ssd.act(Action::Attach(Nsid(1)));
    host.step();
    assert_eq!(host.reap(0), None, "masked");
    // Retain Asynchronous Event: bit 15. The list stays, and so does the mask.
    let retained = sqe(2, u32::MAX).prp1(host.iova + DATA).cdw10(4 | 1 << 15 | 1023 << 16);
    host.submit(0, retained);
    host.step();
    assert_eq!((host.reap(0).unwrap().code, host.reap(0)), (0, None));
    let list = sqe(2, u32::MAX).prp1(host.iova + DATA).cdw10(4 | 1023 << 16);
    host.submit(0, list);
    host.step();
    assert_eq!(host.reap(0).unwrap().code, 0);
    assert_eq!(host.read(DATA, 8), [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(host.reap(0).unwrap().dw0, 2 | 4 << 16, "what happened meanwhile");
    assert_eq!(host.log_page(4, 4096), vec![0; 4096]);
}

#[test]
fn warnings_of_each_kind() {
    let mut host = Host::ready();
    host.admin(sqe(9, 0).cdw10(0xB).cdw11(0xFF));
    for (bit, information, warning) in [
        (CriticalWarningBit::Spare, 2, 0b0001),
        (CriticalWarningBit::Temperature, 1, 0b0011),
        (CriticalWarningBit::Reliability, 0, 0b0111),
        (CriticalWarningBit::ReadOnly, 0, 0b1111),
    ] {
        arm(&mut host);
        host.ssd.act(Action::CriticalWarning(bit));
        host.step();
        assert_eq!(host.reap(0).unwrap().dw0, 1 | information << 8 | 2 << 16);
        assert_eq!(host.log_page(2, 512)[0], warning);
    }
}

#[test]
fn event_requests_are_limited_and_can_be_aborted() {
    let mut host = Host::ready();
    let first = arm(&mut host);
    for _ in 1..4 {
        arm(&mut host);
    }
    assert_eq!(host.admin(sqe(0x0C, 0)).code, 0x105);
    host.submit(0, sqe(8, 0).cdw10(u32::from(first) << 16));
    host.step();
    let aborted = host.reap(0).unwrap();
    assert_eq!((aborted.cid, aborted.code), (first, 0x07));
    assert_eq!(host.reap(0).unwrap().dw0, 0);
    arm(&mut host);
    assert_eq!(host.admin(sqe(8, 0).cdw10(9)).code, 0x02);
}

#[test]
fn doorbells_that_no_host_writes_are_reported() {
    // Base Figure 150: Error Status 0, Write to Invalid Doorbell Register 0, Invalid Doorbell Write Value 1.
    for (write, information) in
        [(0x1008u32, 64u32), (0x100C, 5), (0x1010, 1), (0x1FFC, 1)].into_iter().zip([1, 1, 0, 0])
    {
        let mut host = Host::ready();
        arm(&mut host);
        host.ssd.write32(write.0, write.1);
        host.step();
        assert_eq!(host.reap(0).unwrap().dw0, information << 8 | 1 << 16, "{write:x?}");
        assert_eq!(host.ssd.ssd().stats().invalid_doorbells, 1);
        assert_eq!(host.io(block_io(2, 0, 1, host.iova + DATA)).code, 0);
    }
}

#[test]
fn a_queue_that_was_deleted_leaves_no_doorbell_behind() {
    let mut host = Host::ready();
    assert_eq!(host.io(block_io(2, 0, 1, host.iova + DATA)).code, 0);
    assert_eq!(host.admin(sqe(0, 0).cdw10(1)).code, 0);
    host.ring(1, true, host.head(1));
    host.step();
    assert_eq!(host.ssd.ssd().stats().invalid_doorbells, 0);
}

#[test]
fn doorbells_may_be_far_apart() {
    let stride = nvme_spec::registers::DoorbellStride::from_raw(3);
    let mut host = Host::ready_with(ControllerOptions { doorbell_stride: stride, ..Default::default() });
    assert_eq!(host.stride, 32);
    assert_eq!(host.io(block_io(2, 0, 1, host.iova + DATA)).code, 0);
    assert_eq!(host.ssd.register_bytes(), 0x1000 + 0x2000);
}

#[test]
fn shadow_doorbells_replace_rings() {
    let (shadow, index) = (DATA + 0x1_0000, DATA + 0x1_1000);
    let mut host = Host::ready();
    assert_eq!(host.admin(sqe(0x7C, 0).prp1(host.iova + shadow + 8).prp2(host.iova + index)).code, 0x02);
    assert_eq!(host.admin(sqe(0x7C, 0).prp1(host.iova + shadow).prp2(0x1000)).code, 0x02);
    assert_eq!(host.admin(sqe(0x7C, 0).prp1(host.iova + shadow).prp2(host.iova + index)).code, 0);
    // SQ1's tail is at byte 8, CQ1's head at byte 12.
    let event = |host: &Host, at: u64| host.region.memory().load_u32(index + at).unwrap();
    for turn in 1..=5u32 {
        host.place(1, block_io(2, 0, 1, host.iova + DATA));
        host.region.memory().store_u32(shadow + 8, turn).unwrap();
        host.step();
        assert_eq!((host.reap_quietly(1).unwrap().code, event(&host, 8)), (0, turn));
        host.region.memory().store_u32(shadow + 12, turn).unwrap();
    }
    // The head is read only when the queue looks full: 64 entries hold 63.
    for _ in 0..60 {
        host.place(1, block_io(2, 0, 1, host.iova + DATA));
    }
    host.region.memory().store_u32(shadow + 8, host.tail(1)).unwrap();
    host.step();
    assert_eq!(std::iter::from_fn(|| host.reap_quietly(1)).count(), 60);
    assert_eq!(event(&host, 12), 5);
    let without = ControllerOptions { doorbell_buffer: false, ..Default::default() };
    assert_eq!(enabled(without).admin(sqe(0x7C, 0)).code, 0x01);
}

#[test]
fn queues_with_interrupts_share_nothing_with_resets() {
    let mut host = Host::ready();
    host.ssd.reset().unwrap();
    host.submit(1, block_io(2, 0, 1, host.iova + DATA));
    host.step();
    assert_eq!(host.reap(1), None);
    host.ssd.set_bus_master(true).unwrap();
    host.enable();
    host.create_pair(1, 64, None);
    assert_eq!(host.io(block_io(2, 0, 1, host.iova + DATA)).code, 0);
}

#[test]
fn a_controller_that_is_no_bus_master_fails_without_touching_memory() {
    let mut host = Host::ready();
    host.ssd.set_bus_master(false).unwrap();
    let before = host.ssd.ssd().stats().dma_accesses;
    host.submit(1, block_io(2, 0, 1, host.iova + DATA));
    host.step();
    assert_eq!(host.ssd.ssd().stats().dma_accesses, before);
    assert!(host.ssd.ssd().dma_faults()[0].bus_master_off);
    assert_eq!(host.ssd.read32(CSTS), 3);
}
