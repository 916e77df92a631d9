//! Commands that have been fetched and not completed yet, because they take time or because of a fault.

use std::collections::BTreeMap;

use block::Timestamp;
use nvme_spec::{CommandId, QueueId, Sqe};

use super::Answer;

/// The most commands that are held. A controller that holds as many fetches no more.
pub(super) const HELD_MAX: usize = 65_536;

/// A held command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) sqid: QueueId,
    pub(super) sqe: Sqe,
    /// What it ends with, if it was executed already.
    pub(super) answer: Option<Answer>,
    /// How many completions of its queue are to overtake it still; 0 if it only waits for its time.
    pub(super) behind: u32,
}

/// By time, then by age.
type Key = (Timestamp, u64);

/// The held commands.
#[derive(Debug, Default)]
pub(super) struct HeldCommands {
    commands: BTreeMap<Key, Held>,
    next: u64,
    /// How many of them wait to be overtaken.
    overtaken: usize,
}

impl HeldCommands {
    /// Holds a command until then; [`Timestamp::NEVER`] is until it is aborted.
    pub(super) fn hold(&mut self, until: Timestamp, held: Held) {
        self.overtaken += usize::from(held.behind > 0);
        self.commands.insert((until, self.next), held);
        self.next += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn clear(&mut self) {
        self.commands.clear();
        self.overtaken = 0;
    }

    /// Takes the first command whose time has come and whose completion queue has room.
    #[inline]
    pub(super) fn take_due(&mut self, now: Timestamp, has_room: impl Fn(QueueId) -> bool) -> Option<Held> {
        let key = self.due(now, has_room)?;
        self.remove(key)
    }

    /// Whether there is a command that [`Self::take_due`] would take.
    pub(super) fn has_due(&self, now: Timestamp, has_room: impl Fn(QueueId) -> bool) -> bool {
        self.due(now, has_room).is_some()
    }

    #[inline]
    fn due(&self, now: Timestamp, has_room: impl Fn(QueueId) -> bool) -> Option<Key> {
        if self.commands.is_empty() {
            return None;
        }
        let due = self.commands.range(..=(now, u64::MAX));
        let mut due = due.filter(|((at, _), _)| *at < Timestamp::NEVER);
        due.find(|(_, held)| has_room(held.sqid)).map(|(key, _)| *key)
    }

    /// When the next command is due after `now`.
    pub(super) fn next_due(&self, now: Timestamp) -> Timestamp {
        self.commands.range((now.after_ns(1), 0)..).next().map_or(Timestamp::NEVER, |((at, _), _)| *at)
    }

    /// Takes a command by its name.
    pub(super) fn take(&mut self, sqid: QueueId, cid: CommandId) -> Option<Held> {
        let (key, _) = self.commands.iter().find(|(_, held)| held.sqid == sqid && held.sqe.cid() == cid)?;
        let key = *key;
        self.remove(key)
    }

    /// Drops the commands of a queue that is deleted.
    pub(super) fn drop_queue(&mut self, sqid: QueueId) {
        self.commands.retain(|_, held| held.sqid != sqid);
        self.overtaken = self.commands.values().filter(|held| held.behind > 0).count();
    }

    /// A completion of this queue was posted. Those that it was to overtake last become due.
    #[inline]
    pub(super) fn overtake(&mut self, sqid: QueueId, now: Timestamp) {
        if self.overtaken > 0 {
            self.overtake_slowly(sqid, now);
        }
    }

    fn overtake_slowly(&mut self, sqid: QueueId, now: Timestamp) {
        let mut due = Vec::new();
        for (key, held) in self.commands.iter_mut().filter(|(_, held)| held.sqid == sqid && held.behind > 0) {
            held.behind -= 1;
            if held.behind == 0 {
                due.push(*key);
            }
        }
        self.overtaken -= due.len();
        for key in due {
            if let Some(held) = self.commands.remove(&key) {
                self.hold(now, held);
            }
        }
    }

    fn remove(&mut self, key: Key) -> Option<Held> {
        let held = self.commands.remove(&key)?;
        self.overtaken -= usize::from(held.behind > 0);
        Some(held)
    }
}
