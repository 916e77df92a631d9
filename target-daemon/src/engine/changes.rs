//! Namespaces that come and go while hosts are attached: one change at a time, each seen through on all reactors.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use block::{BlockDevice, MonotonicClock, SplitDevice, Timestamp};
use dma::Region;
use nvme_spec::Nsid;
use nvmf::controller::{NamespaceError, NamespaceInfo};
use nvmf::wire::Nqn;

use super::error::ExportError;
use crate::hub::{ExportSlot, Hub, Message};
use crate::reactor::Cells;

/// How long a reactor may take to open a queue.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);

/// How long what is being carried out on a device may take when its namespace is removed; then it is abandoned.
const REMOVE_PATIENCE: Duration = Duration::from_secs(10);

/// How long a reactor may take to close a queue beyond that.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// See the module's words.
#[derive(Debug)]
pub(super) struct Changes {
    hub: Arc<Hub>,
    /// The reactors' memory.
    regions: Vec<Region>,
    turn: Mutex<()>,
}

impl Changes {
    pub(super) const fn new(hub: Arc<Hub>, regions: Vec<Region>) -> Self {
        Self { hub, regions, turn: Mutex::new(()) }
    }

    /// Nothing is guarded but the turn itself.
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(
        &self,
        nqn: &Nqn,
        info: NamespaceInfo,
        device: Arc<dyn BlockDevice>,
    ) -> Result<(), ExportError> {
        let _turn = self.turn();
        let nsid = info.nsid;
        self.hub.check_namespace(nqn, &info)?;
        for region in &self.regions {
            device.attach_memory(region).map_err(|source| ExportError::Attach { nsid, source })?;
        }
        let device: Arc<dyn BlockDevice> = Arc::new(SplitDevice::new(device));
        let slot = self.hub.reserve_export(nqn, nsid, Arc::clone(&device)).ok_or(ExportError::TooMany)?;
        let opened = self.open(slot, nsid, &device);
        let shown = opened.and_then(|cells| Ok(self.hub.show_namespace(nqn, info, slot, cells)?));
        if shown.is_err() {
            self.close(slot, nsid)?;
        }
        shown
    }

    /// A queue of each reactor: what each counts in.
    fn open(
        &self,
        slot: ExportSlot,
        nsid: Nsid,
        device: &Arc<dyn BlockDevice>,
    ) -> Result<Vec<Arc<Cells>>, ExportError> {
        let answers = self.ask(|answer| Message::OpenExport { slot, device: Arc::clone(device), answer });
        let answers = wait(&answers, nsid, OPEN_PATIENCE)?;
        answers
            .into_iter()
            .map(|opened| opened.map_err(|source| ExportError::Queue { nsid, source }))
            .collect()
    }

    pub(super) fn remove(&self, nqn: &Nqn, nsid: Nsid) -> Result<(), ExportError> {
        let _turn = self.turn();
        let slot = self.hub.hide_namespace(nqn, nsid)?;
        slot.map_or(Ok(()), |slot| self.close(slot, nsid))
    }

    pub(super) fn remove_subsystem(&self, nqn: &Nqn) -> Result<(), ExportError> {
        let _turn = self.turn();
        let slots = self.hub.remove_subsystem(nqn)?;
        slots.into_iter().try_for_each(|(slot, nsid)| self.close(slot, nsid))
    }

    /// Closes the queues of all reactors and lets the device go. If a reactor does not answer, the number stays taken.
    fn close(&self, slot: ExportSlot, nsid: Nsid) -> Result<(), ExportError> {
        let patience = REMOVE_PATIENCE;
        let answers = self.ask(|answer| Message::CloseExport { slot, patience, answer });
        wait(&answers, nsid, REMOVE_PATIENCE + CLOSE_PATIENCE)?;
        self.hub.release_export(slot);
        Ok(())
    }

    /// Sends a message to all reactors, with a way to answer.
    fn ask<T>(&self, message: impl Fn(SyncSender<T>) -> Message) -> Vec<Receiver<T>> {
        let ask = |mailbox: &crate::hub::Mailbox| {
            let (answer, answers) = sync_channel(1);
            mailbox.send(message(answer));
            answers
        };
        self.hub.mailboxes().iter().map(ask).collect()
    }

    /// Lets what is being carried out end: whether it has, before the deadline.
    pub(super) fn drain(&self, patience: Duration) -> bool {
        let _turn = self.turn();
        let clock = MonotonicClock::start();
        let until = clock.now().after(patience);
        let answers = self.ask(|answer| Message::Drain { answer });
        answers.iter().all(|answer| answer.recv_timeout(until.since(clock.now())).is_ok())
    }
}

/// Waits until all have answered.
fn wait<T>(answers: &[Receiver<T>], nsid: Nsid, patience: Duration) -> Result<Vec<T>, ExportError> {
    let clock = MonotonicClock::start();
    let until: Timestamp = clock.now().after(patience);
    let answer = |receiver: &Receiver<T>| {
        receiver.recv_timeout(until.since(clock.now())).map_err(|error| match error {
            RecvTimeoutError::Timeout => ExportError::Silent { nsid, patience },
            RecvTimeoutError::Disconnected => ExportError::Namespace(NamespaceError::NoSubsystem),
        })
    };
    answers.iter().map(answer).collect()
}
