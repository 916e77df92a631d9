//! Faults: what goes wrong, when, and how often it did.
//!
//! Rules are tried in the order in which they were added; the first that applies to a command (or to a moment of the
//! controller's life) strikes. Chances come from the plan's seed and nothing else, so a run repeats.

mod plan;

use nvme_spec::{Nsid, QueueId, Status};

pub(crate) use plan::{FaultPlan, SplitMix64};

/// The most rules of a plan.
pub const FAULT_RULES_MAX: usize = 256;

/// How a rule is known to whoever added it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleId(pub(crate) usize);

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
    pub(crate) fn contains(self, queue: QueueId) -> bool {
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
