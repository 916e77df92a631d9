//! What strikes, in every state of a command and of the controller: each cell with the right end. A cell that is not
//! reached fails, and so does a strike that waited for its moment in vain.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod rig;

use std::collections::BTreeSet;
use std::time::Duration;

use block::{IoError, Op, QueueOptions, Request, WakeMode};
use nvme_model::{
    Action, CommandFault, CriticalWarningBit, Fault, FaultRule, LifeFault, Moment, Queues, RuleId,
};
use nvme_spec::command::{AdminOpcode, NvmOpcode};
use rig::{NSID, Rig, driver_options};

/// Where the one command of a cell is; the drawing in `queue/waiting.rs`, with what comes before and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Command {
    /// There is none.
    None,
    /// With its submitter, since the queue cannot take it now.
    Waiting,
    Sent,
    Aborting,
    Hopeless,
    /// Given back without its memory.
    Withheld,
    /// Its queue was dropped.
    Orphaned,
}

/// Where the controller is: the drawing in `core/lifecycle.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Disabling,
    Enabling,
    Initialising,
    Live,
    Halting,
    ShuttingDown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strike {
    Remove,
    Fatal,
    Detach,
    Resize,
    Warning,
    Preempt,
    ResetWish,
    /// The next disable sticks, and a function reset helps.
    StuckDisable,
    SlowDisable,
    /// The next enable sticks.
    StuckEnable,
    SlowEnable,
    StuckShutdown,
    SlowShutdown,
    QueueDropped,
    Close,
}

const COMMANDS: [Command; 7] = [
    Command::None,
    Command::Waiting,
    Command::Sent,
    Command::Aborting,
    Command::Hopeless,
    Command::Withheld,
    Command::Orphaned,
];

const STAGES: [Stage; 6] = [
    Stage::Disabling,
    Stage::Enabling,
    Stage::Initialising,
    Stage::Live,
    Stage::Halting,
    Stage::ShuttingDown,
];

const STRIKES: [Strike; 15] = [
    Strike::Remove,
    Strike::Fatal,
    Strike::Detach,
    Strike::Resize,
    Strike::Warning,
    Strike::Preempt,
    Strike::ResetWish,
    Strike::StuckDisable,
    Strike::SlowDisable,
    Strike::StuckEnable,
    Strike::SlowEnable,
    Strike::StuckShutdown,
    Strike::SlowShutdown,
    Strike::QueueDropped,
    Strike::Close,
];

/// Which pairs there are. Commands of an incarnation end when the next begins, so none is sent before it is live; a
/// shutdown waits until all queues are dropped and deleted; a halt waits for queues, so without one there is none.
fn exists(command: Command, stage: Stage) -> bool {
    match stage {
        Stage::Halting => command != Command::Orphaned,
        Stage::Live | Stage::Disabling => true,
        Stage::Enabling | Stage::Initialising => matches!(command, Command::None | Command::Waiting),
        Stage::ShuttingDown => command == Command::None,
    }
}

/// Which strikes a stage can still meet: nothing is enabled or disabled any more once the shutdown has begun.
fn can_strike(stage: Stage, what: Strike) -> bool {
    stage != Stage::ShuttingDown || !(NEEDS_RESET.contains(&what) || SHUTDOWN.contains(&what))
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Disabling => "disabling",
        Stage::Enabling => "enabling",
        Stage::Initialising => "initialising",
        Stage::Live => "live",
        Stage::Halting => "halting",
        Stage::ShuttingDown => "shutting down",
    }
}

const SLOW: LifeFault = LifeFault::Slow { ns: 1_000_000_000 };
const SHUTDOWN: [Strike; 2] = [Strike::StuckShutdown, Strike::SlowShutdown];

const NEEDS_RESET: [Strike; 4] =
    [Strike::StuckDisable, Strike::SlowDisable, Strike::StuckEnable, Strike::SlowEnable];

fn on_moment(rig: &Rig, moment: Moment, fault: LifeFault) -> RuleId {
    rig.ssd().inject(FaultRule::once(Fault::Life { moment, fault })).unwrap()
}

