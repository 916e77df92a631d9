//! Rules of the contract that a test can break, to show that a broken rule is seen.
//!
//! Without the feature `mutations` no rule can be broken: [`Rules::lack`] is `false`, and the compiler removes what asks it.

/// A broken rule: what a mirror does that it must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(feature = "mutations"),
    allow(dead_code, unreachable_pub, reason = "named where rules are kept")
)]
pub enum Mutation {
    /// Writes are acknowledged before the generation without the lost leg is durable.
    AcknowledgeBeforeGeneration,
    /// A write is acknowledged when the first leg has it.
    AcknowledgeOnFirstLeg,
    /// A completion of a leg that was lost meanwhile counts.
    LateCompletionCounts,
    /// Writes reach legs before their marks are durable.
    SkipMark,
    /// A mark counts when one leg has it.
    MarkOnOneLeg,
    /// A flush clears marks of writes that completed after it had begun.
    ClearEarly,
    /// A flush clears marks although a write of the region is under way.
    ClearUnderWrite,
    /// A flush goes to one leg only.
    FlushOneLeg,
    /// Force unit access is not passed on.
    DropFua,
    /// A generation counts without a majority.
    MajorityWithoutMajority,
    /// Attaching does not need the members of the newest set.
    AttachWithoutMembers,
    /// The first label that is read decides, not the newest.
    AttachToAnyGeneration,
    /// After attaching, marked regions are not made equal.
    AttachWithoutRepair,
    /// Attaching serves without a generation of its own.
    AttachWithoutGeneration,
    /// Reservations are not taken.
    NoFence,
    /// A conflict is a failed leg.
    ConflictIsFailure,
    /// A fenced writer goes on with what it has.
    FencedGoesOn,
    /// Reads go on without a majority.
    NoLease,
    /// A takeover does not wait for the lease.
    NoTakeoverWait,
    /// Copies do not wait for writes of the same range.
    ResyncAgainstWrite,
    /// Reads of regions that are not equal yet are answered by any leg.
    ReadWithoutRepair,
    /// A lost leg's absence map starts empty.
    ForgetMarksAtLoss,
    /// Writes while a leg is absent are not noted.
    ForgetAbsence,
    /// A leg that returns is in sync, as if what it missed had been replayed.
    ReturnInSync,
    /// A leg is admitted before its copies are flushed.
    JoinWithoutFlush,
    /// A leg is admitted without the map.
    JoinWithoutMap,
    /// A leg is admitted without a generation.
    JoinWithoutGeneration,
    /// Writes do not go to legs that are being resynced.
    ResyncWithoutWrites,
    /// Reads go to legs that are being resynced.
    ReadFromSyncing,
    /// The label is always written to the same copy.
    OneLabelCopy,
    /// A generation does not name its ancestors.
    NoAncestors,
    /// Overlapping writes go out at once.
    NoRangeLocks,
    /// A reconnect does not take the reservation anew, so that commands of the old association may still take effect.
    ReconnectWithoutClaim,
    /// The copies of a resync are forgotten as clean before a flush.
    CopiedIsClean,
}

#[cfg(feature = "mutations")]
impl Mutation {
    /// All of them.
    pub const ALL: [Self; 34] = [
        Self::AcknowledgeBeforeGeneration,
        Self::AcknowledgeOnFirstLeg,
        Self::LateCompletionCounts,
        Self::SkipMark,
        Self::MarkOnOneLeg,
        Self::ClearEarly,
        Self::ClearUnderWrite,
        Self::FlushOneLeg,
        Self::DropFua,
        Self::MajorityWithoutMajority,
        Self::AttachWithoutMembers,
        Self::AttachToAnyGeneration,
        Self::AttachWithoutRepair,
        Self::AttachWithoutGeneration,
        Self::NoFence,
        Self::ConflictIsFailure,
        Self::FencedGoesOn,
        Self::NoLease,
        Self::NoTakeoverWait,
        Self::ResyncAgainstWrite,
        Self::ReadWithoutRepair,
        Self::ForgetMarksAtLoss,
        Self::ForgetAbsence,
        Self::ReturnInSync,
        Self::JoinWithoutFlush,
        Self::JoinWithoutMap,
        Self::JoinWithoutGeneration,
        Self::ResyncWithoutWrites,
        Self::ReadFromSyncing,
        Self::OneLabelCopy,
        Self::NoAncestors,
        Self::NoRangeLocks,
        Self::ReconnectWithoutClaim,
        Self::CopiedIsClean,
    ];
}

/// Which rules are kept: all, or all but one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    #[cfg(feature = "mutations")]
    pub(crate) broken: Option<Mutation>,
}

impl Rules {
    /// Whether a rule is broken.
    #[inline]
    #[cfg(feature = "mutations")]
    pub(crate) fn lack(self, rule: Mutation) -> bool {
        self.broken == Some(rule)
    }

    /// Whether a rule is broken: none can be.
    #[inline]
    #[cfg(not(feature = "mutations"))]
    #[allow(clippy::unused_self, reason = "the other build has one")]
    pub(crate) const fn lack(self, _rule: Mutation) -> bool {
        false
    }
}
