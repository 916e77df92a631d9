//! A connection before it is a queue.

use block::Timestamp;
use dma::ScatterList;
use nvme_spec::Sqe;
use nvmf::controller::limits::CONNECT_HOLD_MAX;
use nvmf::controller::{PendingAction, PendingQueue, Target};
use nvmf::wire::rdma::RequestData;
use nvmf::wire::{CONNECT_DATA_BYTES, CommandCapsule, ConnectData};

use super::admin::AdminLane;
use super::io::IoLane;
use super::{Connection, End, Stage};
use crate::hub::Joined;
use crate::reactor::core::Core;

/// Where the data of a Connect is read to: there is one at a time.
const CONNECT_SLOT: u16 = 0;

/// Where a connection is before it is a queue.
///
/// ```text
///                  data in the capsule
///             +------------------------------+
///             |                              v            accepted
///  Awaiting --+--> Fetching ---------> (the target) ---------------> Admin or Io
///     ^              data came            |    ^
///     |                           refused |    |        former association gone
///     +-----------------------------------+    | busy <-----+
///     |                                        v            |
///     +------------------------------------- Held ----------+
///                  held for too long
/// ```
#[derive(Debug)]
pub(super) struct Joining {
    queue: PendingQueue,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// For a Connect.
    Awaiting,
    /// The Connect's data is on its way.
    Fetching(Sqe),
    /// A former association of the host is being drained.
    Held(Held),
}

#[derive(Debug)]
struct Held {
    sqe: Sqe,
    data: Box<[u8; CONNECT_DATA_BYTES]>,
    until: Timestamp,
}

impl Joining {
    pub(super) fn new(request: RequestData, now: Timestamp) -> Self {
        Self { queue: PendingQueue::new(request, now), step: Step::Awaiting }
    }
}

impl Connection {
    /// A capsule before there is a queue.
    pub(super) fn handle_early(&mut self, core: &mut Core, message: &[u8]) -> Result<(), End> {
        let Stage::Joining(joining) = &mut self.stage else { return Ok(()) };
        let Ok(capsule) = CommandCapsule::read(message) else { return Err(End::Impatience) };
        match joining.queue.handle_capsule(&capsule) {
            PendingAction::Connect { sqe, offset } => {
                let data = capsule.data.get(offset..).unwrap_or_default();
                let data = data.first_chunk().copied().unwrap_or([0; CONNECT_DATA_BYTES]);
                self.connect(core, &sqe, &data);
            }
            PendingAction::Fetch { sqe, memory } => match core.buffers.take_admin() {
                Some(mut chunk) => {
                    chunk.truncate(memory.bytes);
                    self.out.read(memory, chunk.into_segment().into(), CONNECT_SLOT);
                    joining.step = Step::Fetching(sqe);
                }
                None => {
                    joining.queue.refused();
                    self.out.respond(&Target::busy(&sqe));
                }
            },
            PendingAction::Respond(response) => self.out.respond(&response),
            PendingAction::Fatal => return Err(End::Impatience),
        }
        Ok(())
    }

    /// The data of a Connect has come.
    pub(super) fn handle_connect_data(&mut self, core: &mut Core, data: &ScatterList) -> Result<(), End> {
        let Stage::Joining(joining) = &mut self.stage else { return Ok(()) };
        let Step::Fetching(sqe) = std::mem::replace(&mut joining.step, Step::Awaiting) else { return Ok(()) };
        let mut bytes = [0; CONNECT_DATA_BYTES];
        if data.read(0, &mut bytes).is_ok() {
            self.connect(core, &sqe, &bytes);
        }
        Ok(())
    }

    fn connect(&mut self, core: &mut Core, sqe: &Sqe, data: &[u8; CONNECT_DATA_BYTES]) {
        let place = self.place(core);
        let joined = core.hub.connect(core.now, sqe, data, &self.arrival, place);
        let Stage::Joining(joining) = &mut self.stage else { return };
        match joined {
            Joined::Admin { key, response } => {
                self.stage = Stage::Admin(AdminLane::new(key, self.arrival.request.host_sends));
                self.joined(data);
                self.out.respond(&response);
            }
            Joined::Io { queue, response, host, view, cells } => {
                core.shares.joined(host);
                self.stage = Stage::Io(Box::new(IoLane::new(self.id, queue, host, view, cells)));
                self.joined(data);
                self.out.respond(&response);
            }
            Joined::Refused(response) => {
                tracing::info!(
                    peer = %self.arrival.peer, queue = %self.arrival.request.queue, status = %response.cqe.status(),
                    "Connect refused"
                );
                joining.queue.refused();
                self.out.respond(&response);
            }
            Joined::Busy => {
                let until = core.now.after(CONNECT_HOLD_MAX);
                joining.step = Step::Held(Held { sqe: *sqe, data: Box::new(*data), until });
            }
        }
    }

    fn joined(&mut self, data: &[u8]) {
        self.host = ConnectData::read(data).ok().map(|data| data.host);
        if let Some(host) = &self.host {
            tracing::info!(%host, queue = %self.queue(), peer = %self.arrival.peer, "connected");
        }
    }

    /// A former association has ended: a Connect that was held is tried again.
    pub(in crate::reactor) fn retry_held(&mut self, core: &mut Core) {
        let Stage::Joining(joining) = &mut self.stage else { return };
        let Step::Held(held) = &joining.step else { return };
        let (sqe, data, until) = (held.sqe, held.data.clone(), held.until);
        joining.step = Step::Awaiting;
        self.connect(core, &sqe, &data);
        // Held again, it is not held for longer.
        if let Stage::Joining(Joining { step: Step::Held(held), .. }) = &mut self.stage {
            held.until = until;
        }
    }

    /// Answers a Connect that was held for too long, and says whether the connection has been without a queue for too long.
    pub(in crate::reactor) fn expire(&mut self, now: Timestamp) -> bool {
        let Stage::Joining(joining) = &mut self.stage else { return false };
        if let Step::Held(held) = &joining.step
            && held.until <= now
        {
            self.out.respond(&Target::busy(&held.sqe));
            joining.queue.refused();
            joining.step = Step::Awaiting;
        }
        joining.queue.deadline() <= now
    }
}
