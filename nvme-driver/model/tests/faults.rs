//! Every fault strikes where it says, and nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod host;

use host::{CAP, CC, CSTS, DATA, Host, Sqe, block_io, pattern, sqe};
use nvme_driver::{PciError, PciFunction};
use nvme_model::{
    Action, CommandFault, ControllerOptions, Corruption, Fault, FaultRule, Lie, LifeFault, Moment, Next,
    Phase, Queues, RuleId,
};
use nvme_spec::{Nsid, QueueId, Status, StatusCode};

fn inject(host: &Host, queues: Queues, opcode: Option<u8>, fault: CommandFault) -> RuleId {
    host.ssd.ssd().inject(FaultRule::once(Fault::Command { queues, opcode, fault })).unwrap()
}

fn inject_read(host: &Host, fault: CommandFault) -> RuleId {
    inject(host, Queues::Io, Some(2), fault)
}

fn inject_life(host: &Host, moment: Moment, fault: LifeFault) -> RuleId {
    host.ssd.ssd().inject(FaultRule::once(Fault::Life { moment, fault })).unwrap()
}

fn fired(host: &Host, rule: RuleId) -> u64 {
    host.ssd.ssd().fired(rule)
}

/// A host whose block 0 holds a pattern, and whose memory at DATA does not.
fn with_data() -> Host {
    let mut host = Host::ready();
    host.write(DATA, &pattern(1, 512));
    assert_eq!(host.io(block_io(1, 0, 1, host.iova + DATA)).code, 0);
    host.zero(DATA, 4096);
    host
}

fn read(host: &Host) -> Sqe {
    block_io(2, 0, 1, host.iova + DATA)
}

fn moved(host: &Host) -> bool {
    host.read(DATA, 512) == pattern(1, 512)
}

#[test]
fn late_completions_come_when_they_say() {
    for executed in [false, true] {
        let mut host = with_data();
        let rule = inject_read(&host, CommandFault::Late { ns: 5000, executed });
        let cid = host.submit(1, read(&host));
        host.step();
        assert_eq!((host.reap(1), moved(&host), fired(&host, rule)), (None, executed, 1));
        let due = host.now.after_ns(5000);
        assert_eq!(host.ssd.step(host.now), Next::At(due));
        host.pass_ns(4999);
        assert_eq!((host.reap(1), host.ssd.ssd().stats().held), (None, 1));
        host.pass_ns(1);
        let done = host.reap(1).unwrap();
        assert_eq!((done.cid, done.code, moved(&host)), (cid, 0, true));
    }
}

#[test]
fn lost_completions_never_come_unless_aborted() {
    for executed in [false, true] {
        let mut host = with_data();
        inject_read(&host, CommandFault::Lost { executed });
        let cid = host.submit(1, read(&host));
        host.pass_ns(u64::MAX / 2);
        assert_eq!((host.reap(1), moved(&host)), (None, executed));
        assert_eq!(host.io(read(&host)).code, 0);
        let done = host.admin(sqe(8, 0).cdw10(1 | u32::from(cid) << 16));
        assert_eq!((done.code, done.dw0), (0, 0));
        // Base Figure 102: Command Abort Requested.
        let aborted = host.reap(1).unwrap();
        assert_eq!((aborted.cid, aborted.code, aborted.dnr), (cid, 0x07, false));
        let again = host.admin(sqe(8, 0).cdw10(1 | u32::from(cid) << 16));
        assert_eq!((again.code, again.dw0), (0, 1));
    }
}

