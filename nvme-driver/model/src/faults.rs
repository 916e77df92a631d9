//! Faults: what goes wrong, when, and how often it did.
//!
//! Rules are tried in the order in which they were added; the first that applies to a command (or to a moment of the
//! controller's life) strikes. Chances come from the plan's seed and nothing else, so a run repeats.

use nvme_spec::{Nsid, QueueId, Sqe, Status};

/// The most rules of a plan.
pub const FAULT_RULES_MAX: usize = 256;

/// How a rule is known to whoever added it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleId(usize);

/// Where a command is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The controller took it from the queue and did nothing else.
    Fetched,
    /// It is about to move data; nothing has moved.
    BeforeTransfer,
    /// Its data has moved; no completion is written.
    AfterTransfer,
    /// Its completion is written; no interrupt is sent.
    Completed,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Fetched, Self::BeforeTransfer, Self::AfterTransfer, Self::Completed];
}

/// Something that happens to the controller or to a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Surprise removal: registers read as all ones, DMA stops.
    Remove,
    /// CSTS.CFS is set and nothing is processed any more.
    Fatal,
    /// A namespace goes away, with a Namespace Attribute Changed event.
    Detach(Nsid),
    /// A namespace that had gone away is back, with the same event.
    Attach(Nsid),
    /// A namespace has another size, with the same event.
    Resize(Nsid, u64),
    /// SMART: a critical warning bit is set, with its event (Base Figure 206, byte 0).
    CriticalWarning(CriticalWarningBit),
    /// Another host registers with a namespace, preempts every registrant and holds a Write Exclusive reservation, with
    /// a Reservation Log Page Available event for who was registered.
    Preempt(Nsid),
}

/// A bit of SMART's critical warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CriticalWarningBit {
    /// Available spare is below its threshold.
    Spare,
    /// A temperature is beyond its threshold.
    Temperature,
    /// Reliability is degraded.
    Reliability,
    /// All media are read-only.
    ReadOnly,
}

/// A completion queue entry that no correct controller writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Corruption {
    /// The command identifier is one that is not outstanding. The right completion never comes.
    UnknownCid,
    /// The submission queue identifier is one that does not exist. The right completion never comes.
    WrongSqid,
    /// The completion comes twice.
    Duplicate,
    /// SQHD is outside the queue.
    SqheadOutside,
}

/// What Identify or Set Features says instead of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lie {
    /// Identify Namespace: a block has 2^0 bytes.
    BlockSizeZero,
    /// Identify Namespace: a block has 2^63 bytes.
    BlockSizeHuge,
    /// Identify Namespace: 2^64 - 1 blocks.
    SizeHuge,
    /// Identify Namespace: no blocks.
    SizeZero,
    /// Identify Namespace: the format in use is not among those listed.
    FormatOutOfRange,
    /// Identify Controller: MDTS is 255.
    MdtsHuge,
    /// Identify Controller: entries of 2^15 bytes.
    EntrySizesHuge,
    /// Identify Controller: strings of bytes that are no ASCII.
    StringsNonsense,
    /// Identify: every byte is FFh.
    AllOnes,
    /// Number of Queues: so many I/O queue pairs, whatever was asked.
    QueuePairs(u16),
}

/// What goes wrong with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandFault {
    /// The queue stops at this command: it and what follows is never fetched, until the queue is made anew.
    NeverFetched,
    /// It takes this much longer. `executed`: its data moved before the wait, otherwise after.
    Late {
        /// In nanoseconds.
        ns: u64,
        /// Whether the data moves first.
        executed: bool,
    },
    /// It never completes, unless it is aborted.
    Lost {
        /// Whether it was executed.
        executed: bool,
    },
    /// It ends with this status.
    Fail {
        /// The status.
        status: Status,
        /// Whether its data has moved all the same.
        executed: bool,
    },
    /// It completes after so many later completions of its queue, or [`REORDER_NS_MAX`] later.
    Reordered {
        /// Number of completions that overtake it.
        behind: u32,
    },
    /// Its completion is wrong.
    Corrupt(Corruption),
    /// The interrupt for its completion does not arrive.
    InterruptLost,
    /// For Abort: it does nothing and says that it did nothing. For others: as [`Self::Lost`], not executed.
    Ignored,
    /// The answer is not true.
    Lie(Lie),
    /// Something happens while the command is in this phase.
    Act {
        /// What.
        action: Action,
        /// When.
        phase: Phase,
    },
}

