//! Reservations: registration, every type, and a host that takes over. Layouts: Base Figures 392 to 407.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod host;

use host::{CC, DATA, Host, block_io, sqe};
use nvme_driver::PciFunction;
use nvme_model::Action;
use nvme_spec::Nsid;

const KEY: u64 = 0x1122_3344_5566_7788;
const CONFLICT: u16 = 0x83;

fn register(host: &mut Host, action: u32, current: u64, new: u64) -> u16 {
    host.write(DATA, &current.to_le_bytes());
    host.write(DATA + 8, &new.to_le_bytes());
    host.io(sqe(0x0D, 1).prp1(host.iova + DATA).cdw10(action)).code
}

fn acquire(host: &mut Host, action: u32, kind: u32, current: u64, preempt: u64) -> u16 {
    host.write(DATA, &current.to_le_bytes());
    host.write(DATA + 8, &preempt.to_le_bytes());
    host.io(sqe(0x11, 1).prp1(host.iova + DATA).cdw10(action | kind << 8)).code
}

fn release(host: &mut Host, action: u32, kind: u32, current: u64) -> u16 {
    host.write(DATA, &current.to_le_bytes());
    host.io(sqe(0x15, 1).prp1(host.iova + DATA).cdw10(action | kind << 8)).code
}

/// Reservation Report, extended: the header and the registrants' bytes.
fn report(host: &mut Host) -> Vec<u8> {
    let command = sqe(0x0E, 1).prp1(host.iova + DATA).cdw10(1024 - 1).cdw11(1);
    assert_eq!(host.io(command).code, 0);
    host.read(DATA, 4096)
}

/// Set Features 81h with a long identifier (EXHID).
fn name(host: &mut Host, id: [u8; 16]) -> u16 {
    host.write(DATA, &id);
    host.admin(sqe(9, 0).prp1(host.iova + DATA).cdw10(0x81).cdw11(1)).code
}

/// The same drive, and another host on it.
fn next_host(host: &mut Host, id: [u8; 16]) {
    host.ssd.write32(CC, 0);
    host.step();
    host.enable();
    host.create_pair(1, 64, None);
    assert_eq!(name(host, id), 0);
}

fn write(host: &mut Host) -> u16 {
    host.io(block_io(1, 0, 1, host.iova + DATA)).code
}

fn read(host: &mut Host) -> u16 {
    host.io(block_io(2, 0, 1, host.iova + DATA)).code
}

#[test]
fn registrations_go_by_key() {
    let mut host = Host::ready();
    assert_eq!(name(&mut host, *b"host A.........."), 0);
    assert_eq!(name(&mut host, *b"somebody else..."), 0x0C);
    assert_eq!(register(&mut host, 0, 0, 0), 0x02);
    assert_eq!(register(&mut host, 0, 0, KEY), 0);
    assert_eq!(register(&mut host, 0, 0, KEY), 0, "again is no error");
    assert_eq!(register(&mut host, 0, 0, KEY + 1), CONFLICT);
    assert_eq!(register(&mut host, 2, KEY + 1, KEY + 2), CONFLICT);
    assert_eq!(register(&mut host, 2, KEY, KEY + 2), 0);
    // Replace with Ignore Existing Key, bit 3; with CPTPL 3 in bits 31:30.
    assert_eq!(register(&mut host, 2 | 1 << 3 | 3 << 30, 0, KEY), 0);
    // GEN 3:0, RTYPE 4, REGCTL 6:5, PTPLS 9; a registrant from byte 64: CNTLID, RCSTS 2, RKEY 15:8, HOSTID 31:16.
    let status = report(&mut host);
    assert_eq!((status[0], status[4], status[5], status[9]), (3, 0, 1, 1));
    assert_eq!((status[64], status[66], &status[72..80]), (1, 0, &KEY.to_le_bytes()[..]));
    assert_eq!(&status[80..96], b"host A..........");
    // Without EDS the long identifier does not fit (Base: Host Identifier Inconsistent Format).
    let short = sqe(0x0E, 1).prp1(host.iova + DATA).cdw10(5);
    assert_eq!(host.io(short).code, 0x18);
    assert_eq!(register(&mut host, 1, KEY + 9, 0), CONFLICT);
    assert_eq!(register(&mut host, 1, KEY, 0), 0);
    assert_eq!((register(&mut host, 1, KEY, 0), report(&mut host)[5]), (CONFLICT, 0));
    assert_eq!((register(&mut host, 5, 0, KEY), register(&mut host, 1 << 30, 0, KEY)), (0x02, 0x02));
}

