//! The rules of a controller, and the chances that they take.

use nvme_spec::{QueueId, Sqe};

use super::{CommandFault, FAULT_RULES_MAX, Fault, FaultRule, LifeFault, Moment, RuleId};

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
    use crate::faults::Queues;
    use nvme_spec::{CommandId, Nsid};

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
