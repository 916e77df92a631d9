//! Writers, devices, and what is between them, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use block::Timestamp;
use replication::wire::label::Label;
use replication::wire::map_unit;
use replication::{
    Action, ActionId, ActionKind, Attachment, Data, Description, Generation, HolderId, HolderSet, LegError,
    Member, Mirror, Mutation, Options, Phase, Policy, RequestId, Role, Shape, WriterKey,
};
use sim::{Coverage, Dice};
use uuid::Uuid;

use crate::client::Pending;
use crate::device::{Answer, Command, Device, Value};
use crate::faults::Armed;
use crate::model::Model;

/// What happens at a moment.
#[derive(Debug)]
pub enum Event {
    Found {
        device: usize,
    },
    Deliver {
        device: usize,
        command: Command,
    },
    Execute {
        device: usize,
        process: usize,
        action: u64,
    },
    Complete {
        device: usize,
        process: usize,
        association: u64,
        action: u64,
        data: Option<Data>,
        answer: Answer,
    },
    Connect {
        device: usize,
        process: usize,
    },
    PowerOn {
        device: usize,
    },
    CutPower {
        device: usize,
    },
    Betrayal {
        device: usize,
    },
    Thaw {
        device: usize,
    },
    Reach {
        device: usize,
        process: usize,
    },
    Start,
    Client {
        process: usize,
    },
    Fault,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    pub is_up: bool,
    pub is_cut: bool,
    pub association: u64,
    /// The writer has not heard that it ended.
    pub is_secret: bool,
}

/// A writer.
pub struct Process {
    pub mirror: Option<Mirror>,
    pub key: u64,
    pub links: Vec<Link>,
    pub buffers: BTreeMap<Data, Vec<Value>>,
    pub pending: BTreeMap<RequestId, Pending>,
    pub saw_conflict: bool,
    /// Which request made these blocks zero; a range is made zero once.
    pub zeroes: BTreeMap<(u64, u64), Value>,
    /// In which incarnation it began to serve, and whose epoch that was.
    serving_since: Option<(u64, u64)>,
    served: Option<u64>,
}

pub struct World {
    pub dice: Dice,
    pub now: u64,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub description: Description,
    pub options: Options,
    pub mutation: Option<Mutation>,
    pub devices: Vec<Device>,
    pub processes: Vec<Process>,
    pub model: Model,
    pub next_value: Value,
    pub is_healed: bool,
    pub has_client: bool,
    pub armed: Armed,
    pub coverage: Coverage,
    pub slow_per_million: u32,
    pub log: Option<Vec<String>>,
}

pub const BLOCKS: u64 = 48;

pub fn us(microseconds: u64) -> u64 {
    microseconds * 1000
}

fn holder(index: usize) -> HolderId {
    HolderId::new(index).expect("few holders")
}

pub fn describe(dice: &mut Dice) -> Description {
    let (legs, witnesses, policy) = match dice.below(8) {
        0..=2 => (2, 0, Policy::AllMembers),
        3..=4 => (2, 1, Policy::Majority),
        5..=6 => (3, 0, Policy::Majority),
        _ => (3, 0, Policy::AllMembers),
    };
    let roles = [vec![Role::Leg; legs], vec![Role::Witness; witnesses]].concat();
    let member = |(index, role): (usize, Role)| Member { uuid: Uuid::from_u128(100 + index as u128), role };
    Description {
        mirror: Uuid::from_u128(7),
        members: roles.into_iter().enumerate().map(member).collect(),
        policy,
        shape: Shape { blocks: BLOCKS, block_bytes: 512, region_blocks: 4 },
        data_offset_bytes: 1 << 20,
        map_offset_bytes: 1 << 17,
    }
}

pub fn options(dice: &mut Dice) -> Options {
    Options {
        leg_timeout: Duration::from_millis(6),
        quorum_timeout: dice.happens(300_000).then_some(Duration::from_millis(15)),
        lease: Duration::from_millis(dice.choose(&[4, 14])),
        intent_regions_max: dice.choose(&[2, 4, 12]),
        intent_ahead: dice.choose(&[0, 2]),
        intent_idle: Duration::from_micros(dice.choose(&[500, 3000, 50_000])),
        write_through: dice.happens(100_000),
        copy_blocks: dice.choose(&[1, 2, 4]),
        copy_gap_idle: Duration::ZERO,
        copy_gap_busy: Duration::from_micros(dice.choose(&[0, 100, 500])),
    }
}

