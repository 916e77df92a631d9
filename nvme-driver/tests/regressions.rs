//! Bugs that were found by reading, each with its story.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod rig;

use std::collections::VecDeque;
use std::time::Duration;

use block::{Access, BlockDevice, BlockQueue, Event, Op, QueueOptions, Timestamp, Wait, WakeMode};
use nvme_driver::{DriverOptions, PciFunction};
use nvme_model::{
    Action, CommandFault, ControllerOptions, Fault, FaultRule, LifeFault, Moment, Queues, SteppedSsd,
};
use nvme_spec::command::AdminOpcode;
use nvme_spec::{Status, StatusCode};
use rig::{NSID, Rig, driver_options};

fn admin(opcode: AdminOpcode, fault: CommandFault) -> Fault {
    Fault::Command { queues: Queues::Admin, opcode: Some(opcode.raw()), fault }
}

fn fail() -> CommandFault {
    CommandFault::Fail { status: Status::permanent(StatusCode::INTERNAL_ERROR), executed: false }
}

fn transient() -> CommandFault {
    CommandFault::Fail { status: Status::new(StatusCode::INTERNAL_ERROR), executed: false }
}

fn reset_and_wait(rig: &mut Rig) {
    let before = rig.controller.incarnation();
    rig.controller.controller().reset();
    rig.run_until("again", |rig| rig.controller.incarnation() > before && rig.controller.state() == "live");
}

fn is_sound(rig: &mut Rig) {
    let now = rig.controller.incarnation();
    for byte in 0..20 {
        rig.check_works(byte);
    }
    assert_eq!(rig.controller.incarnation(), now, "no more resets");
}

/// Once, a queue kept the doorbells of its first incarnation: a reset after which the controller refused shadow doorbells
/// left it ringing where nobody listened.
#[test]
fn a_queue_survives_a_reset_that_takes_shadow_doorbells_away() {
    let mut rig = Rig::live();
    rig.check_works(1);
    rig.ssd().inject(FaultRule::once(admin(AdminOpcode::DoorbellBufferConfig, fail()))).unwrap();
    reset_and_wait(&mut rig);
    is_sound(&mut rig);
}

/// The other way round: registers that a controller with shadow doorbells ignores.
#[test]
fn a_queue_survives_a_reset_that_brings_shadow_doorbells() {
    let mut rig = Rig::cold(ControllerOptions::default(), driver_options());
    rig.ssd().inject(FaultRule::once(admin(AdminOpcode::DoorbellBufferConfig, fail()))).unwrap();
    rig.come_up();
    rig.check_works(1);
    reset_and_wait(&mut rig);
    is_sound(&mut rig);
}

/// The same for a queue that is opened before the controller has answered about its doorbells.
#[test]
fn a_queue_opened_while_the_controller_begins_anew_rings_where_it_is_heard() {
    let mut rig = Rig::live();
    rig.queue = None;
    rig.run_for(Duration::from_secs(1));
    let late = CommandFault::Late { ns: 1_000_000_000, executed: false };
    rig.ssd().inject(FaultRule::once(admin(AdminOpcode::DoorbellBufferConfig, late))).unwrap();
    rig.controller.controller().reset();
    rig.run_for(Duration::from_millis(800));
    assert_eq!(rig.controller.state(), "initialising");
    rig.open_queue(WakeMode::Polled);
    is_sound(&mut rig);
}

/// Once, with a wide doorbell stride, the controller read the shadow doorbells of its last queues behind the page.
#[test]
fn queues_beyond_the_shadow_page_work() {
    let model = ControllerOptions {
        doorbell_stride: nvme_spec::registers::DoorbellStride::from_raw(5),
        io_queue_pairs: 20,
        ..Default::default()
    };
    let mut rig = Rig::cold(model, DriverOptions { io_queues: 20, ..driver_options() });
    rig.run_until("live", |rig| rig.controller.state() == "live");
    let mut others = Vec::new();
    for _ in 0..rig.controller.controller().io_queues_max() {
        rig.open_queue(WakeMode::Polled);
        rig.check_works(1);
        assert_eq!(rig.controller.incarnation(), 1);
        others.extend(rig.queue.take());
    }
    rig.check_sane();
}