#[test]
fn every_type_lets_through_whom_it_says() {
    // For each type: may an outsider read, may an outsider write, may a registrant read, may a registrant write.
    let rules = [
        (1, [true, false, true, false]),
        (2, [false, false, false, false]),
        (3, [true, false, true, true]),
        (4, [false, false, true, true]),
        (5, [true, false, true, true]),
        (6, [false, false, true, true]),
    ];
    for (kind, allowed) in rules {
        let mut host = Host::ready();
        name(&mut host, *b"holder..........");
        register(&mut host, 0, 0, KEY);
        assert_eq!(acquire(&mut host, 0, kind, KEY + 1, 0), CONFLICT);
        assert_eq!(acquire(&mut host, 0, kind, KEY, 0), 0);
        assert_eq!(acquire(&mut host, 0, kind, KEY, 0), 0, "again is no error");
        assert_eq!(acquire(&mut host, 0, kind % 6 + 1, KEY, 0), CONFLICT);
        assert_eq!((read(&mut host), write(&mut host), host.io(sqe(0, 1)).code), (0, 0, 0));
        assert_eq!((report(&mut host)[4], report(&mut host)[66]), (kind as u8, 1));
        next_host(&mut host, *b"outsider........");
        let mut seen = [read(&mut host) == 0, write(&mut host) == 0, false, false];
        assert_eq!(host.io(sqe(0, 1)).code == 0, allowed[1]);
        assert_eq!(host.io(block_io(8, 0, 1, 0)).code == 0, allowed[1]);
        assert_eq!(host.io(block_io(0xC, 0, 1, 0)).code == 0, allowed[0]);
        assert_eq!(register(&mut host, 0, 0, KEY + 5), 0);
        (seen[2], seen[3]) = (read(&mut host) == 0, write(&mut host) == 0);
        assert_eq!(seen, allowed, "type {kind}");
    }
}

#[test]
fn release_and_clear() {
    let mut host = Host::ready();
    name(&mut host, *b"holder..........");
    register(&mut host, 0, 0, KEY);
    acquire(&mut host, 0, 2, KEY, 0);
    assert_eq!(release(&mut host, 0, 1, KEY), 0x02);
    assert_eq!(release(&mut host, 0, 2, KEY + 1), CONFLICT);
    next_host(&mut host, *b"other...........");
    assert_eq!(release(&mut host, 0, 2, KEY), CONFLICT);
    register(&mut host, 0, 0, KEY + 5);
    assert_eq!(release(&mut host, 0, 2, KEY + 5), 0, "who holds nothing releases nothing");
    assert_eq!(read(&mut host), CONFLICT);
    assert_eq!(release(&mut host, 1, 0, KEY + 5), 0);
    let status = report(&mut host);
    assert_eq!((status[4], status[5], read(&mut host)), (0, 0, 0));
}

#[test]
fn preempting() {
    let mut host = Host::ready();
    name(&mut host, *b"first...........");
    register(&mut host, 0, 0, KEY);
    acquire(&mut host, 0, 1, KEY, 0);
    next_host(&mut host, *b"second..........");
    assert_eq!(acquire(&mut host, 1, 2, KEY + 5, KEY), CONFLICT, "not registered");
    register(&mut host, 0, 0, KEY + 5);
    assert_eq!(acquire(&mut host, 1, 2, KEY + 5, 0), 0x02);
    assert_eq!(acquire(&mut host, 1, 2, KEY + 5, KEY + 9), CONFLICT);
    assert_eq!(acquire(&mut host, 2, 2, KEY + 5, KEY), 0);
    let status = report(&mut host);
    assert_eq!((status[4], status[5], status[66], &status[80..86]), (2, 1, 1, &b"second"[..]));
    next_host(&mut host, *b"first...........");
    assert_eq!((read(&mut host), register(&mut host, 1, KEY, 0)), (CONFLICT, CONFLICT));
    // With all registrants, key 0 preempts everybody.
    register(&mut host, 0, 0, KEY);
    next_host(&mut host, *b"second..........");
    release(&mut host, 0, 2, KEY + 5);
    acquire(&mut host, 0, 6, KEY + 5, 0);
    next_host(&mut host, *b"first...........");
    assert_eq!((write(&mut host), acquire(&mut host, 1, 1, KEY, 0)), (0, 0));
    let status = report(&mut host);
    assert_eq!((status[4], status[5], &status[80..85]), (1, 1, &b"first"[..]));
}