#[test]
fn an_abort_reaches_a_command_that_still_waits() {
    let mut host = Host::ready_with(ControllerOptions { latency_ns: 1000, ..Default::default() });
    host.write(DATA, &pattern(1, 512));
    let cid = host.submit(1, block_io(1, 0, 1, host.iova + DATA));
    host.step();
    assert_eq!(host.admin(sqe(8, 0).cdw10(1 | u32::from(cid) << 16)).dw0, 0);
    assert_eq!(host.reap(1).unwrap().code, 0x07);
    host.submit(1, read(&host));
    host.pass_ns(0);
    host.pass_ns(1000);
    assert_eq!(host.reap(1).unwrap().code, 0);
    assert!(host.read(DATA, 512).iter().all(|byte| *byte == 0), "nothing was written");
}

#[test]
fn an_ignored_abort_says_that_it_did_nothing() {
    let mut host = with_data();
    inject_read(&host, CommandFault::Lost { executed: false });
    let rule = inject(&host, Queues::Admin, Some(8), CommandFault::Ignored);
    let cid = host.submit(1, read(&host));
    let abort = sqe(8, 0).cdw10(1 | u32::from(cid) << 16);
    assert_eq!(host.admin(abort).dw0, 1);
    assert_eq!((host.reap(1), fired(&host, rule)), (None, 1));
    let lost = inject(&host, Queues::Admin, Some(8), CommandFault::Lost { executed: false });
    host.submit(0, abort);
    host.step();
    assert_eq!((host.reap(0), host.reap(1), fired(&host, lost)), (None, None, 1));
}

#[test]
fn failures_have_their_status_and_may_have_moved_data() {
    for executed in [false, true] {
        for status in [
            Status::new(StatusCode::UNRECOVERED_READ_ERROR),
            Status::permanent(StatusCode::INTERNAL_ERROR),
            Status::new(StatusCode::NAMESPACE_NOT_READY),
        ] {
            let mut host = with_data();
            inject_read(&host, CommandFault::Fail { status, executed });
            let done = host.io(read(&host));
            assert_eq!((done.code, done.dnr), (status.code().raw(), status.dnr()));
            assert_eq!((done.more, moved(&host)), (true, executed));
            assert_eq!(host.io(read(&host)).code, 0);
        }
    }
}

#[test]
fn a_reordered_completion_is_overtaken_or_gives_up() {
    let mut host = with_data();
    inject_read(&host, CommandFault::Reordered { behind: 2 });
    let cids: Vec<u16> = (0..4).map(|_| host.submit(1, read(&host))).collect();
    host.step();
    let order: Vec<u16> = std::iter::from_fn(|| host.reap(1)).map(|done| done.cid).collect();
    assert_eq!(order.len(), 4);
    let place = order.iter().position(|cid| *cid == cids[0]).unwrap();
    assert!(place >= 2, "{order:?}");
    inject_read(&host, CommandFault::Reordered { behind: 2 });
    let alone = host.submit(1, read(&host));
    host.step();
    assert_eq!(host.reap(1), None);
    host.pass_ns(nvme_model::faults::REORDER_NS_MAX);
    assert_eq!(host.reap(1).unwrap().cid, alone);
}

#[test]
fn corrupt_completions_are_as_they_say() {
    for corruption in
        [Corruption::UnknownCid, Corruption::WrongSqid, Corruption::Duplicate, Corruption::SqheadOutside]
    {
        let mut host = with_data();
        inject_read(&host, CommandFault::Corrupt(corruption));
        let cid = host.submit(1, read(&host));
        host.step();
        let done: Vec<_> = std::iter::from_fn(|| host.reap(1)).collect();
        assert_eq!(done.len(), if corruption == Corruption::Duplicate { 2 } else { 1 });
        let first = done[0];
        assert_eq!(first.cid != cid, corruption == Corruption::UnknownCid);
        assert_eq!(first.sqid != 1, corruption == Corruption::WrongSqid);
        assert_eq!(first.sqhd >= 64, corruption == Corruption::SqheadOutside);
        assert_eq!(host.io(read(&host)).code, 0);
    }
}

