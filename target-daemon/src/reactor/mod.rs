//! A reactor: one thread with its endpoints, connections, buffers and device queues. Nothing of its I/O path is shared or locked.
//!
//! A turn takes in what has arrived and completed, gives memory to commands that wait, rings the devices, takes what they have
//! done, and posts what is to be sent, one batch for each queue pair. A turn in which nothing happened may end in a sleep.

mod buffers;
mod connection;
mod core;
mod counters;
mod devices;
mod port;
mod receives;
mod run;
mod shares;
mod station;
#[cfg(test)]
mod testing;
mod waiting;

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use block::{BlockDevice, Completion, OpenQueueError, SleepError, Sleeper, Timestamp};
use rdma::CreateError;

use self::connection::Tag;
use self::core::Core;
use self::devices::{Closing, DeviceQueue};
use self::station::Station;
use crate::engine::{BufferOptions, DeviceNews, Poll};
use crate::hub::{ExportSlot, Hub, Message};

pub(crate) use buffers::Buffers;
pub(crate) use counters::{Cells, Gauges};
pub(crate) use port::{DevicePort, Inboxes, Port};
pub(crate) use station::QUEUE_PAIRS_MAX;

/// How often a reactor looks after what depends on the time, and the longest sleep.
const TICK: Duration = Duration::from_millis(100);

/// Receives of a port at least, if ports share them.
const RECEIVES_PER_PORT_MIN: u32 = 16;

/// How a reactor is to be made.
pub(crate) struct ReactorOptions {
    pub(crate) index: u16,
    pub(crate) poll: Poll,
    pub(crate) buffers: BufferOptions,
}

/// See the module's words.
pub(crate) struct Reactor {
    core: Core,
    stations: Vec<Station>,
    /// What devices have done.
    done: Vec<Completion>,
    sleeper: Sleeper,
    poll: Poll,
    /// Of the namespaces that connections know.
    version: u64,
    next_tick: Timestamp,
    /// When something happened last.
    busy_at: Timestamp,
    /// Device queues that are to be closed.
    closing: usize,
    /// Who waits for the end of I/O.
    draining: Vec<SyncSender<()>>,
    is_stopping: bool,
}

impl Reactor {
    /// A reactor of these ports; `sleeper` is what its mailbox wakes.
    pub(crate) fn new(
        options: &ReactorOptions,
        hub: Arc<Hub>,
        buffers: Buffers,
        ports: Vec<Box<dyn Port>>,
        mut sleeper: Sleeper,
    ) -> Result<Self, ReactorError> {
        let mut descriptors = Vec::new();
        ports.iter().for_each(|port| port.wake_descriptors(&mut descriptors));
        descriptors.into_iter().try_for_each(|descriptor| sleeper.add(descriptor))?;
        let core = Core::new(options.index, hub, buffers, &options.buffers);
        let count = u32::try_from(ports.len()).unwrap_or(u32::MAX).max(1);
        let receives = (options.buffers.receives / count).max(RECEIVES_PER_PORT_MIN);
        let station =
            |(index, port)| Station::new(u16::try_from(index).unwrap_or(u16::MAX), port, &core, receives);
        let stations = ports.into_iter().enumerate().map(station).collect::<Result<_, _>>()?;
        let (version, busy_at) = (core.hub.version(), core.now);
        Ok(Self {
            core,
            stations,
            done: Vec::new(),
            sleeper,
            poll: options.poll,
            version,
            next_tick: busy_at,
            busy_at,
            closing: 0,
            draining: Vec::new(),
            is_stopping: false,
        })
    }