#[test]
fn a_host_that_is_taken_over_is_told_and_fenced() {
    let mut host = Host::ready();
    name(&mut host, *b"first...........");
    register(&mut host, 0, 0, KEY);
    acquire(&mut host, 0, 1, KEY, 0);
    host.submit(0, sqe(0x0C, 0));
    host.ssd.act(Action::Preempt(Nsid(1)));
    host.step();
    // Base Figure 153: I/O Command Specific Status 6, Reservation Log Page Available 0, log page 80h.
    assert_eq!(host.reap(0).unwrap().dw0, 6 | 0x80 << 16);
    assert_eq!((read(&mut host), write(&mut host)), (0, CONFLICT));
    // LPC 7:0, RNLPT 8 (3 is Reservation Preempted), NALP 9, NSID 15:12.
    let page = host.log_page(0x80, 64);
    assert_eq!((page[0], page[8], page[9], page[12]), (1, 3, 0, 1));
    assert_eq!(host.log_page(0x80, 64), vec![0; 64]);
    // A mask keeps it back: RESPRE is bit 3, REGPRE bit 1.
    register(&mut host, 0, 0, KEY);
    host.admin(sqe(9, 1).cdw10(0x82).cdw11(1 << 1));
    host.ssd.act(Action::Preempt(Nsid(1)));
    host.step();
    assert_eq!(host.log_page(0x80, 64)[0], 0);
}

#[test]
fn a_power_loss_takes_what_does_not_persist() {
    for persists in [false, true] {
        let mut host = Host::ready();
        name(&mut host, *b"holder..........");
        register(&mut host, if persists { 3 << 30 } else { 0 }, 0, KEY);
        acquire(&mut host, 0, 1, KEY, 0);
        assert_eq!(host.admin(sqe(0xA, 1).cdw10(0x83)).dw0, u32::from(persists));
        host.ssd.ssd().power_cycle();
        host.ssd.set_bus_master(true).unwrap();
        host.enable();
        host.create_pair(1, 64, None);
        assert_eq!(write(&mut host), if persists { CONFLICT } else { 0 });
    }
}

#[test]
fn reservations_in_an_image_outlive_the_process() {
    use nvme_model::{FileMedia, ImageShape, NamespaceOptions};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let shape = ImageShape { block_bytes: None, bytes: Some(1 << 20) };
    let host_on_image = || {
        let mut host = Host::bare(nvme_model::ControllerOptions::default());
        let media = FileMedia::open(&path, shape).unwrap();
        host.ssd.ssd().add_namespace(Nsid(1), NamespaceOptions::default(), media).unwrap();
        host.enable();
        host.create_pair(1, 64, None);
        host
    };
    let mut host = host_on_image();
    name(&mut host, *b"holder..........");
    assert_eq!(register(&mut host, 3 << 30, 0, KEY), 0);
    assert_eq!(acquire(&mut host, 0, 2, KEY, 0), 0);
    drop(host);
    let mut host = host_on_image();
    assert_eq!(read(&mut host), CONFLICT);
    name(&mut host, *b"holder..........");
    assert_eq!((read(&mut host), write(&mut host)), (0, 0));
    assert_eq!(release(&mut host, 1, 0, KEY), 0);
    drop(host);
    assert_eq!(write(&mut host_on_image()), 0);
}