fn always(rig: &Rig, queues: Queues, opcode: u8, fault: CommandFault) {
    rig.ssd().inject(FaultRule::always(Fault::Command { queues, opcode: Some(opcode), fault })).unwrap();
}

/// A live controller with the command in its state (but for `Waiting`, which depends on the stage).
fn place_command(rig: &mut Rig, command: Command) {
    always(rig, Queues::Io, NvmOpcode::Read.raw(), CommandFault::Lost { executed: false });
    always(rig, Queues::Admin, AdminOpcode::Abort.raw(), CommandFault::Ignored);
    if matches!(command, Command::None | Command::Waiting) {
        return;
    }
    let mut read = rig.request(Op::Read, 0, 8, 1).with_tag(77);
    if command == Command::Withheld {
        read = read.with_deadline(rig.now.after(Duration::from_secs(1)));
    }
    rig.submit(read);
    rig.work();
    match command {
        Command::Aborting => rig.run_until("aborting", |rig| census(rig).aborting == 1),
        Command::Withheld => rig.run_until("withheld", |rig| census(rig).withheld == 1),
        Command::Hopeless => {
            rig.run_until("aborting", |rig| census(rig).aborting == 1);
            // Only the queue looks, so that the core has not heard of it yet.
            rig.advance(Duration::from_secs(3));
            rig.poll();
            assert_eq!(census(rig).hopeless, 1);
        }
        Command::Orphaned => {
            always(rig, Queues::Admin, AdminOpcode::DeleteIoSq.raw(), CommandFault::Lost { executed: false });
            rig.queue = None;
            rig.work();
        }
        _ => {}
    }
}

fn census(rig: &mut Rig) -> nvme_driver::Census {
    rig.queue.as_mut().map_or_else(Default::default, |queue| queue.census())
}

/// Brings the controller to the stage without letting the queue act upon it.
fn place_controller(rig: &mut Rig, stage: Stage) {
    match stage {
        Stage::Live => {}
        Stage::Halting => {
            rig.controller.controller().reset();
            rig.controller.step(rig.now);
        }
        Stage::Disabling | Stage::Enabling | Stage::Initialising => {
            let (moment, opcode) = (
                if stage == Stage::Disabling { Moment::Disable } else { Moment::Enable },
                AdminOpcode::Identify.raw(),
            );
            if stage == Stage::Initialising {
                let late = CommandFault::Late { ns: 1_000_000_000, executed: false };
                always(rig, Queues::Admin, opcode, late);
            } else {
                let _ = on_moment(rig, moment, SLOW);
            }
            rig.controller.controller().reset();
            rig.run_until("placed", |rig| rig.controller.state() == name(stage));
        }
        Stage::ShuttingDown => {
            let _ = on_moment(rig, Moment::Shutdown, SLOW);
            rig.queue = None;
            rig.controller.close();
            rig.run_until("placed", |rig| rig.controller.state() == name(stage));
        }
    }
    assert_eq!(rig.controller.state(), name(stage));
}

/// Strikes; what waits for its moment is given back as a rule, to be asked whether it came.
fn strike(rig: &mut Rig, strike: Strike) -> Option<RuleId> {
    match strike {
        Strike::Remove => rig.ssd.act(Action::Remove),
        Strike::Fatal => rig.ssd.act(Action::Fatal),
        Strike::Detach => rig.ssd.act(Action::Detach(NSID)),
        Strike::Resize => rig.ssd.act(Action::Resize(NSID, rig::BLOCKS * 2)),
        Strike::Warning => rig.ssd.act(Action::CriticalWarning(CriticalWarningBit::Temperature)),
        Strike::Preempt => rig.ssd.act(Action::Preempt(NSID)),
        Strike::ResetWish => rig.controller.controller().reset(),
        Strike::StuckDisable => return Some(on_moment(rig, Moment::Disable, LifeFault::Stuck)),
        Strike::SlowDisable => return Some(on_moment(rig, Moment::Disable, SLOW)),
        Strike::StuckEnable => return Some(on_moment(rig, Moment::Enable, LifeFault::Stuck)),
        Strike::SlowEnable => return Some(on_moment(rig, Moment::Enable, SLOW)),
        Strike::StuckShutdown => return Some(on_moment(rig, Moment::Shutdown, LifeFault::Stuck)),
        Strike::SlowShutdown => return Some(on_moment(rig, Moment::Shutdown, SLOW)),
        Strike::QueueDropped => rig.queue = None,
        Strike::Close => rig.controller.close(),
    }
    None
}

