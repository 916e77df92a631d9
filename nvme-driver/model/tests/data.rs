//! Data pointers and I/O commands, byte by byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod host;

use host::{DATA, Host, Sqe, block_io, pattern, sgl, sqe};
use nvme_driver::PciFunction;
use nvme_model::{Action, ControllerOptions, MemoryMedia, NamespaceOptions, RecordingMedia, SglSupport};
use nvme_spec::Nsid;

const PAGE: u64 = 4096;

/// A host whose first 64 blocks hold a pattern.
fn with_pattern(options: ControllerOptions) -> Host {
    let mut host = Host::with(options, 512, 4096);
    host.enable();
    host.create_pair(1, 64, None);
    let data = pattern(3, 64 * 512);
    for (index, page) in data.chunks(4096).enumerate() {
        host.write(DATA, page);
        assert_eq!(host.io(block_io(1, index as u64 * 8, 8, host.iova + DATA)).code, 0);
    }
    host.zero(DATA, 4096);
    host
}

fn expected(blocks: usize) -> Vec<u8> {
    pattern(3, 64 * 512)[..blocks * 512].to_vec()
}

#[test]
fn two_prps_and_an_offset_into_the_first() {
    let mut host = with_pattern(ControllerOptions::default());
    // 8 blocks from 512 bytes before the end of a page: 512 there, 3584 in any other page.
    let done = host.io(block_io(2, 0, 8, host.iova + DATA + 3584).prp2(host.iova + DATA + 9 * PAGE));
    assert_eq!(done.code, 0);
    let mut data = host.read(DATA + 3584, 512);
    data.extend(host.read(DATA + 9 * PAGE, 3584));
    assert_eq!(data, expected(8));
    assert!(host.read(DATA + PAGE, 512).iter().all(|byte| *byte == 0));
}

#[test]
fn prps_that_are_not_aligned_or_nowhere() {
    let mut host = with_pattern(ControllerOptions::default());
    let base = host.iova + DATA;
    // Base Figure 102: PRP Offset Invalid 13h, Data Transfer Error 04h.
    assert_eq!(host.io(block_io(2, 0, 1, base + 2)).code, 0x13);
    assert_eq!(host.io(block_io(2, 0, 16, base).prp2(base + PAGE + 512)).code, 0x13);
    assert_eq!(host.io(block_io(2, 0, 64, base).prp2(base + 4)).code, 0x13);
    assert_eq!(host.ssd.ssd().stats().dma_faults, 0);
    assert_eq!(host.io(block_io(2, 0, 1, 0x7000)).code, 0x04);
    assert_eq!(host.io(block_io(2, 0, 16, base).prp2(0)).code, 0x04);
    assert_eq!(host.io(block_io(2, 0, 64, base).prp2(0x8000)).code, 0x04);
    assert_eq!(host.ssd.ssd().stats().dma_faults, 3);
    assert!(host.read(DATA, 512).iter().all(|byte| *byte == 0), "a command that is refused moves nothing");
}

/// Writes a PRP list of these pages, counted from DATA.
fn prp_list(host: &Host, at: u64, pages: &[u64]) {
    for (index, page) in pages.iter().enumerate() {
        host.write(at + index as u64 * 8, &(host.iova + DATA + page * PAGE).to_le_bytes());
    }
}