/// Once, becoming live forgave all failures, so a queue that was refused after each reset led to the next, for ever.
#[test]
fn a_queue_that_is_refused_after_a_reset_does_not_reset_for_ever() {
    let mut rig = Rig::live();
    rig.ssd().inject(FaultRule::always(admin(AdminOpcode::CreateIoCq, fail()))).unwrap();
    let before = rig.controller.incarnation();
    rig.controller.controller().reset();
    rig.run_for(Duration::from_secs(60));
    let resets = rig.controller.incarnation() - before;
    assert!(resets < 10, "{resets} resets in a minute, state {}", rig.controller.state());
}

/// A refusal of one Identify command, with or without Do Not Retry, says nothing of the namespace.
#[test]
fn a_structure_that_cannot_be_read_once_removes_nothing() {
    let mut rig = Rig::live();
    rig.ssd().inject(FaultRule::once(admin(AdminOpcode::Identify, transient())).after(1)).unwrap();
    rig.ssd.act(Action::Resize(NSID, 8192));
    rig.run_for(Duration::from_secs(3));
    assert_eq!(rig.controller.controller().namespaces(), [NSID]);
    assert!(!rig.events.contains(&Event::Removed), "{:?}", rig.events);
}

/// Once, identifiers that could not be read took the UUID away from a namespace that was in use.
#[test]
fn descriptors_that_cannot_be_read_once_change_no_identity() {
    let mut rig = Rig::live();
    let device = rig.controller.controller().namespace(NSID, Access::Read).unwrap();
    let before = device.identity();
    rig.ssd().inject(FaultRule::once(admin(AdminOpcode::Identify, transient())).after(2)).unwrap();
    rig.ssd.act(Action::Resize(NSID, 8192));
    rig.run_for(Duration::from_secs(3));
    assert_eq!(device.identity(), before);
}

/// Once, `prepare_wait` consumed the signal, acted upon it, and let its owner sleep with requests that could be sent.
#[test]
fn a_queue_that_becomes_live_in_prepare_wait_is_told() {
    let mut rig = Rig::cold(ControllerOptions::default(), driver_options());
    rig.run_until("live", |rig| rig.controller.state() == "live");
    rig.queue =
        Some(rig.controller.begin_queue(NSID, QueueOptions { depth: 32, wake: WakeMode::Polled }).unwrap());
    let read = rig.request(Op::Read, 0, 1, 0);
    rig.requests.push_back(read);
    // The owner's loop: submit, poll, prepare_wait, sleep. The core and the device work between poll and prepare_wait.
    rig.poll();
    assert_eq!(rig.requests.len(), 1, "not attached yet");
    for _ in 0..10 {
        rig.controller.step(rig.now);
        rig.ssd.run(rig.now, 1000);
    }
    let wait = rig.queue.as_mut().unwrap().prepare_wait(rig.now);
    assert_eq!(wait, Wait::Poll, "the request can be sent now, and no signal is left");
}

/// The same for an event that the owner had yet to hear of.
#[test]
fn a_removal_that_is_seen_in_prepare_wait_is_told() {
    let mut rig = Rig::live();
    rig.run_for(Duration::from_secs(1));
    rig.events.clear();
    rig.poll();
    rig.ssd.act(Action::Remove);
    rig.advance(Duration::from_secs(1));
    rig.controller.step(rig.now);
    assert_eq!(rig.controller.state(), "over");
    let wait = rig.queue.as_mut().unwrap().prepare_wait(rig.now);
    assert_eq!(wait, Wait::Poll, "an event waits, and no signal is left");
}

/// Once, a controller that had lost power counted as live until somebody used it.
#[test]
fn a_power_cycle_is_noticed_without_io() {
    let mut rig = Rig::live();
    let before = rig.controller.incarnation();
    rig.ssd().power_cycle();
    rig.run_for(Duration::from_secs(20));
    assert!(rig.controller.incarnation() > before, "still {}", rig.controller.state());
}

/// Once, a reset did not restore bus mastering and interrupts, which a power cycle takes away.
#[test]
fn a_power_cycle_is_survived_with_io() {
    let mut rig = Rig::live();
    rig.ssd().power_cycle();
    let read = rig.request(Op::Read, 0, 1, 0);
    assert!(rig.execute(read).result.is_err());
    rig.check_works(3);
}