#[test]
fn a_hung_queue_stays_hung_and_the_others_go_on() {
    let mut host = with_data();
    host.create_pair(2, 8, None);
    let fault = CommandFault::NeverFetched;
    let rule = host
        .ssd
        .ssd()
        .inject(
            FaultRule::once(Fault::Command { queues: Queues::One(QueueId(1)), opcode: None, fault }).after(1),
        )
        .unwrap();
    assert_eq!(host.io(read(&host)).code, 0);
    for _ in 0..3 {
        host.submit(1, read(&host));
    }
    host.step();
    assert_eq!((host.reap(1), fired(&host, rule)), (None, 1));
    assert_eq!(host.run(2, read(&host)).code, 0);
    // Made anew, the queue works.
    assert_eq!(host.admin(sqe(0, 0).cdw10(1)).code, 0);
    assert_eq!(host.admin(sqe(4, 0).cdw10(1)).code, 0);
    host.create_pair(1, 64, None);
    assert_eq!(host.io(read(&host)).code, 0);
}

#[test]
fn actions_happen_in_their_phase() {
    for phase in Phase::ALL {
        for action in [Action::Remove, Action::Fatal] {
            let mut host = with_data();
            let rule = inject_read(&host, CommandFault::Act { action, phase });
            host.submit(1, read(&host));
            host.step();
            let transferred = matches!(phase, Phase::AfterTransfer | Phase::Completed);
            assert_eq!((moved(&host), fired(&host, rule)), (transferred, 1), "{phase:?} {action:?}");
            assert_eq!(host.reap(1).is_some(), phase == Phase::Completed, "{phase:?} {action:?}");
            let csts = if action == Action::Remove { u32::MAX } else { 3 };
            assert_eq!(host.ssd.read32(CSTS), csts);
            let stats = host.ssd.ssd().stats();
            assert_eq!(stats.dma_faults, 0);
            host.submit(1, read(&host));
            host.pass_ns(1 << 40);
            assert_eq!(host.ssd.ssd().stats().dma_accesses, stats.dma_accesses);
        }
    }
}

#[test]
fn actions_strike_commands_without_data_too() {
    for phase in Phase::ALL {
        let mut host = with_data();
        inject(&host, Queues::Io, Some(0), CommandFault::Act { action: Action::Fatal, phase });
        host.submit(1, sqe(0, 1));
        host.step();
        assert_eq!(host.ssd.read32(CSTS), 3, "{phase:?}");
        assert_eq!(host.reap(1).is_some(), phase == Phase::Completed);
        let flushed = matches!(phase, Phase::AfterTransfer | Phase::Completed);
        assert_eq!(host.ssd.ssd().stats().flushes == 1, flushed, "{phase:?}");
    }
}

#[test]
fn a_namespace_that_goes_in_the_middle_of_a_command() {
    let mut host = with_data();
    let action = Action::Detach(Nsid(1));
    inject_read(&host, CommandFault::Act { action, phase: Phase::BeforeTransfer });
    assert_eq!(host.io(read(&host)).code, 0x02);
    host.ssd.act(Action::Attach(Nsid(1)));
    assert_eq!(host.io(read(&host)).code, 0);
    host.ssd.act(Action::Resize(Nsid(1), 7));
    assert_eq!(host.io(block_io(2, 7, 1, host.iova + DATA)).code, 0x80);
    assert_eq!(host.identify(0, 1).unwrap()[0], 7);
}

#[test]
fn a_removed_function_is_gone_for_good() {
    let host = with_data();
    host.ssd.act(Action::Remove);
    assert_eq!((host.ssd.read64(CAP), host.ssd.read32(0x1000)), (u64::MAX, u32::MAX));
    assert!(matches!(host.ssd.reset(), Err(PciError::Gone { .. })));
    assert!(matches!(host.ssd.set_bus_master(false), Err(PciError::Gone { .. })));
    host.ssd.write32(CC, 0);
    host.step();
    assert_eq!(host.ssd.read32(CSTS), u32::MAX);
}