#[test]
fn prp_lists_chain_at_the_end_of_their_page() {
    let mut host = with_pattern(ControllerOptions::default());
    // 64 blocks are 8 pages: one in PRP1, and a list of 7, which begins two slots before the end of its page.
    let list = DATA + 100 * PAGE + 4080;
    prp_list(&host, list, &[20, 101]);
    prp_list(&host, DATA + 101 * PAGE, &[19, 18, 17, 16, 15, 14]);
    assert_eq!(host.io(block_io(2, 0, 64, host.iova + DATA).prp2(host.iova + list)).code, 0);
    let data: Vec<u8> =
        [0, 20, 19, 18, 17, 16, 15, 14].iter().flat_map(|page| host.read(DATA + page * PAGE, 4096)).collect();
    assert_eq!(data, expected(64));
    // The last slot of a page is data if it is the last entry.
    let list = DATA + 100 * PAGE + 4096 - 7 * 8;
    prp_list(&host, list, &[20, 19, 18, 17, 16, 15, 30]);
    assert_eq!(host.io(block_io(2, 0, 64, host.iova + DATA).prp2(host.iova + list)).code, 0);
    assert_eq!(host.read(DATA + 30 * PAGE, 4096), expected(64)[7 * 4096..]);
}

#[test]
fn hostile_prp_lists() {
    let mut host = with_pattern(ControllerOptions::default());
    let list = DATA + 100 * PAGE;
    let command = block_io(2, 0, 64, host.iova + DATA).prp2(host.iova + list);
    prp_list(&host, list, &[20, 19, 18, 17, 16, 15, 14]);
    host.write(list + 16, &(host.iova + DATA + 8).to_le_bytes());
    assert_eq!(host.io(command).code, 0x13);
    host.write(list + 16, &u64::MAX.to_le_bytes());
    assert_eq!(host.io(command).code, 0x13);
    host.write(list + 16, &(u64::MAX - 4095).to_le_bytes());
    assert_eq!(host.io(command).code, 0x04);
    // A next list that does not start a page.
    let late = DATA + 100 * PAGE + 4088;
    host.write(late, &(host.iova + DATA + 101 * PAGE + 8).to_le_bytes());
    assert_eq!(host.io(command.prp2(host.iova + late)).code, 0x13);
    // A next list that is its own page: it ends all the same, since every turn finds data.
    host.write(late, &(host.iova + DATA + 100 * PAGE).to_le_bytes());
    prp_list(&host, list, &[20, 19, 18, 17, 16, 15, 14]);
    assert_eq!(host.io(command.prp2(host.iova + late)).code, 0);
}

fn sgl_read(descriptor: [u8; 16]) -> Sqe {
    block_io(2, 0, 4, 0).sgl(descriptor)
}

#[test]
fn sgls_of_every_kind() {
    let mut host = with_pattern(ControllerOptions::default());
    let base = host.iova + DATA;
    assert_eq!(host.io(sgl_read(sgl(0, base + 4, 2048))).code, 0);
    assert_eq!(host.read(DATA + 4, 2048), expected(4));
    // A segment of a data block, a bit bucket and a last segment with two more data blocks.
    let (first, last) = (DATA + 100 * PAGE, DATA + 101 * PAGE + 8);
    host.write(first, &sgl(0, base + 16 * PAGE, 100));
    host.write(first + 16, &sgl(1, 0, 924));
    host.write(first + 32, &sgl(3, host.iova + last, 32));
    host.write(last, &sgl(0, base + 17 * PAGE, 1000));
    host.write(last + 16, &sgl(0, base + 18 * PAGE, 24));
    assert_eq!(host.io(sgl_read(sgl(2, host.iova + first, 48))).code, 0);
    let data = expected(4);
    assert_eq!(host.read(DATA + 16 * PAGE, 100), data[..100]);
    assert_eq!(host.read(DATA + 17 * PAGE, 1000), data[1024..2024]);
    assert_eq!(host.read(DATA + 18 * PAGE, 24), data[2024..]);
    // A write skips bit buckets: they take nothing of its data.
    host.write(last, &sgl(1, 0, 77));
    host.write(last + 16, &sgl(0, base, 2048));
    let write = block_io(1, 100, 4, 0).sgl(sgl(3, host.iova + last, 32));
    assert_eq!(host.io(write).code, 0);
}