/// Once, an abort that waited in line could end a later command: generations of identifiers come round.
#[test]
fn a_late_abort_does_not_hit_the_slots_next_command() {
    let model = ControllerOptions { queue_entries_max: 8192, ..Default::default() };
    let mut rig = Rig::cold(model, driver_options());
    rig.run_until("live", |rig| rig.controller.state() == "live");
    rig.queue =
        Some(rig.controller.begin_queue(NSID, QueueOptions { depth: 4096, wake: WakeMode::Polled }).unwrap());
    rig.run_until("attached", |rig| rig.queue.as_mut().unwrap().attachment().unwrap());
    let io = |fault| Fault::Command { queues: Queues::Io, opcode: None, fault };
    rig.ssd()
        .inject(FaultRule::once(io(CommandFault::Late { ns: 10_000_000_001, executed: false })))
        .unwrap();
    let read = rig.request(Op::Read, 0, 1, 0);
    rig.submit(read);
    rig.ssd.run(rig.now, 1000);
    rig.advance(Duration::from_secs(10));
    rig.poll(); // its time is over: an abort is wished for
    assert_eq!(rig.queue.as_mut().unwrap().census().aborting, 1);
    rig.advance(Duration::from_nanos(10));
    rig.ssd.run(rig.now, 1000);
    rig.poll(); // and it completes all the same
    assert_eq!(rig.completions.pop().unwrap().result, Ok(()));
    for _ in 0..14 {
        let read = rig.request(Op::Read, 0, 1, 0);
        rig.submit(read);
        rig.ssd.run(rig.now, 1000);
        rig.poll();
        assert_eq!(rig.completions.pop().unwrap().result, Ok(()));
    }
    rig.ssd().inject(FaultRule::once(io(CommandFault::Late { ns: 1_000_000, executed: false }))).unwrap();
    let read = rig.request(Op::Read, 0, 1, 0);
    let healthy = rig.execute(read);
    assert_eq!(healthy.result, Ok(()));
}

/// Once, submitting nothing counted as progress, so commands never grew old and their owner never slept.
#[test]
fn old_commands_let_their_owner_sleep_though_it_looks_for_more_to_submit() {
    let mut rig = Rig::live();
    let late = CommandFault::Late { ns: 5_000_000_000, executed: false };
    rig.ssd()
        .inject(FaultRule::once(Fault::Command { queues: Queues::Io, opcode: None, fault: late }))
        .unwrap();
    let read = rig.request(Op::Read, 0, 1, 0);
    rig.submit(read);
    rig.ssd.run(rig.now, 1000);
    rig.advance(Duration::from_millis(10));
    let queue = rig.queue.as_mut().unwrap();
    queue.submit(&mut VecDeque::new(), rig.now);
    assert!(matches!(queue.prepare_wait(rig.now), Wait::Until(_)));
}

/// Once, only the first request that waited for a reset was looked at.
#[test]
fn each_waiting_request_ends_at_its_own_deadline() {
    let mut rig = Rig::live();
    rig.ssd()
        .inject(FaultRule::once(Fault::Life {
            moment: Moment::Enable,
            fault: LifeFault::Slow { ns: 1_500_000_000 },
        }))
        .unwrap();
    rig.controller.controller().reset();
    rig.run_until("enabling", |rig| rig.controller.state() == "enabling");
    let patient = rig.request(Op::Read, 0, 1, 0);
    let hasty = rig.request(Op::Read, 0, 1, 0).with_deadline(rig.now.after(Duration::from_millis(100)));
    rig.requests.extend([patient, hasty]);
    rig.run_for(Duration::from_millis(200));
    assert_eq!(rig.completions.len(), 1);
}

/// Once, requests behind a queue whose slots were all withheld waited beyond their deadlines.
#[test]
fn waiting_requests_end_at_their_deadline_when_all_slots_are_withheld() {
    let mut rig = Rig::cold(ControllerOptions::default(), driver_options());
    rig.run_until("live", |rig| rig.controller.state() == "live");
    rig.queue =
        Some(rig.controller.begin_queue(NSID, QueueOptions { depth: 1, wake: WakeMode::Polled }).unwrap());
    rig.run_until("attached", |rig| rig.queue.as_mut().unwrap().attachment().unwrap());
    rig.ssd()
        .inject(FaultRule::always(Fault::Command {
            queues: Queues::Io,
            opcode: None,
            fault: CommandFault::Lost { executed: false },
        }))
        .unwrap();
    rig.ssd().inject(FaultRule::always(admin(AdminOpcode::Abort, CommandFault::Ignored))).unwrap();
    for _ in 0..2 {
        let hasty = rig.request(Op::Read, 0, 1, 0).with_deadline(rig.now.after(Duration::from_millis(100)));
        rig.requests.push_back(hasty);
    }
    rig.run_for(Duration::from_millis(500));
    assert_eq!(rig.completions.len(), 2);
}