/// Waits until a strike has come, resetting the controller if no reset is under way that it could come with.
fn wait_for(rig: &mut Rig, rule: RuleId) {
    rig.controller.controller().reset();
    rig.run_until("struck, or live again", |rig| {
        rig.ssd().fired(rule) == 1 || rig.controller.state() == "live"
    });
    if rig.ssd().fired(rule) == 0 {
        rig.controller.controller().reset();
        rig.run_until("struck", |rig| rig.ssd().fired(rule) == 1);
    }
}

/// The end of the controller: live again, or over, and if so with a reason or without.
fn check_end(rig: &mut Rig, command: Command, stage: Stage, strike: Strike) {
    let cell = (command, stage, strike);
    let closes = strike == Strike::Close || stage == Stage::ShuttingDown || SHUTDOWN.contains(&strike);
    if SHUTDOWN.contains(&strike) {
        // A controller that is closed while it begins anew ends without a shutdown; an orphan's lost deletion has to time
        // out first, which is such a beginning.
        rig.run_for(Duration::from_secs(15));
        rig.run_until("live", |rig| rig.controller.state() == "live");
    }
    if closes {
        rig.queue = None;
        rig.controller.close();
    }
    if strike == Strike::Remove || closes {
        rig.run_until("over", |rig| rig.controller.state() == "over");
        rig.poll();
        assert!(!rig.controller.is_unreachable(), "{cell:?}");
        let failed = matches!(strike, Strike::Remove | Strike::StuckShutdown | Strike::Fatal);
        assert!(failed || rig.controller.epitaph().is_none(), "{cell:?}: {:?}", rig.controller.epitaph());
        return;
    }
    rig.run_until("live", |rig| {
        rig.controller.state() == "live"
            && rig.queue.as_mut().is_none_or(|queue| !matches!(queue.attachment(), Ok(false)))
    });
    // What was lost is aborted, what waited is done.
    rig.run_for(Duration::from_secs(15));
    if strike == Strike::Detach {
        assert_eq!(rig.controller.controller().namespaces(), [], "{cell:?}");
        rig.queue = None;
        rig.ssd.act(Action::Attach(NSID));
        rig.run_until("back", |rig| rig.controller.controller().namespaces() == [NSID]);
    }
}

/// How the command may end; `None` in the answer is no completion.
fn check_command(rig: &mut Rig, command: Command, stage: Stage, strike: Strike) {
    let cell = (command, stage, strike);
    let results: Vec<_> =
        rig.completions.drain(..).map(|completion| (completion.request, completion.result)).collect();
    let given_up = strike == Strike::QueueDropped || strike == Strike::Close || SHUTDOWN.contains(&strike);
    match command {
        Command::None | Command::Orphaned => assert!(results.is_empty(), "{cell:?}: {results:?}"),
        Command::Withheld => {
            let [(request, result)] = &results[..] else { panic!("{cell:?}: {results:?}") };
            assert_eq!((result, request.data.bytes()), (&Err(IoError::TimedOut), 0), "{cell:?}");
        }
        _ if given_up => assert!(results.len() <= 1, "{cell:?}: {results:?}"),
        _ => {
            let [(request, result)] = &results[..] else { panic!("{cell:?}: {results:?}") };
            assert_eq!((request.tag, request.data.bytes()), (77, 8 * 512), "{cell:?}");
            let resets =
                !matches!(strike, Strike::Detach | Strike::Resize | Strike::Warning | Strike::Preempt)
                    || stage != Stage::Live;
            match (command, strike) {
                (Command::Sent | Command::Waiting, Strike::Remove) => {
                    assert_eq!(*result, Err(IoError::Gone), "{cell:?}")
                }
                (Command::Waiting, Strike::Detach | Strike::Preempt) => assert!(result.is_err(), "{cell:?}"),
                (Command::Waiting, _) => assert_eq!(*result, Ok(()), "{cell:?}"),
                (Command::Sent, _) if resets => assert_eq!(*result, Err(IoError::Reset), "{cell:?}"),
                (Command::Sent, Strike::Detach) => assert!(result.is_err(), "{cell:?}"),
                _ => assert_eq!(*result, Err(IoError::TimedOut), "{cell:?}"),
            }
        }
    }
}

