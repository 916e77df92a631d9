//! A device that holds a label: blocks with a volatile cache, two label copies, a map, a reservation, and a queue of commands
//! that it carries out when it likes.

use std::collections::{BTreeMap, BTreeSet};

use replication::{ActionKind, Done, LegError, MapUnit};
use sim::Dice;

/// The name of a write, which is what its blocks hold afterwards.
pub type Value = u64;

/// A command that has arrived.
#[derive(Clone, Debug)]
pub struct Command {
    pub process: usize,
    pub association: u64,
    pub action: u64,
    pub key: u64,
    pub kind: ActionKind,
    /// What a write writes: fixed when it was sent.
    pub data: Vec<Value>,
}

/// What a command returns: its result, and what a read has read.
pub type Answer = (Result<Done, LegError>, Vec<Value>);

#[derive(Debug)]
pub struct Device {
    durable: Vec<Value>,
    /// By block: what was written since the last flush, in order.
    cache: BTreeMap<u64, Vec<Value>>,
    pub unreadable: BTreeSet<u64>,
    pub labels: [Box<[u8; 4096]>; 2],
    pub map: Vec<Option<MapUnit>>,
    pub holder: Option<u64>,
    pub has_power: bool,
    pub is_frozen: bool,
    /// Another device is in its place, for those who look.
    pub is_foreign: bool,
    pub queue: Vec<Command>,
    /// By process: the association that counts.
    pub associations: BTreeMap<usize, u64>,
}

impl Device {
    pub fn new(blocks: u64, label: Box<[u8; 4096]>, map: Vec<Option<MapUnit>>) -> Self {
        Self {
            durable: vec![0; blocks as usize],
            cache: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            labels: [label, Box::new([0; 4096])],
            map,
            holder: None,
            has_power: true,
            is_frozen: false,
            is_foreign: false,
            queue: Vec::new(),
            associations: BTreeMap::new(),
        }
    }

    pub fn block(&self, block: u64) -> Value {
        let newest = self.cache.get(&block).and_then(|values| values.last());
        newest.copied().unwrap_or(self.durable[block as usize])
    }

    fn put(&mut self, block: u64, value: Value, fua: bool) {
        self.unreadable.remove(&block);
        if fua {
            self.cache.remove(&block);
            self.durable[block as usize] = value;
        } else {
            self.cache.entry(block).or_default().push(value);
        }
    }

    /// Carries a command out.
    pub fn execute(&mut self, command: Command, dice: &mut Dice) -> Answer {
        if let ActionKind::Claim { key, takeover } = command.kind {
            return (self.claim(&command, key.0, takeover, dice), Vec::new());
        }
        if self.holder.is_some_and(|holder| holder != command.key) {
            return (Err(LegError::Conflict), Vec::new());
        }
        self.carry_out(command)
    }

    fn carry_out(&mut self, command: Command) -> Answer {
        let mut read = Vec::new();
        let mut result = Ok(Done::Done);
        match command.kind {
            ActionKind::Claim { .. } | ActionKind::Close => unreachable!("not a command of this kind"),
            ActionKind::Ping => {}
            ActionKind::ReadLabel if self.is_foreign => {
                result = Ok(Done::Label([Box::new([0; 4096]), Box::new([0; 4096])]));
            }
            ActionKind::ReadLabel => result = Ok(Done::Label(self.labels.clone())),
            ActionKind::WriteLabel { copy, bytes } => self.labels[copy] = bytes,
            ActionKind::ReadMap => result = Ok(Done::Map(self.map.clone())),
            ActionKind::WriteMap { first, units } => {
                for (index, unit) in units.into_iter().enumerate() {
                    self.map[first as usize + index] = Some(unit);
                }
            }
            ActionKind::Read { range, .. } => {
                let blocks = range.start.0..range.start.0 + range.blocks;
                if self.unreadable.range(blocks.clone()).next().is_some() {
                    result = Err(LegError::Unreadable);
                } else {
                    read = blocks.map(|block| self.block(block)).collect();
                }
            }
            ActionKind::Write { range, fua, .. } | ActionKind::WriteZeroes { range, fua, .. } => {
                for (offset, value) in (0..range.blocks).zip(command.data) {
                    self.put(range.start.0 + offset, value, fua);
                }
            }
            ActionKind::Flush => {
                for (block, values) in std::mem::take(&mut self.cache) {
                    self.durable[block as usize] = values.last().copied().unwrap_or(0);
                }
            }
        }
        (result, read)
    }

    /// Everything of others, and of earlier associations, takes effect before or never.
    fn claim(&mut self, by: &Command, key: u64, takeover: bool, dice: &mut Dice) -> Result<Done, LegError> {
        if !takeover && self.holder.is_some_and(|holder| holder != key) {
            return Err(LegError::Conflict);
        }
        let (mine, others) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|command| command.process == by.process && command.association == by.association);
        self.queue = mine;
        for command in others {
            let is_command = !matches!(command.kind, ActionKind::Claim { .. });
            if is_command && dice.happens(500_000) && self.holder.is_none_or(|holder| holder == command.key) {
                let _nobody_hears = self.carry_out(command);
            }
        }
        self.holder = Some(key);
        Ok(Done::Done)
    }

    /// Of what was not flushed any part remains; what was being written may be torn.
    pub fn cut_power(&mut self, dice: &mut Dice) {
        self.has_power = false;
        self.is_frozen = false;
        self.associations.clear();
        for command in std::mem::take(&mut self.queue) {
            if self.holder == Some(command.key) && dice.happens(500_000) {
                self.tear(command, dice);
            }
        }
        for (block, values) in std::mem::take(&mut self.cache) {
            let kept = dice.index(values.len() + 1);
            if let Some(value) = kept.checked_sub(1).map(|index| values[index]) {
                self.durable[block as usize] = value;
            }
        }
    }

    fn tear(&mut self, command: Command, dice: &mut Dice) {
        match command.kind {
            ActionKind::WriteLabel { copy, bytes } => {
                let from = dice.index(8) * 512;
                let length = dice.index(9) * 512;
                let end = (from + length).min(4096);
                self.labels[copy][from..end].copy_from_slice(&bytes[from..end]);
            }
            ActionKind::WriteMap { first, units } => {
                for (index, unit) in units.into_iter().enumerate() {
                    match dice.below(20) {
                        0 => self.map[first as usize + index] = None,
                        1..=10 => self.map[first as usize + index] = Some(unit),
                        _ => {}
                    }
                }
            }
            ActionKind::Write { range, .. } | ActionKind::WriteZeroes { range, .. } => {
                for (offset, value) in (0..range.blocks).zip(command.data) {
                    if dice.happens(500_000) {
                        self.put(range.start.0 + offset, value, false);
                    }
                }
            }
            _ => {}
        }
    }
}
