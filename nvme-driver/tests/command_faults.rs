//! Every fault that the software SSD can do to one command, on every kind of queue: the right end, once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod rig;

use std::time::Duration;

use block::{Event, IoError, Op, WakeMode};
use nvme_model::{
    Action, CommandFault, Corruption, CriticalWarningBit, Fault, FaultRule, Lie, Phase, Queues,
};
use nvme_spec::command::AdminOpcode;
use nvme_spec::{Status, StatusCode};
use rig::{NSID, Rig, driver_options};

/// How the request ends, and whether the controller begins anew.
#[derive(Debug, PartialEq)]
enum End {
    /// Without a reset, so.
    Same(Result<(), IoError>),
    /// With one reset, so.
    Reset(Result<(), IoError>),
    /// The device is gone.
    Gone,
}

const LATE_NS: u64 = 30_000_000_000;

/// With More, since the model's error log tells more.
fn media_error() -> Status {
    Status::permanent(StatusCode::UNRECOVERED_READ_ERROR).with_more(true)
}

/// Every fault of one I/O command with its end. The match below keeps the list complete.
fn io_faults() -> Vec<(CommandFault, End)> {
    let mut faults = vec![
        (CommandFault::NeverFetched, End::Reset(Err(IoError::TimedOut))),
        (CommandFault::Ignored, End::Same(Err(IoError::TimedOut))),
        (CommandFault::Reordered { behind: 3 }, End::Same(Ok(()))),
        (CommandFault::InterruptLost, End::Same(Ok(()))),
        (CommandFault::Corrupt(Corruption::UnknownCid), End::Reset(Err(IoError::Reset))),
        (CommandFault::Corrupt(Corruption::WrongSqid), End::Reset(Err(IoError::Reset))),
        (CommandFault::Corrupt(Corruption::Duplicate), End::Reset(Ok(()))),
        (CommandFault::Corrupt(Corruption::SqheadOutside), End::Same(Ok(()))),
    ];
    for executed in [false, true] {
        faults.push((CommandFault::Late { ns: 5_000_000, executed }, End::Same(Ok(()))));
        faults.push((CommandFault::Late { ns: LATE_NS, executed }, End::Same(Err(IoError::TimedOut))));
        faults.push((CommandFault::Lost { executed }, End::Same(Err(IoError::TimedOut))));
        let status = media_error();
        faults.push((CommandFault::Fail { status, executed }, End::Same(Err(IoError::Device(status)))));
    }
    for phase in Phase::ALL {
        let finished = phase == Phase::Completed;
        let act = |action| CommandFault::Act { action, phase };
        faults.push((act(Action::Remove), if finished { End::Same(Ok(())) } else { End::Gone }));
        faults.push((act(Action::Fatal), End::Reset(if finished { Ok(()) } else { Err(IoError::Reset) })));
        faults.push((act(Action::Resize(NSID, rig::BLOCKS * 2)), End::Same(Ok(()))));
        faults.push((act(Action::CriticalWarning(CriticalWarningBit::Spare)), End::Same(Ok(()))));
    }
    faults
}

/// Names every kind, so that a new one does not compile until it has a place in a list above or below.
fn kind(fault: CommandFault) -> &'static str {
    match fault {
        CommandFault::NeverFetched => "never fetched",
        CommandFault::Late { .. } => "late",
        CommandFault::Lost { .. } => "lost",
        CommandFault::Fail { .. } => "fail",
        CommandFault::Reordered { .. } => "reordered",
        CommandFault::Corrupt(_) => "corrupt",
        CommandFault::InterruptLost => "interrupt lost",
        CommandFault::Ignored => "ignored",
        CommandFault::Lie(_) => "lie",
        CommandFault::Act { .. } => "act",
    }
}

fn inject(rig: &Rig, queues: Queues, opcode: Option<u8>, fault: CommandFault) -> nvme_model::RuleId {
    rig.ssd().inject(FaultRule::once(Fault::Command { queues, opcode, fault })).unwrap()
}