#[test]
fn hostile_sgls() {
    let mut host = with_pattern(ControllerOptions::default());
    let base = host.iova + DATA;
    let list = DATA + 100 * PAGE;
    // Base Figure 102: Invalid SGL Segment Descriptor 0Dh, Invalid Number of SGL Descriptors 0Eh, Data SGL Length
    // Invalid 0Fh, SGL Descriptor Type Invalid 11h, SGL Data Block Granularity Invalid 1Eh.
    let one = |descriptor: [u8; 16], code: u16, host: &mut Host| {
        let command = sgl_read(descriptor);
        assert_eq!(host.io(command).code, code, "{descriptor:x?}");
    };
    one(sgl(0, base, 2044), 0x0F, &mut host);
    one(sgl(0, base, 2052), 0x0F, &mut host);
    one(sgl(0, base + 1, 2048), 0x1E, &mut host);
    one(sgl(0, 0x9000, 2048), 0x04, &mut host);
    one(sgl(0, u64::MAX - 3, 2048), 0x04, &mut host);
    one(sgl(4, base, 2048), 0x11, &mut host);
    one(sgl(0xF, base, 2048), 0x11, &mut host);
    one(sgl(2, host.iova + list, 0), 0x0D, &mut host);
    one(sgl(2, host.iova + list, 17), 0x0D, &mut host);
    one(sgl(2, host.iova + list + 4, 16), 0x0D, &mut host);
    one(sgl(3, 0xA000, 16), 0x04, &mut host);
    // A segment that is not the last and does not lead on.
    host.write(list, &sgl(0, base, 2048));
    one(sgl(2, host.iova + list, 16), 0x0D, &mut host);
    // A segment in the last one.
    host.write(list, &sgl(2, host.iova + list, 16));
    one(sgl(3, host.iova + list, 16), 0x0D, &mut host);
    // A segment descriptor that is not the last of its segment.
    host.write(list + 16, &sgl(0, base, 2048));
    one(sgl(2, host.iova + list, 32), 0x0D, &mut host);
    // A segment that leads to itself, with no data and with some.
    one(sgl(2, host.iova + list, 16), 0x0E, &mut host);
    one(sgl(3, host.iova, u32::MAX - 15), 0x0E, &mut host);
    assert!(host.read(DATA, 2048).iter().all(|byte| *byte == 0));
}

#[test]
fn controllers_know_only_the_sgls_that_they_say() {
    let mut host = with_pattern(ControllerOptions { sgl: None, ..Default::default() });
    assert_eq!(host.io(sgl_read(sgl(0, host.iova + DATA, 2048))).code, 0x02);
    let bytes = SglSupport { dword_aligned: false, bit_bucket: false };
    let mut host = with_pattern(ControllerOptions { sgl: Some(bytes), ..Default::default() });
    assert_eq!(host.io(sgl_read(sgl(0, host.iova + DATA + 1, 2048))).code, 0);
    assert_eq!(host.read(DATA + 1, 2048), expected(4));
    assert_eq!(host.io(sgl_read(sgl(1, 0, 2048))).code, 0x11);
}

#[test]
fn blocks_and_namespaces_that_do_not_exist() {
    let mut host = Host::ready();
    let base = host.iova + DATA;
    for opcode in [1, 2, 4, 5, 8, 0xC] {
        for (slba, blocks) in [(1024, 1), (1023, 2), (u64::MAX, 1), (u64::MAX, 64), (1 << 60, 1)] {
            let done = host.io(block_io(opcode, slba, blocks, base));
            assert_eq!((done.code, done.dnr), (0x80, true), "{opcode} {slba} {blocks}");
        }
        for (nsid, code) in [(0, 0x0B), (33, 0x0B), (u32::MAX, 0x0B), (2, 0x02)] {
            let done = host.io(block_io(opcode, 0, 1, base).dword(1, nsid));
            assert_eq!(done.code, code, "{opcode} {nsid}");
        }
    }
    // MDTS 5 is 128 KiB, 256 blocks of 512 bytes.
    assert_eq!(host.io(block_io(2, 0, 257, base)).code, 0x02);
    assert_eq!(host.io(block_io(8, 0, 1024, 0)).code, 0);
    let mut fused = block_io(2, 0, 1, base);
    fused.0[1] = 2;
    assert_eq!(host.io(fused).code, 0x02);
}