#[test]
fn stuck_moments_never_end() {
    let mut host = Host::with(ControllerOptions::default(), 512, 8);
    let rule = inject_life(&host, Moment::Enable, LifeFault::Stuck);
    host.ssd.write32(0x24, 31 | 31 << 16);
    host.ssd.write32(CC, 0x0046_0001);
    host.pass_ns(1 << 50);
    assert_eq!((host.ssd.read32(CSTS), fired(&host, rule)), (0, 1));
    host.ssd.write32(CC, 0x0046_0000);
    host.step();
    host.enable();
    inject_life(&host, Moment::Shutdown, LifeFault::Stuck);
    host.ssd.write32(CC, 0x0046_4001);
    host.pass_ns(1 << 50);
    assert_eq!(host.ssd.read32(CSTS), 1 | 1 << 2);
    inject_life(&host, Moment::Disable, LifeFault::Stuck);
    host.ssd.write32(CC, 0x0046_0000);
    host.pass_ns(1 << 50);
    assert_eq!(host.ssd.read32(CSTS) & 1, 1);
    // A function level reset still works.
    host.ssd.reset().unwrap();
    assert_eq!((host.ssd.read32(CSTS), host.ssd.read32(CC)), (0, 0));
    host.ssd.set_bus_master(true).unwrap();
    host.enable();
}

#[test]
fn slow_moments_end_in_time() {
    let mut host = Host::with(ControllerOptions::default(), 512, 8);
    inject_life(&host, Moment::Enable, LifeFault::Slow { ns: 100 });
    host.ssd.write32(0x24, 31 | 31 << 16);
    host.ssd.write32(CC, 0x0046_0001);
    host.step();
    host.pass_ns(99);
    assert_eq!(host.ssd.read32(CSTS), 0);
    host.pass_ns(1);
    assert_eq!(host.ssd.read32(CSTS), 1);
    inject_life(&host, Moment::Disable, LifeFault::Act(Action::Remove));
    host.ssd.write32(CC, 0);
    assert_eq!(host.ssd.read32(CSTS), u32::MAX);
}

#[test]
fn commands_in_flight_complete_while_a_slow_disable_goes_on() {
    let options = ControllerOptions { disable_ns: 1000, latency_ns: 500, ..ControllerOptions::default() };
    let mut host = Host::ready_with(options);
    let cids = [host.submit(1, read(&host)), host.submit(1, read(&host))];
    host.step();
    host.ssd.write32(CC, 0x0046_0000);
    host.pass_ns(500);
    assert_eq!(host.ssd.read32(CSTS), 1);
    assert_eq!([host.reap(1).unwrap().cid, host.reap(1).unwrap().cid], cids);
    let accesses = host.ssd.ssd().stats().dma_accesses;
    host.pass_ns(1 << 30);
    assert_eq!((host.ssd.read32(CSTS), host.ssd.ssd().stats().dma_accesses), (0, accesses));
}

#[test]
fn lies_are_told_once() {
    type Look = fn(&[u8]) -> bool;
    // NVM Figure 114: NSZE 7:0, FLBAS 26, LBADS of LBAF0 130.
    let of_namespace: [(Lie, Look); 6] = [
        (Lie::BlockSizeZero, |page| page[130] == 0),
        (Lie::BlockSizeHuge, |page| page[130] == 63),
        (Lie::SizeHuge, |page| page[..8] == [0xFF; 8]),
        (Lie::SizeZero, |page| page[..8] == [0; 8]),
        (Lie::FormatOutOfRange, |page| page[26] == 5 && page[25] == 0),
        (Lie::AllOnes, |page| page == vec![0xFF; 4096]),
    ];
    // Base Figure 312: SN 23:04, MDTS 77, SQES 512.
    let of_controller: [(Lie, Look); 4] = [
        (Lie::MdtsHuge, |page| page[77] == 255),
        (Lie::EntrySizesHuge, |page| page[512] == 0xFF && page[513] == 0xFF),
        (Lie::StringsNonsense, |page| page[4..24] == [0x1B; 20]),
        (Lie::AllOnes, |page| page == vec![0xFF; 4096]),
    ];
    let all = of_namespace.iter().map(|lie| (0, 1, lie)).chain(of_controller.iter().map(|lie| (1, 0, lie)));
    for (cns, nsid, (lie, look)) in all {
        let mut host = Host::ready();
        let truth = host.identify(cns, nsid).unwrap();
        assert!(!look(&truth), "{lie:?}");
        inject(&host, Queues::Admin, Some(6), CommandFault::Lie(*lie));
        assert!(look(&host.identify(cns, nsid).unwrap()), "{lie:?}");
        assert_eq!(host.identify(cns, nsid).unwrap(), truth);
    }
}