#[test]
fn every_fault_of_an_io_command_has_its_end() {
    let mut kinds = std::collections::BTreeSet::new();
    for wake in [WakeMode::Polled, WakeMode::Interrupt] {
        for op in [Op::Read, Op::Write { fua: false }, Op::Write { fua: true }, Op::Flush] {
            for (fault, end) in io_faults() {
                kinds.insert(kind(fault));
                check_io_fault(wake, op, fault, &end);
            }
        }
    }
    assert_eq!(kinds.len(), 9, "all kinds but lies, which are told about admin commands: {kinds:?}");
}

fn check_io_fault(wake: WakeMode, op: Op, fault: CommandFault, end: &End) {
    let mut rig = Rig::cold(nvme_model::ControllerOptions::default(), driver_options());
    rig.run_until("live", |rig| rig.controller.state() == "live");
    rig.open_queue(wake);
    let before = rig.controller.incarnation();
    let rule = inject(&rig, Queues::Io, None, fault);
    let request = rig.request(op, 8, 8, 3);
    let completion = rig.execute(request);
    assert_eq!(rig.ssd().fired(rule), 1, "{fault:?} was reached");
    let found = (op, fault, completion.result);
    // Consequences of what came with the completion: a stray one, a fatal status, an event.
    rig.run_for(Duration::from_secs(2));
    let resets = rig.controller.incarnation() - before;
    match end {
        End::Same(result) if matches!(fault, CommandFault::Act { action: Action::Remove, .. }) => {
            assert_eq!((completion.result, rig.controller.state()), (*result, "over"), "{found:?}");
        }
        End::Same(result) => assert_eq!((completion.result, resets), (*result, 0), "{found:?}"),
        End::Reset(result) => assert_eq!((completion.result, resets), (*result, 1), "{found:?}"),
        End::Gone => {
            assert_eq!((completion.result, rig.controller.state()), (Err(IoError::Gone), "over"), "{found:?}")
        }
    }
    check_events(&rig, fault, resets);
    drop(completion);
    rig.check_sane();
    if rig.controller.state() != "over" {
        rig.check_works(0x77);
    }
    rig.check_no_leak();
}

/// What happened is told, and nothing else is.
fn check_events(rig: &Rig, fault: CommandFault, resets: u64) {
    let count = |wanted: fn(&Event) -> bool| rig.events.iter().filter(|event| wanted(event)).count();
    let action = if let CommandFault::Act { action, .. } = fault { Some(action) } else { None };
    let told = (
        count(|event| matches!(event, Event::IncarnationChanged(_))) > 0,
        count(|event| matches!(event, Event::Removed)),
        count(|event| matches!(event, Event::Resized(_))),
        count(|event| matches!(event, Event::HealthWarning(_))),
        count(|event| matches!(event, Event::MediaErrors(_))),
    );
    let removed = action == Some(Action::Remove);
    let expected = (
        resets > 0 || removed,
        usize::from(removed),
        usize::from(matches!(action, Some(Action::Resize(..)))),
        usize::from(matches!(action, Some(Action::CriticalWarning(_)))),
        usize::from(matches!(fault, CommandFault::Fail { .. })),
    );
    assert_eq!(told, expected, "{fault:?}: {:?}", rig.events);
}

/// A namespace that vanishes: its commands end, its requests fail, the other end is told, the controller stays.
#[test]
fn a_namespace_that_vanishes_takes_nothing_else_with_it() {
    for phase in Phase::ALL {
        let mut rig = Rig::live();
        let rule = inject(&rig, Queues::Io, None, CommandFault::Act { action: Action::Detach(NSID), phase });
        let read = rig.request(Op::Read, 0, 1, 0);
        let completion = rig.execute(read);
        assert_eq!(rig.ssd().fired(rule), 1);
        assert!(
            matches!(completion.result, Ok(()) | Err(IoError::Device(_))),
            "{phase:?}: {:?}",
            completion.result
        );
        drop(completion);
        rig.run_until("told", |rig| rig.events.contains(&Event::Removed));
        let late = rig.request(Op::Read, 0, 1, 0);
        assert_eq!(rig.execute(late).result, Err(IoError::Gone));
        assert_eq!((rig.controller.state(), rig.controller.controller().namespaces()), ("live", vec![]));
        // It comes back as a namespace that is opened anew.
        rig.queue = None;
        rig.ssd.act(Action::Attach(NSID));
        rig.run_until("back", |rig| rig.controller.controller().namespaces() == [NSID]);
        rig.open_queue(WakeMode::Polled);
        rig.check_works(2);
        rig.check_sane();
        rig.check_no_leak();
    }
}