#[test]
fn the_largest_namespace() {
    for block_bytes in [512, 4096] {
        let mut host = Host::with(ControllerOptions::default(), block_bytes, u64::MAX);
        host.enable();
        host.create_pair(1, 64, None);
        assert_eq!(host.identify(0, 1).unwrap()[..16], [0xFF; 16]);
        host.write(DATA, &pattern(9, 4096));
        assert_eq!(host.io(block_io(1, u64::MAX - 1, 1, host.iova + DATA)).code, 0);
        assert_eq!(host.io(block_io(1, u64::MAX, 1, host.iova + DATA)).code, 0x80);
        assert_eq!(host.io(block_io(2, u64::MAX - 1, 1, host.iova + DATA + PAGE)).code, 0);
        assert_eq!(host.read(DATA + PAGE, block_bytes as usize), pattern(9, block_bytes as usize));
        let (zeroes, last) =
            (block_io(8, u64::MAX - 65536, 65536, 0), block_io(2, u64::MAX - 1, 1, host.iova + DATA));
        assert_eq!((host.io(zeroes).code, host.io(last).code), (0, 0));
        assert!(host.read(DATA, block_bytes as usize).iter().all(|byte| *byte == 0));
    }
}

#[test]
fn commands_without_mdts_are_moved_in_parts() {
    let mut host = Host::with(ControllerOptions { mdts: 0, ..Default::default() }, 512, 8192);
    host.enable();
    host.create_pair(1, 64, None);
    let data = pattern(5, 2 << 20);
    host.write(DATA, &data);
    let whole = |host: &Host, at: u64| sgl(0, host.iova + at, 2 << 20);
    assert_eq!(host.io(block_io(1, 7, 4096, 0).sgl(whole(&host, DATA))).code, 0);
    host.zero(DATA, 2 << 20);
    assert_eq!(host.io(block_io(2, 7, 4096, 0).sgl(whole(&host, DATA))).code, 0);
    assert_eq!(host.read(DATA, 2 << 20), data);
    assert_eq!(host.io(block_io(5, 7, 4096, 0).sgl(whole(&host, DATA))).code, 0);
}

#[test]
fn compare_verify_and_uncorrectable_blocks() {
    let mut host = with_pattern(ControllerOptions::default());
    let base = host.iova + DATA;
    host.write(DATA, &expected(4));
    assert_eq!(host.io(block_io(5, 0, 4, base)).code, 0);
    host.write(DATA + 2047, &[0]);
    assert_eq!(host.io(block_io(5, 0, 4, base)).code, 0x285);
    assert_eq!(host.io(block_io(0xC, 0, 64, 0)).code, 0);
    assert_eq!(host.io(block_io(4, 2, 1, 0)).code, 0);
    for opcode in [2, 5, 0xC] {
        assert_eq!(host.io(block_io(opcode, 0, 4, base)).code, 0x281, "{opcode}");
        assert_ne!(host.io(block_io(opcode, 3, 1, base + 1536)).code, 0x281);
    }
    assert_eq!(host.io(block_io(1, 2, 1, base)).code, 0);
    assert_eq!(host.io(block_io(2, 0, 4, base)).code, 0);
    // SMART counts media errors (Base Figure 208, bytes 175:160).
    assert_eq!(host.log_page(2, 512)[160], 4);
    let without = ControllerOptions { write_uncorrectable: false, ..Default::default() };
    assert_eq!(with_pattern(without).io(block_io(4, 2, 1, 0)).code, 0x01);
}

