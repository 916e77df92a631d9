//! What goes wrong.

use replication::{Action, ActionKind};

use crate::world::{BLOCKS, Event, World, us};

/// What goes wrong when something particular happens.
#[derive(Clone, Debug, Default)]
pub struct Armed {
    /// The writer dies at one of its next writes of labels or maps.
    crash: Option<usize>,
    /// The device that gets one of the next writes of labels or maps loses power while it writes.
    cut: bool,
    /// The next command of this device fails.
    pub failure: Option<usize>,
}

impl World {
    fn any_device(&mut self) -> usize {
        self.dice.index(self.devices.len())
    }

    pub fn fault(&mut self) {
        if self.is_healed {
            return;
        }
        let device = self.any_device();
        let alive = self.alive();
        let process = if alive.is_empty() { None } else { Some(self.dice.choose(&alive)) };
        match self.dice.below(28) {
            0..=3 => self.each_link(device),
            4..=6 => self.cut_link(device, process),
            7..=9 => self.cut_power(device),
            10..=12 => self.freeze(device),
            13..=15 => process.into_iter().for_each(|process| self.crash_and_return(process)),
            16 => self.second_writer(),
            17 => self.rot(device),
            18 => self.armed.failure = Some(device),
            19 => self.cut_everything(),
            20..=21 => self.armed.crash = process,
            22 => self.armed.cut = true,
            23 | 26 => self.split(device, process),
            24 => self.betray(device),
            25 => self.hide(device),
            _ => alive.into_iter().for_each(|process| self.cut_link(device, Some(process))),
        }
        let delay = self.dice.below(us(7000));
        self.at(delay, Event::Fault);
    }

    fn each_link(&mut self, device: usize) {
        self.alive().into_iter().for_each(|process| self.drop_link(device, process));
    }

    fn cut_link(&mut self, device: usize, process: Option<usize>) {
        let Some(process) = process else { return };
        self.say(|| format!("writer {process} cannot reach {device}"));
        self.processes[process].links[device].is_cut = true;
        self.soon(us(20_000), Event::Reach { device, process });
    }

    fn cut_power(&mut self, device: usize) {
        if !self.devices[device].has_power {
            return;
        }
        self.say(|| format!("{device} loses power"));
        self.devices[device].cut_power(&mut self.dice);
        self.model.cut_power();
        self.each_link(device);
        self.soon(us(10_000), Event::PowerOn { device });
    }

    fn freeze(&mut self, device: usize) {
        self.say(|| format!("{device} freezes"));
        self.devices[device].is_frozen = true;
        self.soon(us(15_000), Event::Thaw { device });
    }

    pub fn crash_and_return(&mut self, process: usize) {
        self.crash(process);
        self.soon(us(4000), Event::Start);
    }

    fn second_writer(&mut self) {
        if self.alive().len() < 2 {
            self.start_process();
        }
    }

    /// The writer reaches one device only, and another writer all others.
    fn split(&mut self, device: usize, process: Option<usize>) {
        if self.alive().len() > 1 {
            return;
        }
        let Some(first) = process else { return };
        let second = self.start_process();
        for other in 0..self.devices.len() {
            let from = if other == device { second } else { first };
            self.processes[from].links[other].is_cut = true;
            self.at(us(35_000), Event::Reach { device: other, process: from });
        }
    }

    /// A leg is lost while another holder is slow; the writer dies together with the only one that may know of it.
    fn betray(&mut self, device: usize) {
        let others: Vec<_> = (0..self.devices.len()).filter(|other| *other != device).collect();
        let lost = self.dice.choose(&others);
        others.into_iter().filter(|other| *other != lost).for_each(|slow| self.freeze(slow));
        self.each_link(lost);
        let delay = us(400) + self.dice.below(us(2000));
        self.at(delay, Event::Betrayal { device });
    }

    /// The wrong device is found for a while.
    fn hide(&mut self, device: usize) {
        self.devices[device].is_foreign = true;
        self.each_link(device);
        self.soon(us(9000), Event::Found { device });
    }

    pub fn find(&mut self, device: usize) {
        if std::mem::take(&mut self.devices[device].is_foreign) {
            self.each_link(device);
        }
    }

    pub fn betrayal(&mut self, device: usize) {
        if self.is_healed {
            return;
        }
        self.alive().into_iter().for_each(|process| self.crash_and_return(process));
        self.devices[device].cut_power(&mut self.dice);
        self.model.cut_power();
        self.at(us(25_000), Event::PowerOn { device });
    }

    /// A block cannot be read any more; never one that another device cannot read either.
    fn rot(&mut self, device: usize) {
        let block = self.dice.below(BLOCKS);
        if self.devices.iter().all(|device| device.unreadable.is_empty()) {
            self.say(|| format!("{device} cannot read {block}"));
            self.devices[device].unreadable.insert(block);
        }
    }

    fn cut_everything(&mut self) {
        (0..self.devices.len()).for_each(|device| self.cut_power(device));
        if self.dice.happens(500_000) {
            self.alive().into_iter().for_each(|process| self.crash_and_return(process));
        }
    }

    /// Whether a writer dies before it sends this; it may also die just after.
    pub fn is_killed_by(&mut self, process: usize, action: &Action) -> bool {
        let is_metadata = matches!(action.kind, ActionKind::WriteLabel { .. } | ActionKind::WriteMap { .. });
        if !is_metadata {
            return self.processes[process].mirror.is_none();
        }
        if self.armed.cut && self.dice.happens(300_000) {
            self.armed.cut = false;
            // The command arrives first, as a rule.
            let device = action.holder.index();
            self.soon(us(200), Event::CutPower { device });
        }
        if self.armed.crash == Some(process) && self.dice.happens(400_000) {
            self.armed.crash = None;
            self.crash_and_return(process);
        }
        self.processes[process].mirror.is_none()
    }

    pub fn cut_power_now(&mut self, device: usize) {
        if !self.is_healed {
            self.cut_power(device);
        }
    }

    /// Nothing goes wrong any more.
    pub fn heal(&mut self) {
        self.say(|| "healed".into());
        self.is_healed = true;
        self.slow_per_million = 0;
        self.armed = Armed::default();
        for device in 0..self.devices.len() {
            self.devices[device].has_power = true;
            // The only leg in sync may be the one that cannot read a block.
            self.devices[device].unreadable.clear();
            self.thaw(device);
            self.find(device);
            self.processes.iter_mut().for_each(|process| process.links[device].is_cut = false);
        }
        // One writer remains.
        let alive = self.alive();
        alive.iter().skip(1).for_each(|process| self.crash(*process));
    }
}