    /// Does everything once. Whether anything happened.
    fn turn(&mut self) -> bool {
        self.core.now = self.core.hub.clock().now();
        let mut is_busy = false;
        for station in &mut self.stations {
            is_busy |= station.poll(self.core.now);
        }
        // Before capsules are looked at: a host that was told of a namespace may use it.
        self.refresh();
        is_busy |= self.handle_messages();
        for station in &mut self.stations {
            is_busy |= station.handle(&mut self.core);
        }
        is_busy |= self.grant();
        is_busy |= self.run_devices();
        is_busy |= self.grant();
        for station in &mut self.stations {
            station.flush(&mut self.core);
        }
        if self.core.now >= self.next_tick {
            self.tick();
        }
        if self.closing > 0 {
            self.close_devices();
        }
        if !self.draining.is_empty() {
            self.drain();
        }
        self.core.gauges.look(self.core.now);
        is_busy
    }

    /// Commands that waited for memory, as far as there is some.
    fn grant(&mut self) -> bool {
        let mut is_busy = false;
        while let Some((ticket, data)) = self.core.next_granted() {
            is_busy = true;
            let core = &mut self.core;
            if let Some(station) = self.stations.get_mut(usize::from(ticket.connection.port)) {
                station.with(ticket.connection.handle, |connection| {
                    connection.handle_granted(core, ticket.slot, data);
                });
            }
        }
        is_busy
    }

    fn run_devices(&mut self) -> bool {
        let mut done = std::mem::take(&mut self.done);
        let is_busy = self.core.devices.poll(&mut done, self.core.now);
        for completion in done.drain(..) {
            let tag = Tag::unpack(completion.request.tag);
            if let Some(station) = self.stations.get_mut(usize::from(tag.port)) {
                station.handle_device(&mut self.core, tag, completion);
            }
        }
        self.done = done;
        is_busy
    }

    /// Lets I/O queues know of other namespaces.
    #[inline]
    fn refresh(&mut self) {
        let version = self.core.hub.version();
        if version == self.version {
            return;
        }
        self.version = version;
        for station in &mut self.stations {
            station.with_all(|connection| connection.refresh(|key| self.core.hub.view(key)));
        }
    }

    #[inline]
    fn handle_messages(&mut self) -> bool {
        let hub = Arc::clone(&self.core.hub);
        let Some(mailbox) = hub.mailboxes().get(usize::from(self.core.reactor)) else { return false };
        if mailbox.is_empty() {
            return false;
        }
        let messages = mailbox.take();
        // A device that is to be closed gets no more commands by what connections knew.
        self.refresh();
        let is_busy = !messages.is_empty();
        messages.into_iter().for_each(|message| self.handle_message(message));
        is_busy
    }

    fn handle_message(&mut self, message: Message) {
        let core = &mut self.core;
        match message {
            Message::Respond { connection: id, response } => {
                if let Some(station) = self.stations.get_mut(usize::from(id.port)) {
                    station.with(id.handle, |connection| connection.respond(&response));
                }
            }
            Message::Close { connection: id, why } => {
                if let Some(station) = self.stations.get_mut(usize::from(id.port)) {
                    station.close(core, id.handle, why);
                }
            }
            Message::RetryHeld => {
                for station in &mut self.stations {
                    station.with_all(|connection| connection.retry_held(core));
                }
            }
            Message::OpenExport { slot, device, answer } => {
                let opened = self.open_device(slot, &*device);
                // Whoever asked may have given up; then the queue is closed by a message of its own.
                let _ = answer.send(opened);
            }
            Message::CloseExport { slot, patience, answer } => match core.devices.get_mut(slot) {
                Some(queue) => {
                    queue.closing = Some(Closing { until: core.now.after(patience), answer });
                    self.closing += 1;
                }
                None => drop(answer.send(())),
            },
            Message::Drain { answer } => {
                core.is_draining = true;
                self.stations.iter_mut().for_each(|station| station.port.stop_listening());
                self.draining.push(answer);
            }
            Message::Stop => self.is_stopping = true,
        }
    }