/// An abort that does nothing, or never ends, leaves a reset.
#[test]
fn an_abort_that_does_not_help_leads_to_a_reset() {
    for fault in [CommandFault::Ignored, CommandFault::Lost { executed: false }, CommandFault::NeverFetched] {
        let mut rig = Rig::live();
        let before = rig.controller.incarnation();
        let lost = inject(&rig, Queues::Io, None, CommandFault::Lost { executed: true });
        let abort = inject(&rig, Queues::Admin, Some(AdminOpcode::Abort.raw()), fault);
        let read = rig.request(Op::Read, 0, 1, 0);
        assert_eq!(rig.execute(read).result, Err(IoError::TimedOut), "{fault:?}");
        assert_eq!((rig.ssd().fired(lost), rig.ssd().fired(abort)), (1, 1));
        rig.check_works(9);
        assert_eq!(rig.controller.incarnation(), before + 1);
        rig.check_sane();
        rig.check_no_leak();
    }
}

/// The admin commands that bring a controller up and serve queues.
const ADMIN: [AdminOpcode; 5] = [
    AdminOpcode::Identify,
    AdminOpcode::SetFeatures,
    AdminOpcode::DoorbellBufferConfig,
    AdminOpcode::CreateIoCq,
    AdminOpcode::CreateIoSq,
];

fn admin_faults() -> Vec<CommandFault> {
    let status = Status::permanent(StatusCode::INTERNAL_ERROR);
    let mut faults = vec![
        CommandFault::NeverFetched,
        CommandFault::Ignored,
        CommandFault::Reordered { behind: 1 },
        CommandFault::InterruptLost,
        CommandFault::Late { ns: 5_000_000, executed: true },
        CommandFault::Late { ns: LATE_NS, executed: true },
        CommandFault::Lost { executed: false },
        CommandFault::Lost { executed: true },
        CommandFault::Fail { status, executed: false },
        CommandFault::Corrupt(Corruption::UnknownCid),
        CommandFault::Corrupt(Corruption::WrongSqid),
        CommandFault::Corrupt(Corruption::Duplicate),
        CommandFault::Corrupt(Corruption::SqheadOutside),
    ];
    faults.extend(Phase::ALL.map(|phase| CommandFault::Act { action: Action::Fatal, phase }));
    faults.extend(Phase::ALL.map(|phase| CommandFault::Act { action: Action::Remove, phase }));
    faults
}

/// One fault of one admin command, each of the first times that it is sent: the controller comes up all the same (or
/// is gone, if it was removed), and a queue can be opened, if need be at the second try.
#[test]
fn a_controller_survives_one_fault_of_any_admin_command() {
    for opcode in ADMIN {
        for fault in admin_faults() {
            for skip in 0..2 {
                let mut rig = Rig::cold(nvme_model::ControllerOptions::default(), driver_options());
                let fault_rule = Fault::Command { queues: Queues::Admin, opcode: Some(opcode.raw()), fault };
                let rule = rig.ssd().inject(FaultRule::once(fault_rule).after(skip)).unwrap();
                let removed = matches!(fault, CommandFault::Act { action: Action::Remove, .. });
                let up = rig.try_to_come_up();
                if rig.ssd().fired(rule) == 0 {
                    assert!(skip > 0, "{opcode:?} {fault:?} was never reached");
                    continue;
                }
                // What came with the last answer shows later: a fatal status, a stray completion, a removal.
                rig.run_for(Duration::from_secs(2));
                let live = rig.controller.state() == "live";
                assert_eq!(live, !removed, "{opcode:?} {fault:?} {skip}: {:?}", rig.controller.epitaph());
                if live {
                    assert!(up, "{opcode:?} {fault:?} {skip}: no queue at the second try");
                    rig.check_works(4);
                }
                rig.check_sane();
                rig.check_no_leak();
            }
        }
    }
}