/// How long a completion waits to be overtaken at most.
pub const REORDER_NS_MAX: u64 = 5_000_000;

/// A moment in a controller's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// CC.EN went to 1.
    Enable,
    /// CC.EN went to 0.
    Disable,
    /// CC.SHN asked for a shutdown.
    Shutdown,
}

/// What goes wrong in such a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LifeFault {
    /// CSTS never follows.
    Stuck,
    /// CSTS follows so many nanoseconds later.
    Slow {
        /// In nanoseconds.
        ns: u64,
    },
    /// Something happens instead.
    Act(Action),
}

/// The queues that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queues {
    /// All.
    Any,
    /// The admin queue.
    Admin,
    /// All I/O queues.
    Io,
    /// One.
    One(QueueId),
}

impl Queues {
    fn contains(self, queue: QueueId) -> bool {
        match self {
            Self::Any => true,
            Self::Admin => queue.is_admin(),
            Self::Io => !queue.is_admin(),
            Self::One(one) => one == queue,
        }
    }
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// With a command.
    Command {
        /// On these queues.
        queues: Queues,
        /// With this opcode; any if `None`.
        opcode: Option<u8>,
        /// What.
        fault: CommandFault,
    },
    /// With the controller.
    Life {
        /// When.
        moment: Moment,
        /// What.
        fault: LifeFault,
    },
}

/// A fault, and how often it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRule {
    /// What can go wrong.
    pub fault: Fault,
    /// Occasions that pass before the first strike.
    pub skip: u32,
    /// The most strikes.
    pub times: u32,
    /// The chance of each occasion, in millionths.
    pub per_million: u32,
}

impl FaultRule {
    /// Strikes once, at the first occasion.
    #[must_use]
    pub fn once(fault: Fault) -> Self {
        Self { fault, skip: 0, times: 1, per_million: 1_000_000 }
    }

    /// Strikes at every occasion.
    #[must_use]
    pub fn always(fault: Fault) -> Self {
        Self { times: u32::MAX, ..Self::once(fault) }
    }

    /// With occasions that pass first: the `n`-th command is `after(n - 1)`.
    #[must_use]
    pub fn after(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// With a chance.
    #[must_use]
    pub fn with_chance(self, per_million: u32) -> Self {
        Self { per_million, ..self }
    }
}

#[derive(Debug)]
struct Entry {
    rule: FaultRule,
    seen: u32,
    fired: u64,
    active: bool,
}

/// The rules of a controller, with a seed for chances.
#[derive(Debug)]
pub(crate) struct FaultPlan {
    entries: Vec<Entry>,
    random: SplitMix64,
    armed: bool,
}

impl FaultPlan {
    pub(crate) fn new(seed: u64) -> Self {
        Self { entries: Vec::new(), random: SplitMix64(seed), armed: false }
    }

    /// Starts the sequence of chances anew.
    pub(crate) fn seed(&mut self, seed: u64) {
        self.random = SplitMix64(seed);
    }

    /// Adds a rule; `None` if there are [`FAULT_RULES_MAX`].
    pub(crate) fn add(&mut self, rule: FaultRule) -> Option<RuleId> {
        if self.entries.len() == FAULT_RULES_MAX {
            return None;
        }
        self.entries.push(Entry { rule, seen: 0, fired: 0, active: true });
        self.armed = true;
        Some(RuleId(self.entries.len() - 1))
    }

    /// Ends every rule. What they counted stays.
    pub(crate) fn heal(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.active = false);
        self.armed = false;
    }