/// Once, a stepped controller was shut down under an open queue.
#[test]
fn closing_waits_for_queues() {
    let mut rig = Rig::live();
    rig.controller.close();
    rig.run_for(Duration::from_secs(1));
    assert_eq!(rig.controller.state(), "live", "\"It waits for all queues to be dropped\"");
}

/// Once, a controller that reported events without end could not be closed.
#[test]
fn a_controller_that_never_stops_reporting_can_be_closed() {
    let mut rig = Rig::live();
    rig.queue = None;
    rig.controller.close();
    let mut size = 5000;
    for _ in 0..20_000 {
        size ^= 1;
        rig.ssd.act(Action::Resize(NSID, size));
        rig.ssd.run(rig.now, 1000);
        rig.advance(Duration::from_millis(1));
        rig.controller.step(rig.now);
    }
    assert_eq!(rig.controller.state(), "over");
}

/// Once, each handle of a namespace had claims of its own, so two could write the same blocks.
#[test]
fn one_namespace_has_one_table_of_claims() {
    let rig = Rig::live();
    let range = block::BlockRange::new(block::Lba(0), 8);
    let a = rig.controller.controller().namespace(NSID, Access::ReadWrite).unwrap();
    let b = rig.controller.controller().namespace(NSID, Access::ReadWrite).unwrap();
    let _one = a.claims().claim(range, Access::ReadWrite, "a").unwrap();
    assert!(b.claims().claim(range, Access::ReadWrite, "b").is_err());
}

/// Once, aborts that were wished for before a reset were sent after it.
#[test]
fn wishes_of_an_incarnation_end_with_it() {
    let mut rig = Rig::live();
    rig.ssd()
        .inject(FaultRule::always(Fault::Command {
            queues: Queues::Io,
            opcode: Some(2),
            fault: CommandFault::Lost { executed: false },
        }))
        .unwrap();
    for _ in 0..8 {
        let r = rig.request(Op::Read, 0, 1, 0);
        rig.requests.push_back(r);
    }
    rig.poll();
    rig.ssd.run(rig.now, 1000);
    rig.advance(Duration::from_secs(10));
    rig.controller.controller().reset();
    rig.queue.as_mut().unwrap().poll(&mut rig.completions, rig.now);
    assert_eq!(rig.queue.as_mut().unwrap().census().aborting, 8);
    let aborts = rig
        .ssd()
        .inject(FaultRule::always(admin(AdminOpcode::Abort, CommandFault::Late { ns: 1, executed: true })))
        .unwrap();
    rig.run_until("reset", |rig| rig.controller.incarnation() == 2 && rig.controller.state() == "live");
    rig.run_for(Duration::from_secs(1));
    assert_eq!(rig.ssd().fired(aborts), 0, "aborts of commands of an incarnation that has ended");
}

/// A controller whose queues have two entries takes one command at a time.
#[test]
fn smallest_queues_work() {
    let model = ControllerOptions { queue_entries_max: 2, ..Default::default() };
    let mut rig = Rig::cold(model, driver_options());
    rig.run_until("live", |rig| rig.controller.state() == "live");
    assert!(rig.controller.begin_queue(NSID, QueueOptions { depth: 2, wake: WakeMode::Polled }).is_err());
    rig.queue =
        Some(rig.controller.begin_queue(NSID, QueueOptions { depth: 1, wake: WakeMode::Polled }).unwrap());
    rig.run_until("attached", |rig| rig.queue.as_mut().unwrap().attachment().unwrap());
    is_sound(&mut rig);
}