    fn open_device(
        &mut self,
        slot: ExportSlot,
        device: &dyn BlockDevice,
    ) -> Result<Arc<Cells>, OpenQueueError> {
        let queue = DeviceQueue::open(device)?;
        for descriptor in queue.descriptors() {
            self.sleeper
                .add(*descriptor)
                .map_err(|error| OpenQueueError::Resources { what: "wake-up", reason: error.to_string() })?;
        }
        let cells = Arc::clone(&queue.cells);
        self.core.devices.insert(slot, queue);
        Ok(cells)
    }

    /// Closes device queues on which nothing is being done, or that were waited for long enough.
    fn close_devices(&mut self) {
        let now = self.core.now;
        let is_due = |queue: &DeviceQueue, closing: &Closing| queue.commands == 0 || closing.until <= now;
        let due = self.core.devices.closing().filter(|(_, queue, closing)| is_due(queue, closing));
        let due: Vec<ExportSlot> = due.map(|(slot, _, _)| slot).collect();
        due.into_iter().for_each(|slot| self.close_device(slot));
    }

    fn close_device(&mut self, slot: ExportSlot) {
        let Some(mut queue) = self.core.devices.remove(slot) else { return };
        for descriptor in queue.descriptors() {
            // What cannot be removed is gone already.
            let _ = self.sleeper.remove(*descriptor);
        }
        self.closing -= 1;
        let answer = queue.closing.take().map(|closing| closing.answer);
        if queue.commands > 0 {
            tracing::warn!(commands = queue.commands, "a device that does not answer is abandoned");
        }
        // What is in it is abandoned: its memory comes back when the device can no longer touch it.
        let is_in_use = queue.commands > 0;
        drop(queue);
        if is_in_use {
            self.core.forget_export(slot);
            for station in &mut self.stations {
                station.with_all(|connection| connection.abandon_export(&mut self.core, slot));
            }
        }
        if let Some(answer) = answer {
            let _ = answer.send(());
        }
    }

    /// What depends on the time, and what is not urgent.
    fn tick(&mut self) {
        self.next_tick = self.core.now.after(TICK);
        for station in &mut self.stations {
            station.tick(&mut self.core);
        }
        self.look_at_devices();
        if self.core.reactor == 0 {
            self.core.hub.judge_keep_alives();
            self.stations.iter().for_each(|station| station.port.report_device_events());
        }
        self.publish();
    }

    /// What has happened to devices.
    fn look_at_devices(&mut self) {
        let mut news: Vec<(ExportSlot, DeviceNews)> = Vec::new();
        self.core.devices.poll_news(self.core.now, |slot, what| news.push((slot, what)));
        news.into_iter().for_each(|(slot, what)| self.core.hub.device_news(slot, what));
    }

    fn publish(&self) {
        let (core, gauges) = (&self.core, &self.core.gauges);
        let (bytes, free) = core.buffers.data_bytes();
        let copied: u64 = self.stations.iter().map(|station| station.port.counters().bytes_copied).sum();
        gauges.connections.set(self.stations.iter().map(|station| station.connections() as u64).sum());
        gauges.buffer_bytes.set(bytes);
        gauges.buffer_bytes_free.set(free);
        gauges.waiting.set(core.waiting() as u64);
        gauges.read_bytes.set(core.reads.bytes());
        gauges.in_devices.set(core.devices.in_devices() as u64);
        gauges.bytes_copied.set(copied + core.copied_bytes);
    }

    /// Closes I/O queues that have nothing to do; says so when none is left.
    fn drain(&mut self) {
        let mut left = 0;
        for station in &mut self.stations {
            left += station.drain(&mut self.core);
        }
        if left == 0 {
            for answer in self.draining.drain(..) {
                // Whoever asked may have lost patience.
                let _ = answer.send(());
            }
        }
    }
}

/// Why there is no reactor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReactorError {
    /// It cannot sleep.
    #[error(transparent)]
    Sleep(#[from] SleepError),
    /// A device has no room for it.
    #[error(transparent)]
    Create(#[from] CreateError),
}