/// Dataset Management (NVM Figure 44): ranges of context attributes, length and first block, 16 bytes each.
fn deallocate(host: &mut Host, ranges: &[(u64, u32)], attributes: u32) -> u16 {
    for (index, (slba, blocks)) in ranges.iter().enumerate() {
        let mut range = [0; 16];
        range[4..8].copy_from_slice(&blocks.to_le_bytes());
        range[8..].copy_from_slice(&slba.to_le_bytes());
        host.write(DATA + index as u64 * 16, &range);
    }
    let command = sqe(9, 1).prp1(host.iova + DATA).cdw10(ranges.len() as u32 - 1).cdw11(attributes);
    host.io(command).code
}

#[test]
fn deallocated_and_zeroed_blocks_read_as_zeroes() {
    let mut host = with_pattern(ControllerOptions::default());
    let base = host.iova + DATA;
    assert_eq!(deallocate(&mut host, &[(1, 2), (5, 0), (6, 1)], 4), 0);
    assert_eq!(host.io(block_io(8, 4, 1, 0).dword(12, 1 << 25)).code, 0);
    assert_eq!(host.io(block_io(2, 0, 8, base)).code, 0);
    let data = host.read(DATA, 4096);
    for (block, bytes) in data.chunks(512).enumerate() {
        let zero = bytes.iter().all(|byte| *byte == 0);
        assert_eq!(zero, [1, 2, 4, 6].contains(&block), "block {block}");
    }
    // One range that does not exist and nothing is deallocated; hints alone do nothing.
    assert_eq!(deallocate(&mut host, &[(0, 1), (4095, 2)], 4), 0x80);
    assert_eq!(deallocate(&mut host, &[(u64::MAX, 2)], 4), 0x80);
    assert_eq!(deallocate(&mut host, &[(0, 8)], 3), 0);
    assert_eq!(host.io(block_io(2, 0, 1, base)).code, 0);
    assert_eq!(host.read(DATA, 512), expected(1));
}

#[test]
fn protected_namespaces_and_those_with_metadata() {
    let mut host = with_pattern(ControllerOptions::default());
    let base = host.iova + DATA;
    let protect = |state: u32| sqe(9, 1).cdw10(0x84).cdw11(state);
    assert_eq!(host.admin(protect(1)).code, 0);
    for opcode in [1, 4, 8] {
        assert_eq!(host.io(block_io(opcode, 0, 1, base)).code, 0x20);
    }
    assert_eq!(deallocate(&mut host, &[(0, 1)], 4), 0x20);
    assert_eq!((host.io(block_io(2, 0, 1, base)).code, host.io(sqe(0, 1)).code), (0, 0));
    assert_eq!((host.identify(0, 1).unwrap()[99], host.admin(sqe(0xA, 1).cdw10(0x84)).dw0), (1, 1));
    assert_eq!((host.admin(protect(3)).code, host.admin(protect(0)).code), (0x02, 0));
    assert_eq!(host.io(block_io(1, 0, 1, base)).code, 0);
    let options = NamespaceOptions { metadata_bytes: 8, ..Default::default() };
    host.ssd.ssd().add_namespace(Nsid(2), options, MemoryMedia::new(4096, 64)).unwrap();
    // NVM Figure 114: MC 27, LBAF0 with MS in bits 15:0 and LBADS in 23:16.
    let namespace = host.identify(0, 2).unwrap();
    assert_eq!((namespace[27], &namespace[128..131]), (2, &[8, 0, 12][..]));
    assert_eq!(host.io(block_io(2, 0, 1, base).dword(1, 2)).code, 0x02);
}

/// A host with a recorder as its medium.
fn recorded(options: ControllerOptions) -> (Host, RecordingMedia) {
    let mut host = Host::bare(options);
    let media = RecordingMedia::new(512, 1024, 1);
    host.ssd.ssd().add_namespace(Nsid(1), NamespaceOptions::default(), media.clone()).unwrap();
    host.enable();
    host.create_pair(1, 64, None);
    (host, media)
}