    /// How often a rule has struck.
    pub(crate) fn fired(&self, rule: RuleId) -> u64 {
        self.entries.get(rule.0).map_or(0, |entry| entry.fired)
    }

    /// Whether any rule can strike: the one question of a run without faults.
    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        self.armed
    }

    /// What strikes this command.
    pub(crate) fn on_command(&mut self, queue: QueueId, sqe: &Sqe) -> Option<CommandFault> {
        self.strike(|fault| match fault {
            Fault::Command { queues, opcode, fault }
                if queues.contains(queue) && opcode.is_none_or(|opcode| opcode == sqe.opcode()) =>
            {
                Some(*fault)
            }
            _ => None,
        })
    }

    /// What strikes in this moment.
    pub(crate) fn on_moment(&mut self, now: Moment) -> Option<LifeFault> {
        self.strike(|fault| match fault {
            Fault::Life { moment, fault } if *moment == now => Some(*fault),
            _ => None,
        })
    }

    fn strike<T>(&mut self, applies: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        for entry in self.entries.iter_mut().filter(|entry| entry.active) {
            let Some(fault) = applies(&entry.rule.fault) else { continue };
            entry.seen = entry.seen.saturating_add(1);
            if entry.seen <= entry.rule.skip || !self.random.chance(entry.rule.per_million) {
                continue;
            }
            entry.fired += 1;
            entry.active = entry.fired < u64::from(entry.rule.times);
            return Some(fault);
        }
        None
    }
}

/// The random numbers of faults and power cuts: small, and the same for a seed in every version.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix64(pub(crate) u64);

impl SplitMix64 {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// True so many times in a million.
    pub(crate) fn chance(&mut self, per_million: u32) -> bool {
        per_million >= 1_000_000 || self.next() % 1_000_000 < u64::from(per_million)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme_spec::CommandId;

    const LOST: CommandFault = CommandFault::Lost { executed: false };

    fn read() -> Sqe {
        Sqe::new(0x02, CommandId(1), Nsid(1))
    }

    #[test]
    fn a_rule_strikes_as_often_as_it_says() {
        let mut plan = FaultPlan::new(1);
        let fault = Fault::Command { queues: Queues::Io, opcode: Some(0x02), fault: LOST };
        let rule = plan.add(FaultRule { times: 2, ..FaultRule::once(fault).after(1) }).unwrap();
        assert_eq!(plan.on_command(QueueId(0), &read()), None);
        assert_eq!(plan.on_command(QueueId(1), &Sqe::new(0x01, CommandId(1), Nsid(1))), None);
        let struck: Vec<bool> = (0..5).map(|_| plan.on_command(QueueId(1), &read()).is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert_eq!(plan.fired(rule), 2);
    }

    #[test]
    fn chances_repeat_with_the_seed() {
        let run = |seed| -> Vec<bool> {
            let mut plan = FaultPlan::new(seed);
            let fault = Fault::Command { queues: Queues::Any, opcode: None, fault: LOST };
            plan.add(FaultRule::always(fault).with_chance(300_000)).unwrap();
            (0..1000).map(|_| plan.on_command(QueueId(1), &read()).is_some()).collect()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        assert!((200..400).contains(&run(7).iter().filter(|struck| **struck).count()));
    }

    #[test]
    fn moments_are_not_commands_and_healing_ends_all() {
        let mut plan = FaultPlan::new(1);
        let fault = Fault::Life { moment: Moment::Disable, fault: LifeFault::Stuck };
        plan.add(FaultRule::always(fault)).unwrap();
        assert_eq!(plan.on_moment(Moment::Enable), None);
        assert_eq!(plan.on_command(QueueId(1), &read()), None);
        assert_eq!(plan.on_moment(Moment::Disable), Some(LifeFault::Stuck));
        plan.heal();
        assert!(!plan.is_armed() && plan.on_moment(Moment::Disable).is_none());
    }

    #[test]
    fn splitmix_gives_the_published_sequence() {
        // The reference implementation's first outputs for seed 1234567.
        let mut random = SplitMix64(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