/// Once, refused event requests were not made again before the next reset, and events were missed.
#[test]
fn a_refused_event_request_is_made_again() {
    let mut rig = Rig::cold(ControllerOptions::default(), driver_options());
    let fault = FaultRule { times: 4, ..FaultRule::once(admin(AdminOpcode::AsyncEventRequest, transient())) };
    rig.ssd().inject(fault).unwrap();
    rig.come_up();
    rig.run_for(Duration::from_secs(5));
    rig.ssd.act(Action::Resize(NSID, 8192));
    rig.run_for(Duration::from_secs(60));
    assert!(rig.events.iter().any(|e| matches!(e, Event::Resized(_))), "{:?}", rig.events);
}

/// Once, CC.EN was cleared while CSTS.RDY was still to follow it, which has no defined result.
#[test]
fn a_controller_that_is_becoming_ready_is_waited_for() {
    use nvme_spec::registers::Register;
    // A boot loader has just enabled it: CC.EN = 1, CSTS.RDY = 0. Base 3.1.4.5: clearing EN now has undefined results.
    let ssd = std::sync::Arc::new(SteppedSsd::new(ControllerOptions {
        enable_ns: 1_000_000_000,
        ..Default::default()
    }));
    let t = Timestamp::from_ns(1);
    ssd.write32(Register::Aqa.offset(), 0x001f_001f);
    ssd.write32(Register::Cc.offset(), 0x0046_0001);
    ssd.run(t, 10);
    assert_eq!(ssd.read32(Register::Csts.offset()) & 1, 0);
    let _controller = nvme_driver::SteppedController::begin(ssd.clone(), driver_options(), t).unwrap();
    assert_eq!(ssd.read32(Register::Cc.offset()) & 1, 1, "CC.EN is left alone until CSTS.RDY is 1");
}

/// Once, a driver that was dropped in the middle gave memory back that its device went on writing.
#[test]
fn a_driver_that_is_dropped_leaves_no_device_that_writes() {
    let driver = DriverOptions { shadow_doorbells: false, ..driver_options() };
    let mut rig = Rig::live_with(ControllerOptions::default(), driver);
    let late = CommandFault::Late { ns: 1_000_000, executed: false };
    rig.ssd()
        .inject(FaultRule::once(Fault::Command { queues: Queues::Io, opcode: None, fault: late }))
        .unwrap();
    let read = rig.request(Op::Read, 0, 8, 0);
    rig.submit(read);
    rig.ssd.run(rig.now, 1000);
    rig.queue = None;
    let Rig { ssd, controller, pool, now, .. } = rig;
    drop(controller);
    let mut all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!(all.len(), rig::CHUNKS as usize, "the device is no bus master, so all memory is back");
    for buffer in &mut all {
        buffer.fill(0, 4096, 0xaa).unwrap();
    }
    ssd.run(now.after(Duration::from_secs(1)), 1000);
    for buffer in &all {
        let mut byte = [0];
        buffer.read(0, &mut byte).unwrap();
        assert_eq!(byte, [0xaa], "nobody writes it any more");
    }
}

/// Once, a reset waited for a queue that had been dropped to stop ringing.
#[test]
fn an_orphan_does_not_slow_a_reset() {
    let mut rig = Rig::live();
    let lost = CommandFault::Lost { executed: false };
    rig.ssd()
        .inject(FaultRule::always(Fault::Command {
            queues: Queues::Admin,
            opcode: Some(AdminOpcode::DeleteIoSq.raw()),
            fault: lost,
        }))
        .unwrap();
    rig.queue = None;
    rig.work();
    rig.controller.controller().reset();
    rig.work();
    rig.advance(Duration::from_millis(1));
    rig.work();
    assert_ne!(rig.controller.state(), "halting", "nobody is left to ring");
}

/// More late commands than wait for an abort at once.
#[test]
fn abandoned_commands_past_the_mailbox_are_aborted_too() {
    let mut rig = Rig::live();
    rig.ssd()
        .inject(FaultRule::always(Fault::Command {
            queues: Queues::Io,
            opcode: None,
            fault: CommandFault::Lost { executed: false },
        }))
        .unwrap();
    let before = rig.controller.incarnation();
    for _ in 0..30 {
        let r = rig.request(Op::Read, 0, 1, 0);
        rig.requests.push_back(r);
    }
    rig.run_for(Duration::from_secs(60));
    assert_eq!(rig.completions.len(), 30);
    assert_eq!(rig.controller.incarnation(), before, "aborts work, so no reset is needed");
}