/// The same fault every time: the controller is given up in bounded time with a reason, or works without the ability.
#[test]
fn a_controller_that_always_fails_is_given_up_with_a_reason() {
    let status = Status::permanent(StatusCode::INTERNAL_ERROR);
    let faults = [CommandFault::Lost { executed: false }, CommandFault::Fail { status, executed: false }];
    for opcode in [AdminOpcode::Identify, AdminOpcode::SetFeatures] {
        for fault in faults {
            let mut rig = Rig::cold(nvme_model::ControllerOptions::default(), driver_options());
            let fault_rule = Fault::Command { queues: Queues::Admin, opcode: Some(opcode.raw()), fault };
            rig.ssd().inject(FaultRule::always(fault_rule)).unwrap();
            rig.run_until("given up", |rig| rig.controller.state() == "over");
            let why = rig.controller.epitaph().expect("a reason");
            assert!(why.contains("3 resets did not help"), "{why}");
            rig.check_sane();
        }
    }
}

/// Lies of Identify and of the queue count: nothing panics, and what cannot be believed is refused in words.
#[test]
fn lies_are_refused_or_harmless() {
    let namespace_lies = [
        (Lie::BlockSizeZero, false),
        (Lie::BlockSizeHuge, false),
        (Lie::SizeHuge, true),
        (Lie::SizeZero, false),
        (Lie::FormatOutOfRange, false),
        (Lie::MdtsHuge, true),
        (Lie::EntrySizesHuge, true),
        (Lie::StringsNonsense, true),
        (Lie::AllOnes, false),
        (Lie::QueuePairs(1), true),
        (Lie::QueuePairs(60_000), true),
    ];
    for (lie, usable) in namespace_lies {
        let opcode =
            if matches!(lie, Lie::QueuePairs(_)) { AdminOpcode::SetFeatures } else { AdminOpcode::Identify };
        let mut rig = Rig::cold(nvme_model::ControllerOptions::default(), driver_options());
        let told = Fault::Command {
            queues: Queues::Admin,
            opcode: Some(opcode.raw()),
            fault: CommandFault::Lie(lie),
        };
        let rule = rig.ssd().inject(FaultRule::always(told)).unwrap();
        rig.run_until("decided", |rig| matches!(rig.controller.state(), "live" | "over"));
        assert!(rig.ssd().fired(rule) > 0, "{lie:?} was told");
        let namespaces = rig.controller.controller().namespaces();
        assert_eq!(
            namespaces.contains(&NSID),
            usable,
            "{lie:?}: {:?}",
            rig.controller.controller().refused_namespaces()
        );
        if usable {
            rig.open_queue(WakeMode::Polled);
            rig.check_works(1);
        }
        rig.check_sane();
    }
}

/// Once, a refused list of namespaces counted as an empty one: after an event about one namespace, every queue was told
/// that its namespace had been removed. Found by `chaos`.
#[test]
fn a_refusal_to_identify_removes_no_namespace() {
    let status = Status::permanent(StatusCode::INTERNAL_ERROR);
    // The first Identify after the event is the list, the second the structure, the third the identifiers.
    for skip in 0..3 {
        let mut rig = Rig::live();
        let refused = CommandFault::Fail { status, executed: false };
        let fault = Fault::Command {
            queues: Queues::Admin,
            opcode: Some(AdminOpcode::Identify.raw()),
            fault: refused,
        };
        let rule = rig.ssd().inject(FaultRule::once(fault).after(skip)).unwrap();
        rig.ssd.act(Action::Resize(NSID, rig::BLOCKS / 2));
        rig.run_for(Duration::from_secs(2));
        assert_eq!(rig.ssd().fired(rule), 1, "Identify number {skip} was reached");
        assert_eq!(rig.controller.controller().namespaces(), [NSID]);
        assert!(!rig.events.contains(&Event::Removed));
        rig.check_works(1);
    }
}