fn cell(command: Command, stage: Stage, what: Strike) {
    let mut rig = Rig::live_with(nvme_model::ControllerOptions::default(), driver_options());
    place_command(&mut rig, command);
    if command == Command::Waiting && stage == Stage::Live {
        // The queue of a live controller takes requests as soon as it is attached, so it is being attached.
        rig.queue = None;
        rig.work();
        let late = CommandFault::Late { ns: 1_000_000_000, executed: false };
        always(&rig, Queues::Admin, AdminOpcode::CreateIoCq.raw(), late);
        let options = QueueOptions { depth: 32, wake: WakeMode::Polled };
        rig.queue = Some(rig.controller.begin_queue(NSID, options).unwrap());
    }
    place_controller(&mut rig, stage);
    if command == Command::Waiting {
        let write = rig.request(Op::Write { fua: false }, 0, 8, 1).with_tag(77);
        rig.requests.push_back(write);
    }
    let rule = strike(&mut rig, what);
    rig.work();
    if let Some(rule) = rule.filter(|_| NEEDS_RESET.contains(&what)) {
        wait_for(&mut rig, rule);
    }
    rig.ssd().heal();
    // A shutdown's moment comes with the close below, and healing has taken it away.
    let rule = if SHUTDOWN.contains(&what) { strike(&mut rig, what) } else { rule };
    check_end(&mut rig, command, stage, what);
    if let Some(rule) = rule {
        assert_eq!(rig.ssd().fired(rule), 1, "{:?} did not happen", (command, stage, what));
    }
    check_command(&mut rig, command, stage, what);
    rig.requests.clear();
    rig.check_sane();
    if rig.controller.state() == "live" {
        if rig.queue.is_none() || what == Strike::Preempt {
            rig.queue = None;
            rig.open_queue(WakeMode::Polled);
        }
        check_usable(&mut rig, what);
    }
    rig.queue = None;
    rig.run_for(Duration::from_secs(1));
    rig.check_no_leak();
}

/// A preempted namespace refuses writes until the reservation is gone; everything else works.
fn check_usable(rig: &mut Rig, what: Strike) {
    if what != Strike::Preempt {
        rig.check_works(0x42);
        return;
    }
    let read: Request = rig.request(Op::Read, 0, 8, 0);
    assert_eq!(
        rig.execute(read).result,
        Ok(()),
        "a write exclusive reservation of another host lets us read"
    );
}

/// Counted by hand: Live and Disabling 7 commands each, Halting 6, Enabling and Initialising 2 each, with 15 strikes;
/// ShuttingDown 1, with the 9 strikes that can meet it.
const CELLS: usize = (7 + 7 + 6 + 2 + 2) * 15 + 9;

#[test]
fn every_strike_in_every_state_has_the_right_end() {
    let mut reached = BTreeSet::new();
    for command in COMMANDS {
        for stage in STAGES {
            for what in STRIKES {
                if exists(command, stage) && can_strike(stage, what) {
                    cell(command, stage, what);
                    reached.insert((command, stage, what));
                }
            }
        }
    }
    assert_eq!(reached.len(), CELLS, "every cell was reached");
    println!("{CELLS} cells reached, each with the right end");
}