impl World {
    pub fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut dice = Dice::new(seed);
        let (description, options) = (describe(&mut dice), options(&mut dice));
        let devices = (0..description.members.len()).map(|index| format(&description, index)).collect();
        let slow_per_million = dice.choose(&[0, 1_000, 20_000]);
        Self {
            dice,
            now: 0,
            events: BTreeMap::new(),
            sequence: 0,
            description,
            options,
            mutation,
            devices,
            processes: Vec::new(),
            model: Model::new(BLOCKS),
            next_value: 1,
            is_healed: false,
            has_client: true,
            armed: Armed::default(),
            coverage: Coverage::default(),
            slow_per_million,
            log: std::env::var_os("REMORA_LOG").map(|_| Vec::new()),
        }
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if self.log.is_some() {
            println!("{:>9} {}", self.now / 1000, what());
        }
    }

    pub fn at(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + delay, self.sequence), event);
    }

    pub fn soon(&mut self, below: u64, event: Event) {
        let delay = self.dice.below(below) + 1;
        self.at(delay, event);
    }

    fn latency(&mut self) -> u64 {
        if self.dice.happens(self.slow_per_million) {
            self.dice.below(us(9000))
        } else {
            us(5) + self.dice.below(us(60))
        }
    }

    /// A writer starts, and tries to take the mirror.
    pub fn start_process(&mut self) -> usize {
        let process = self.processes.len();
        let key = self.dice.number();
        let attachment = Attachment {
            key: WriterKey(key),
            first_id: u128::from(self.dice.number()) << 64 | u128::from(key),
        };
        let now = Timestamp::from_ns(self.now);
        let mirror = Mirror::attach(now, self.description.clone(), self.options.clone(), attachment);
        let mirror = mirror.expect("a good description").with_mutation(self.mutation);
        self.say(|| format!("writer {process} starts"));
        self.processes.push(Process {
            mirror: Some(mirror),
            key,
            links: vec![Link::default(); self.devices.len()],
            buffers: BTreeMap::new(),
            pending: BTreeMap::new(),
            saw_conflict: false,
            zeroes: BTreeMap::new(),
            serving_since: None,
            served: None,
        });
        for device in 0..self.devices.len() {
            self.soon(us(500), Event::Connect { device, process });
        }
        self.soon(us(100), Event::Client { process });
        process
    }

    /// A writer dies. What it sent may still take effect.
    pub fn crash(&mut self, process: usize) {
        if let Some(mirror) = self.processes[process].mirror.take() {
            self.say(|| format!("writer {process} dies"));
            self.note_coverage(&mirror);
            self.processes[process].pending.clear();
            self.devices.iter_mut().for_each(|device| {
                device.associations.remove(&process);
            });
        }
    }

    fn note_coverage(&mut self, mirror: &Mirror) {
        for (state, event, times) in mirror.counts().cells() {
            if times > 0 {
                self.coverage.add(state, event, times);
            }
        }
    }

    pub fn finish(&mut self) {
        for process in 0..self.processes.len() {
            self.crash(process);
        }
    }

    pub fn alive(&self) -> Vec<usize> {
        (0..self.processes.len()).filter(|process| self.processes[*process].mirror.is_some()).collect()
    }

    /// Lets something happen, if anything happens before `end`.
    pub fn step(&mut self, end: u64) -> bool {
        let due = self.events.keys().next().map_or(u64::MAX, |(at, _)| *at);
        let timers = self.processes.iter().enumerate().filter_map(|(index, process)| {
            process.mirror.as_ref().map(|mirror| (mirror.next_timeout().as_ns(), index))
        });
        let (timer, process) = timers.min().unwrap_or((u64::MAX, 0));
        if due.min(timer) > end {
            self.now = end;
            return false;
        }
        if timer < due {
            self.now = self.now.max(timer);
            self.with(process, |mirror, now| mirror.handle_timeout(now));
        } else if let Some(((at, _), event)) = self.events.pop_first() {
            self.now = self.now.max(at);
            self.happen(event);
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { device, command } => self.deliver(device, command),
            Event::Execute { device, process, action } => self.execute(device, process, action),
            Event::Complete { device, process, association, action, data, answer } => {
                self.complete(device, process, association, action, data, answer);
            }
            Event::Connect { device, process } => self.connect(device, process),
            Event::PowerOn { device } => self.devices[device].has_power = true,
            Event::Found { device } => self.find(device),
            Event::Betrayal { device } => self.betrayal(device),
            Event::CutPower { device } => self.cut_power_now(device),
            Event::Thaw { device } => self.thaw(device),
            Event::Reach { device, process } => self.processes[process].links[device].is_cut = false,
            Event::Start => {
                self.start_process();
            }
            Event::Client { process } => self.client_turn(process),
            Event::Fault => self.fault(),
        }
    }

    /// Calls a writer's mirror, and does what it says.
    pub fn with(&mut self, process: usize, call: impl FnOnce(&mut Mirror, Timestamp)) {
        let now = Timestamp::from_ns(self.now);
        let Some(mirror) = self.processes[process].mirror.as_mut() else { return };
        call(mirror, now);
        self.note_epoch(process);
        while let Some(action) = self.mirror_of(process).and_then(Mirror::poll_action) {
            self.dispatch(process, action);
        }
        while let Some((id, result)) = self.mirror_of(process).and_then(Mirror::poll_completion) {
            self.request_ended(process, id, result);
        }
    }

    fn mirror_of(&mut self, process: usize) -> Option<&mut Mirror> {
        self.processes[process].mirror.as_mut()
    }

    fn note_epoch(&mut self, process: usize) {
        let known = &mut self.processes[process];
        let Some(mirror) = &known.mirror else { return };
        let incarnation = mirror.incarnation();
        if mirror.phase() == Phase::Serving && known.serving_since.is_none_or(|(when, _)| when != incarnation)
        {
            known.serving_since = Some((incarnation, self.model.epoch));
        }
        if mirror.phase() != Phase::Serving || known.served == Some(mirror.incarnation()) {
            return;
        }
        // Somebody may have taken over between its last step and its knowing of it. It does not know yet, and can do nothing,
        // unless it gets over the loss of those legs.
        let (status, key) = (mirror.status(), known.key);
        let is_ours = |device: &Device| device.holder.is_none_or(|holder| holder == key);
        if !status.is_settled || !status.in_sync.iter().all(|leg| is_ours(&self.devices[leg.index()])) {
            return;
        }
        known.served = Some(status.incarnation);
        self.model.begin_epoch(process);
        for (id, pending) in &self.processes[process].pending {
            if pending.op.changes_data() {
                self.model.write(pending.range, id.0);
            }
        }
        self.say(|| format!("writer {process} serves"));
    }

    /// Whether another writer began to serve after this one did: nobody may ever see what it writes from then on.
    pub fn is_overtaken(&self, process: usize) -> bool {
        let since = self.processes[process].serving_since.map_or(0, |(_, epoch)| epoch);
        self.model.process != Some(process) && self.model.epoch > since
    }

    fn dispatch(&mut self, process: usize, action: Action) {
        let device = action.holder.index();
        if self.is_killed_by(process, &action) {
            return;
        }
        if action.kind == ActionKind::Close {
            self.say(|| format!("writer {process} closes {device}"));
            self.processes[process].links[device].is_up = false;
            self.devices[device].associations.remove(&process);
            self.soon(us(2000), Event::Connect { device, process });
            return;
        }
        let link = self.processes[process].links[device];
        if !link.is_up || link.is_cut {
            return;
        }
        self.say(|| format!("writer {process} -> {device}: {} {}", action.id.0, name(&action.kind)));
        let data = self.data_of(process, &action.kind);
        let key = self.processes[process].key;
        let command = Command {
            process,
            association: link.association,
            action: action.id.0,
            key,
            kind: action.kind,
            data,
        };
        let latency = self.latency();
        self.at(latency, Event::Deliver { device, command });
    }

    fn data_of(&self, process: usize, kind: &ActionKind) -> Vec<Value> {
        match kind {
            ActionKind::Write { range, data, .. } => {
                let data = self.processes[process].buffers.get(data).expect("a write has data");
                assert_eq!(data.len() as u64, range.blocks, "a write of other data than its own");
                data.clone()
            }
            ActionKind::WriteZeroes { range, .. } => {
                // Zeroes of different requests can be told here, by their ranges.
                let value = self.processes[process].zeroes[&(range.start.0, range.blocks)];
                vec![value; range.blocks as usize]
            }
            _ => Vec::new(),
        }
    }

    fn deliver(&mut self, device: usize, command: Command) {
        let process = command.process;
        let is_cut = self.processes[process].links[device].is_cut;
        let target = &mut self.devices[device];
        let is_current = target.associations.get(&process) == Some(&command.association);
        if is_cut || !target.has_power || !is_current {
            return;
        }
        let action = command.action;
        target.queue.push(command);
        let latency = self.latency();
        self.at(latency, Event::Execute { device, process, action });
    }

    fn execute(&mut self, device: usize, process: usize, action: u64) {
        let target = &mut self.devices[device];
        let is_this = |command: &Command| command.process == process && command.action == action;
        let Some(index) = target.queue.iter().position(is_this) else { return };
        if target.is_frozen || !target.has_power {
            return;
        }
        let association = target.queue[index].association;
        let is_late = target.associations.get(&process) != Some(&association);
        if is_late && self.dice.happens(600_000) {
            return self.soon(us(3000), Event::Execute { device, process, action });
        }
        let target = &mut self.devices[device];
        let command = target.queue.remove(index);
        if is_late && matches!(command.kind, ActionKind::Claim { .. }) {
            return;
        }
        let data = match command.kind {
            ActionKind::Read { data, .. } => Some(data),
            _ => None,
        };
        let answer = if std::mem::take(&mut self.armed.failure) == Some(device) {
            (Err(LegError::Failed), Vec::new())
        } else {
            target.execute(command, &mut self.dice)
        };
        let latency = self.latency();
        self.at(latency, Event::Complete { device, process, association, action, data, answer });
    }

    fn complete(
        &mut self,
        device: usize,
        process: usize,
        association: u64,
        action: u64,
        data: Option<Data>,
        (result, read): Answer,
    ) {
        let link = self.processes[process].links[device];
        if link.is_cut || link.is_secret || self.processes[process].mirror.is_none() {
            return;
        }
        let is_current = link.is_up && link.association == association;
        if let Some(data) = data.filter(|_| is_current && result.is_ok()) {
            self.processes[process].buffers.insert(data, read);
        }
        self.say(|| {
            format!(
                "{device} -> writer {process}: {action} {}",
                if result.is_ok() { "done" } else { "failed" }
            )
        });
        self.processes[process].saw_conflict |= is_current && result == Err(LegError::Conflict);
        self.with(process, |mirror, now| mirror.handle_completion(now, ActionId(action), result));
    }

    fn connect(&mut self, device: usize, process: usize) {
        let link = self.processes[process].links[device];
        if self.processes[process].mirror.is_none() || link.is_up {
            return;
        }
        let target = &self.devices[device];
        if link.is_cut || !target.has_power || target.is_frozen {
            return self.soon(us(1500), Event::Connect { device, process });
        }
        let association = link.association + 1;
        self.devices[device].associations.insert(process, association);
        self.processes[process].links[device] = Link { is_up: true, association, ..Link::default() };
        self.say(|| format!("writer {process} has {device}"));
        self.with(process, |mirror, now| mirror.handle_link_up(now, holder(device)));
    }

    /// An association ends, and the writer hears of it.
    pub fn drop_link(&mut self, device: usize, process: usize) {
        let link = &mut self.processes[process].links[device];
        if !std::mem::take(&mut link.is_up) {
            return;
        }
        self.devices[device].associations.remove(&process);
        self.say(|| format!("writer {process} loses {device}"));
        // The news may be only that there is a new one.
        let is_secret = self.dice.happens(200_000);
        self.processes[process].links[device].is_secret = is_secret;
        if !is_secret {
            self.with(process, |mirror, now| mirror.handle_link_down(now, holder(device)));
        }
        self.soon(us(2500), Event::Connect { device, process });
    }

    pub fn thaw(&mut self, device: usize) {
        self.devices[device].is_frozen = false;
        let waiting: Vec<_> = self.devices[device].queue.iter().map(|c| (c.process, c.action)).collect();
        for (process, action) in waiting {
            self.soon(us(400), Event::Execute { device, process, action });
        }
    }
}

fn name(kind: &ActionKind) -> String {
    match kind {
        ActionKind::WriteLabel { bytes, .. } => Label::decode(bytes).map_or_else(
            |why| why.to_string(),
            |label| format!("label {} {}", label.generation.name.counter, label.in_sync),
        ),
        ActionKind::WriteMap { first, units } => format!("map {first}+{}", units.len()),
        other => format!("{other:?}"),
    }
}

/// A device that a mirror was created on.
fn format(description: &Description, index: usize) -> Device {
    let legs: HolderSet = description.legs();
    let label = Label {
        compatible: 0,
        mirror: description.mirror,
        holder: description.members[index].uuid,
        sequence: 1,
        generation: Generation::first(Uuid::from_u128(1)),
        in_sync: legs,
        policy: description.policy,
        members: description.members.clone(),
        shape: description.shape,
        data_offset_bytes: description.data_offset_bytes,
        map_offset_bytes: description.map_offset_bytes,
    };
    let unit = |unit| Some(map_unit::encode(description.mirror, unit, []));
    Device::new(BLOCKS, label.encode(), (0..description.shape.units()).map(unit).collect())
}
