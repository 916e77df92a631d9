//! From power-on to the first I/O and back, with literal bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod host;

use host::{CAP, CC, CSTS, DATA, Host, VS, block_io, pattern, sqe};
use nvme_driver::PciFunction;
use nvme_model::{ControllerOptions, Next};

#[test]
fn registers_after_power_on() {
    let host = Host::with(ControllerOptions::default(), 512, 1024);
    // Base Figure 36: MQES 1023, CQR, TO 10, NSSRS, CSS NVM, CRWMS.
    assert_eq!(host.ssd.read64(CAP), 0x0800_0030_0A01_03FF);
    assert_eq!((host.ssd.read32(VS), host.ssd.read32(CSTS)), (0x0002_0000, 0));
    // CRTO.CRWMT is in units of 500 ms.
    assert_eq!(host.ssd.read32(0x68), 10);
    host.ssd.write32(CAP, 0);
    host.ssd.write32(VS, 0);
    host.ssd.write32(0x1C, 1);
    assert_eq!((host.ssd.read32(CAP), host.ssd.read32(CSTS)), (0x0A01_03FF, 0));
    assert_eq!(host.ssd.step(host.now), Next::Idle);
}

#[test]
fn what_is_written_is_read() {
    let mut host = Host::ready();
    let data = pattern(7, 1024);
    host.write(DATA, &data);
    assert_eq!(host.io(block_io(1, 8, 2, host.iova + DATA)).code, 0);
    host.zero(DATA, 8192);
    assert_eq!(host.io(block_io(2, 7, 4, host.iova + DATA)).code, 0);
    let back = host.read(DATA, 2560);
    assert_eq!((&back[..512], &back[512..1536]), (&[0; 512][..], &data[..]));
    assert!(back[1536..].iter().all(|byte| *byte == 0));
    assert_eq!(host.io(sqe(0, 1)).code, 0);
    assert_eq!(host.ssd.ssd().stats().dma_faults, 0);
}

#[test]
fn the_queue_wraps_and_the_phase_turns() {
    let mut host = Host::ready();
    for turn in 0..1000u32 {
        let done = host.io(block_io(2, u64::from(turn % 1024), 1, host.iova + DATA));
        assert_eq!((done.code, u32::from(done.sqhd)), (0, (turn + 1) % 64));
    }
}

#[test]
fn identify_says_what_the_figures_say() {
    let mut host = Host::ready();
    let controller = host.identify(1, 0).unwrap();
    // Base Figure 312: SN 23:04, MN 63:24, MDTS 77, CNTLID 79:78, VER 83:80, SQES 512, CQES 513, NN 519:516, VWC 525.
    assert_eq!(&controller[4..24], b"REMORA0000000001    ");
    assert_eq!(&controller[24..43], b"Remora Software SSD");
    assert_eq!((controller[77], &controller[80..84]), (5, &[0, 0, 2, 0][..]));
    assert_eq!((controller[512], controller[513], controller[516], controller[525]), (0x66, 0x44, 32, 7));
    let namespace = host.identify(0, 1).unwrap();
    // NVM Figure 114: NSZE 7:0, NCAP 15:8, NLBAF 25, FLBAS 26, LBAF0 131:128 with LBADS in bits 23:16.
    assert_eq!(
        (&namespace[..8], &namespace[8..16]),
        (&1024u64.to_le_bytes()[..], &1024u64.to_le_bytes()[..])
    );
    assert_eq!((namespace[25], namespace[26], &namespace[128..132]), (0, 0, &[0, 0, 9, 0][..]));
    assert_eq!(&host.identify(2, 0).unwrap()[..8], &[1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(host.identify(0, 2).unwrap(), vec![0; 4096]);
    // Base Figure 102: Invalid Namespace or Format, Invalid Field in Command.
    assert_eq!((host.identify(0, 0), host.identify(0, 33)), (Err(0x0B), Err(0x0B)));
    assert_eq!((host.identify(0x3F, 0), host.identify(3, 2)), (Err(0x02), Err(0x02)));
}

#[test]
fn a_disabled_controller_touches_nothing() {
    let mut host = Host::ready();
    host.ssd.write32(CC, 0x0046_0000);
    host.step();
    assert_eq!(host.ssd.read32(CSTS), 0);
    let before = host.ssd.ssd().stats();
    host.submit(1, block_io(2, 0, 1, host.iova + DATA));
    host.step();
    assert_eq!(host.ssd.ssd().stats().dma_accesses, before.dma_accesses);
    host.enable();
    host.create_pair(1, 64, None);
    assert_eq!(host.io(block_io(2, 0, 1, host.iova + DATA)).code, 0);
}
