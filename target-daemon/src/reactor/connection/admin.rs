//! An admin queue's connection: every command goes to the target, which is behind a lock.

use std::collections::VecDeque;

use dma::ScatterList;
use nvme_spec::Sqe;
use nvmf::controller::{AdminAction, ControllerKey, KeyedMemory, Reply, Violation};
use nvmf::wire::{CommandCapsule, ResponseCapsule};

use super::{End, Outgoing};
use crate::reactor::buffers::ADMIN_CHUNK_BYTES;
use crate::reactor::core::Core;

/// Commands of one admin queue whose data waits for chunks or for its turn. Each may have an answer of the largest transfer in
/// memory, so further ones wait as they came.
const JOBS_MAX: usize = 4;

/// An admin queue. Its commands share a pool of chunks with other admin queues; when that is empty they wait in order.
#[derive(Debug)]
pub(super) struct AdminLane {
    key: ControllerKey,
    /// Messages that are not looked at yet, and how many there can be.
    backlog: VecDeque<Box<[u8]>>,
    backlog_max: usize,
    /// Commands whose data is being read from the host's memory, by the name of the READ.
    fetching: Vec<Option<Sqe>>,
    /// What waits for a chunk.
    jobs: VecDeque<Job>,
}

#[derive(Debug)]
enum Job {
    /// Data to be read from the host's memory for a command.
    Fetch(Sqe, KeyedMemory),
    /// Data to be written to the host's memory, from `sent` on, and the response behind it.
    Reply { memory: KeyedMemory, data: Vec<u8>, sent: usize, response: ResponseCapsule },
}

impl AdminLane {
    /// For a host that has so many commands in flight, less one.
    pub(super) fn new(key: ControllerKey, host_sends: u16) -> Self {
        let backlog_max = usize::from(host_sends) + 1;
        Self { key, backlog: VecDeque::new(), backlog_max, fetching: Vec::new(), jobs: VecDeque::new() }
    }

    pub(super) const fn key(&self) -> ControllerKey {
        self.key
    }

    pub(super) fn handle_message(
        &mut self,
        core: &mut Core,
        message: &[u8],
        out: &mut Outgoing,
    ) -> Result<(), End> {
        if self.jobs.len() < JOBS_MAX && self.backlog.is_empty() {
            self.handle_now(core, message, out)?;
        } else if self.backlog.len() < self.backlog_max {
            self.backlog.push_back(message.into());
        } else {
            return Err(Violation::QueueOverrun.into());
        }
        self.pump(core, out)
    }

    fn handle_now(&mut self, core: &Core, message: &[u8], out: &mut Outgoing) -> Result<(), End> {
        let capsule = CommandCapsule::read(message).map_err(|_| Violation::CapsuleTooShort)?;
        let action = core.hub.handle_admin(core.now, self.key, &capsule);
        self.act(&capsule.sqe, action, out)
    }

    /// A command's data has come.
    pub(super) fn handle_read(
        &mut self,
        core: &mut Core,
        slot: u16,
        data: &ScatterList,
        out: &mut Outgoing,
    ) -> Result<(), End> {
        let Some(sqe) = self.fetching.get_mut(usize::from(slot)).and_then(Option::take) else {
            return Ok(());
        };
        let mut bytes = [0; ADMIN_CHUNK_BYTES as usize];
        let length = usize::try_from(data.bytes()).map_or(bytes.len(), |length| length.min(bytes.len()));
        data.read(0, &mut bytes[..length]).map_err(|_| End::AdminData)?;
        let action = core.hub.resume_admin(core.now, self.key, &sqe, &bytes[..length]);
        self.act(&sqe, action, out)?;
        self.pump(core, out)
    }

    fn act(&mut self, sqe: &Sqe, action: AdminAction, out: &mut Outgoing) -> Result<(), End> {
        match action {
            AdminAction::Respond(Reply { data: None, response }) => out.respond(&response),
            AdminAction::Respond(Reply { data: Some((memory, data)), response }) => {
                self.jobs.push_back(Job::Reply { memory, data, sent: 0, response });
            }
            AdminAction::Fetch(memory) if memory.bytes <= ADMIN_CHUNK_BYTES => {
                self.jobs.push_back(Job::Fetch(*sqe, memory));
            }
            // No admin command has more.
            AdminAction::Fetch(_) => return Err(End::AdminData),
            AdminAction::Hold => {}
            AdminAction::Fatal(violation) => return Err(violation.into()),
        }
        Ok(())
    }

    /// Does what waits for chunks, as far as there are some, and looks at further messages.
    pub(super) fn pump(&mut self, core: &Core, out: &mut Outgoing) -> Result<(), End> {
        self.run_jobs(core, out)?;
        while self.jobs.len() < JOBS_MAX
            && let Some(message) = self.backlog.pop_front()
        {
            self.handle_now(core, &message, out)?;
            self.run_jobs(core, out)?;
        }
        Ok(())
    }

    fn run_jobs(&mut self, core: &Core, out: &mut Outgoing) -> Result<(), End> {
        while let Some(job) = self.jobs.front_mut() {
            let Some(mut chunk) = core.buffers.take_admin() else { return Ok(()) };
            match job {
                Job::Fetch(sqe, memory) => {
                    chunk.truncate(memory.bytes);
                    let (sqe, memory) = (*sqe, *memory);
                    self.jobs.pop_front();
                    let slot = self.note_fetch(sqe);
                    out.read(memory, chunk.into_segment().into(), slot);
                }
                Job::Reply { memory, data, sent, response } => {
                    let rest = &data[*sent..];
                    let part = &rest[..rest.len().min(ADMIN_CHUNK_BYTES as usize)];
                    chunk.write(0, part).map_err(|_| End::AdminData)?;
                    chunk.truncate(u32::try_from(part.len()).map_err(|_| End::AdminData)?);
                    out.write_part(*memory, *sent as u64, chunk.into_segment().into());
                    *sent += part.len();
                    if *sent == data.len() {
                        out.respond(response);
                        self.jobs.pop_front();
                    }
                }
            }
        }
        Ok(())
    }

    /// A name for a READ. There are no more of them than the queue has entries.
    fn note_fetch(&mut self, sqe: Sqe) -> u16 {
        let index = self.fetching.iter().position(Option::is_none).unwrap_or_else(|| {
            self.fetching.push(None);
            self.fetching.len() - 1
        });
        self.fetching[index] = Some(sqe);
        u16::try_from(index).unwrap_or(u16::MAX)
    }
}