#[test]
fn writes_are_cached_until_a_flush_or_written_through() {
    let (mut host, media) = recorded(ControllerOptions::default());
    let base = host.iova + DATA;
    // NVM Figure 62: FUA is bit 30 of dword 12.
    let fua = |sqe: Sqe| sqe.dword(12, 1 << 30);
    host.io(block_io(1, 0, 1, base));
    assert_eq!(media.unsynced(), 1);
    host.io(fua(block_io(1, 1, 1, base)));
    host.io(block_io(8, 5, 1, 0));
    assert_eq!((media.unsynced(), media.syncs()), (2, 0));
    assert_eq!((host.io(sqe(0, 1)).code, media.unsynced(), media.syncs()), (0, 0, 1));
    host.io(block_io(1, 0, 1, base));
    assert_eq!((host.io(sqe(0, u32::MAX)).code, media.unsynced()), (0, 0));
    assert_eq!((host.io(sqe(0, 0)).code, host.io(sqe(0, 2)).code), (0x0B, 0x02));
    let stats = host.ssd.ssd().stats();
    assert_eq!((stats.flushes, stats.fua_writes), (2, 1));
    // Switched off, the cache is written back and every write is durable.
    host.io(block_io(1, 0, 1, base));
    assert_eq!((host.admin(sqe(9, 0).cdw10(6).cdw11(0)).code, media.unsynced()), (0, 0));
    host.io(block_io(1, 0, 1, base));
    assert_eq!(media.unsynced(), 0);
}

#[test]
fn a_normal_shutdown_writes_the_cache_back() {
    let (mut host, media) = recorded(ControllerOptions::default());
    host.io(block_io(1, 0, 1, host.iova + DATA));
    host.ssd.write32(host::CC, host::CC_ENABLE | 0x4000);
    host.step();
    assert_eq!((host.ssd.read32(host::CSTS), media.unsynced()), (1 | 2 << 2, 0));
    let (mut host, media) = recorded(ControllerOptions { volatile_write_cache: false, ..Default::default() });
    host.io(block_io(1, 0, 1, host.iova + DATA));
    assert_eq!((media.unsynced(), host.io(sqe(0, 1)).code), (0, 0));
}

#[test]
fn reads_during_any_state_never_leave_the_map() {
    let mut host = with_pattern(ControllerOptions::default());
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 11
    };
    // Random bytes as commands: some status, and no panic; a submission queue's entries are 64 bytes of anything.
    for _ in 0..20_000 {
        let mut bytes = [0; 64];
        bytes.iter_mut().for_each(|byte| *byte = next() as u8);
        let mut command = Sqe(bytes);
        if next() % 2 == 0 {
            command.0[0] = [0, 1, 2, 4, 5, 8, 9, 0xC, 0xD, 0xE, 0x11, 0x15][(next() % 12) as usize];
            command = command
                .dword(1, 1)
                .dword(11, 0)
                .dword(12, (next() % 300) as u32)
                .cdw10((next() % 4096) as u32);
            command.0[1] = (next() % 2) as u8 * 0x40;
        }
        if next() % 4 == 0 {
            command = command.prp1(host.iova + next() % (8 << 20)).prp2(host.iova + next() % (8 << 20));
        }
        // Data that a command reads lands where no queue is, or the test's own queues would be overwritten.
        if next() % 8 != 0 || command.0[0] & 2 != 0 {
            command = command
                .prp1(host.iova + DATA + next() % (1 << 20))
                .prp2(host.iova + DATA + PAGE * (next() % 64));
        }
        let cid = host.submit(1, command);
        host.step();
        let done = host.reap(1).expect("every command ends");
        assert_eq!(done.cid, cid);
    }
    assert_eq!(host.ssd.read32(host::CSTS), 1);
    host.ssd.act(Action::Remove);
}