#[test]
fn fewer_queues_than_asked_and_queues_that_are_refused() {
    let mut host = Host::with(ControllerOptions::default(), 512, 8);
    host.enable();
    inject(&host, Queues::Admin, Some(9), CommandFault::Lie(Lie::QueuePairs(2)));
    let done = host.admin(sqe(9, 0).cdw10(7).cdw11(15 | 15 << 16));
    assert_eq!((done.code, done.dw0), (0, 1 | 1 << 16));
    let status = Status::permanent(StatusCode::INVALID_QUEUE_SIZE);
    inject(&host, Queues::Admin, Some(5), CommandFault::Fail { status, executed: false });
    assert_eq!(host.create_cq(1, 64, None).code, 0x102);
    host.create_pair(1, 64, None);
    assert_eq!(host.create_cq(3, 64, None).code, 0x101);
}

#[test]
fn a_lost_interrupt_is_that_one_alone() {
    use rustix::event::{EventfdFlags, eventfd};
    use std::os::fd::AsFd;
    let mut host = Host::with(ControllerOptions::default(), 512, 8);
    let eventfds: Vec<_> = (0..2).map(|_| eventfd(0, EventfdFlags::NONBLOCK).unwrap()).collect();
    host.ssd.set_interrupts(&[eventfds[0].as_fd(), eventfds[1].as_fd()]).unwrap();
    host.enable();
    host.create_pair(1, 64, Some(1));
    let count = |index: usize| {
        let mut bytes = [0; 8];
        rustix::io::read(&eventfds[index], &mut bytes).map_or(0, |_| u64::from_ne_bytes(bytes))
    };
    assert_eq!((count(0), count(1)), (2, 0));
    for _ in 0..3 {
        host.place(1, read(&host));
    }
    host.ring_tail(1);
    host.step();
    assert_eq!((count(0), count(1)), (0, 1), "one signal for a batch");
    let rule = inject_read(&host, CommandFault::InterruptLost);
    host.submit(1, read(&host));
    host.step();
    assert_eq!((count(1), fired(&host, rule), host.ssd.ssd().stats().interrupts_lost), (0, 1, 1));
    host.submit(1, read(&host));
    host.step();
    assert_eq!(count(1), 1);
}

#[test]
fn chances_repeat_with_their_seed_and_healing_ends_them() {
    let run = |seed| {
        let mut host = with_data();
        host.ssd.ssd().seed_faults(seed);
        let status = Status::new(StatusCode::UNRECOVERED_READ_ERROR);
        let fault = Fault::Command {
            queues: Queues::Io,
            opcode: None,
            fault: CommandFault::Fail { status, executed: true },
        };
        host.ssd.ssd().inject(FaultRule::always(fault).with_chance(400_000)).unwrap();
        let codes: Vec<u16> = (0..100).map(|_| host.io(read(&host)).code).collect();
        host.ssd.ssd().heal();
        assert!((0..20).all(|_| host.io(read(&host)).code == 0));
        codes
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    assert!(run(3).contains(&0) && run(3).contains(&0x281));
}
