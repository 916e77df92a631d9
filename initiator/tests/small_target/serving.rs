//! The small target's thread.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use block::{
    BlockDevice, BlockQueue, BlockRange, IoError, Lba, MonotonicClock, Op, QueueOptions, Request, Sleeper,
    Wait, WakeMode,
};
use dma::{DmaBuf, MemoryOptions, Pool, PoolOptions, ScatterList, Segment};
use nvme_spec::Sqe;
use nvmf::controller::{
    AdminAction, Arrival, Connected, ControllerKey, Event, IoAction, IoCommand, KeyedMemory, PendingAction,
    PendingQueue, Target, Transfer, check_request,
};
use nvmf::wire::rdma::RequestData;
use nvmf::wire::{CommandCapsule, ResponseCapsule};
use rdma::{
    Completion, ConnectionEvent, ConnectionParameters, Data, Device, Endpoint, EndpointOptions, InlineData,
    Message, Outcome, PrivateData, QueuePairId, QueuePairOptions, Receive, ReceiveSource, RemoteKey,
    RemoteMemory, Request as _, SendOp, SendWork,
};

use super::session::Session;
use super::{Change, Faults, Seen};

const CAPSULE_BYTES: u32 = 64 + 8192;
const RECEIVES: u32 = 2048;
const QUEUE_DEPTH: u32 = 128;
const DATA_BYTES: u32 = 1 << 20;
const DATA_CHUNKS: u32 = 8;
/// The name of an RDMA READ.
const FETCH: u64 = 1;
/// A change or a stop waits no longer.
const SLEEP_MAX: Duration = Duration::from_millis(10);

struct Connection {
    session: Session,
    request: RequestData,
    arrival: Arrival,
}

pub struct Serving<D: Device> {
    rdma: D,
    endpoint: D::Endpoint,
    target: Target,
    queue: Box<dyn BlockQueue>,
    clock: MonotonicClock,
    sleeper: Sleeper,
    connections: HashMap<QueuePairId, Connection>,
    capsules: Pool,
    data: Pool,
    /// Messages that came while something else was waited for.
    messages: VecDeque<(QueuePairId, Message, DmaBuf)>,
    completions: Vec<Completion>,
    held: Vec<(QueuePairId, Sqe, Vec<u8>)>,
    faults: Arc<Faults>,
    seen: Arc<Seen>,
}

fn pool<D: Device>(rdma: &D, chunk_bytes: u32, chunks: u32) -> Pool {
    let memory = MemoryOptions { ordinary_pages: true, ..MemoryOptions::default() };
    let pool = Pool::new(PoolOptions { chunk_bytes, chunks, memory }).unwrap();
    rdma.attach_memory(pool.region()).unwrap();
    pool
}

impl<D: Device> Serving<D> {
    pub fn new(
        rdma: D,
        target: Target,
        device: Arc<dyn BlockDevice>,
        faults: Arc<Faults>,
        seen: Arc<Seen>,
    ) -> Self {
        let capsules = pool(&rdma, CAPSULE_BYTES, RECEIVES);
        let data = pool(&rdma, DATA_BYTES, DATA_CHUNKS);
        device.attach_memory(data.region()).unwrap();
        let mut endpoint = rdma.endpoint(&EndpointOptions::default()).unwrap();
        endpoint.listen(4420, 64).unwrap();
        let queue = device.open_queue(QueueOptions { depth: 1, wake: WakeMode::Polled }).unwrap();
        let mut sleeper = Sleeper::new().unwrap();
        let mut descriptors = Vec::new();
        endpoint.wake_descriptors(&mut descriptors);
        descriptors.into_iter().for_each(|descriptor| sleeper.add(descriptor).unwrap());
        Self {
            rdma,
            endpoint,
            target,
            queue,
            clock: MonotonicClock::start(),
            sleeper,
            connections: HashMap::new(),
            capsules,
            data,
            messages: VecDeque::new(),
            completions: Vec::new(),
            held: Vec::new(),
            faults,
            seen,
        }
    }

    pub fn run(mut self, stop: &AtomicBool, changes: &Receiver<Change>) {
        while !stop.load(Ordering::Acquire) {
            while let Ok(change) = changes.try_recv() {
                change(&mut self.target);
            }
            let busy = self.poll();
            while let Some((queue_pair, message, buffer)) = self.messages.pop_front() {
                self.message(queue_pair, message, buffer);
            }
            self.connection_events();
            if self.faults.drop_io.swap(false, Ordering::AcqRel) {
                let is_io = |connection: &Connection| matches!(connection.session, Session::Io(_));
                let io = self.connections.iter().filter(|(_, one)| is_io(one)).map(|(id, _)| *id);
                io.collect::<Vec<_>>().into_iter().for_each(|id| self.close(id));
            }
            let now = self.clock.now();
            if self.target.next_timeout() <= now {
                self.target.handle_timeout(now);
            }
            self.target_events();
            if !busy {
                self.sleep();
            }
        }
        self.part();
    }

    fn sleep(&mut self) {
        let now = self.clock.now();
        match self.endpoint.prepare_wait(now) {
            Wait::Poll => std::thread::yield_now(),
            Wait::Until(at) => {
                let until = at.min(self.target.next_timeout()).min(now.after(SLEEP_MAX));
                self.sleeper.sleep_until(now, until).unwrap();
            }
        }
    }

    /// Says good-bye, as a process does that ends in order.
    fn part(&mut self) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        ids.into_iter().for_each(|id| self.endpoint.disconnect(id, self.clock.now()));
        let end = self.clock.now().after(Duration::from_millis(50));
        while self.clock.now() < end {
            self.endpoint.poll(&mut Vec::new(), 64, self.clock.now());
        }
        debug_assert!(self.rdma.address().is_loopback());
    }

    fn poll(&mut self) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        let busy = self.endpoint.poll(&mut completions, 64, self.clock.now());
        for completion in completions.drain(..) {
            if let Outcome::Received { result: Ok(message), buffer } = completion.outcome {
                self.messages.push_back((completion.queue_pair, message, buffer));
            }
        }
        self.completions = completions;
        busy
    }

    fn connection_events(&mut self) {
        while let Some(event) = self.endpoint.poll_connection() {
            match event {
                ConnectionEvent::Requested(request) => self.requested(request),
                ConnectionEvent::Closed { queue_pair, .. } => self.close(queue_pair),
                ConnectionEvent::Established { .. } => {}
            }
        }
    }

    fn requested(&mut self, request: <D::Endpoint as Endpoint>::Request) {
        let now = self.clock.now();
        let offer = *request.offer();
        let asked = RequestData::read(offer.private_data.bytes());
        let granted = asked.and_then(|asked| Ok((asked, check_request(&asked, self.target.limits())?)));
        let (asked, granted) = match granted {
            Ok(granted) => granted,
            Err(status) => {
                let words = PrivateData::new(&status.to_bytes()).unwrap();
                return self.endpoint.reject(request, &words, now).unwrap();
            }
        };
        let receives = u32::from(granted.controller_receives);
        let options =
            QueuePairOptions { send_depth: 2 * QUEUE_DEPTH, receives: ReceiveSource::Own(receives) };
        let parameters = ConnectionParameters {
            responder_resources: 0,
            initiator_depth: offer.initiator_depth,
            private_data: PrivateData::new(&granted.to_bytes()).unwrap(),
            ..ConnectionParameters::default()
        };
        let Ok(id) = self.endpoint.accept(request, &options, &parameters, now) else { panic!("accept") };
        for _ in 0..receives {
            let buffer = self.capsules.take().unwrap();
            self.endpoint.post_receive(id, &mut VecDeque::from([Receive { id: 0, buffer }])).unwrap();
        }
        let arrival = Arrival { local: offer.local, peer: offer.peer, request: asked };
        let session = Session::Pending(PendingQueue::new(asked, now));
        self.connections.insert(id, Connection { session, request: asked, arrival });
    }

    fn close(&mut self, id: QueuePairId) {
        self.endpoint.destroy(id, self.clock.now());
        self.held.retain(|(held, ..)| *held != id);
        let Some(connection) = self.connections.remove(&id) else { return };
        if let Some((key, queue)) = connection.session.of() {
            self.target.queue_gone(key, queue);
        }
    }

    fn message(&mut self, id: QueuePairId, message: Message, buffer: DmaBuf) {
        let mut bytes = vec![0; message.bytes as usize];
        buffer.read(0, &mut bytes).unwrap();
        // A connection that has ended takes none.
        let _ = self.endpoint.post_receive(id, &mut VecDeque::from([Receive { id: 0, buffer }]));
        if self.faults.silent.load(Ordering::Acquire) {
            return;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let capsule = CommandCapsule::read(&bytes).unwrap();
        match &mut connection.session {
            Session::Pending(pending) => match pending.handle_capsule(&capsule) {
                PendingAction::Connect { sqe, offset } => {
                    self.connect(id, sqe, capsule.data[offset..offset + 1024].to_vec());
                }
                PendingAction::Fetch { sqe, memory } => {
                    if let Some(data) = self.fetch(id, memory) {
                        let mut bytes = vec![0; memory.bytes as usize];
                        data.read(0, &mut bytes).unwrap();
                        self.connect(id, sqe, bytes);
                    }
                }
                PendingAction::Respond(response) => self.respond(id, response),
                PendingAction::Fatal => self.close(id),
            },
            Session::Admin(key) => {
                let key = *key;
                let action = self.target.handle_admin(self.clock.now(), key, &capsule);
                self.admin(id, key, &capsule, action);
            }
            Session::Io(queue) => {
                self.seen.commands.fetch_add(1, Ordering::Relaxed);
                queue.set_namespaces(self.target.namespaces(queue.controller()));
                match queue.handle_command(&capsule) {
                    IoAction::Respond(response) => self.respond(id, response),
                    IoAction::RespondAndClose(response) => {
                        self.respond(id, response);
                        self.close(id);
                    }
                    IoAction::Fatal(violation) => panic!("the host broke the protocol: {violation:?}"),
                    IoAction::Execute(command) => self.execute(id, capsule.data, command),
                }
            }
        }
    }

    fn connect(&mut self, id: QueuePairId, sqe: Sqe, data: Vec<u8>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        assert_eq!(connection.request, connection.arrival.request);
        let response = match self.target.connect(self.clock.now(), &sqe, &data, &connection.arrival) {
            Connected::Admin { controller, response } => {
                self.seen.associations.fetch_add(1, Ordering::Relaxed);
                connection.session = Session::Admin(controller);
                response
            }
            Connected::Io { queue, response } => {
                connection.session = Session::Io(queue);
                response
            }
            Connected::Refused(response) => {
                if let Session::Pending(pending) = &mut connection.session {
                    pending.refused();
                }
                response
            }
            Connected::Busy => return self.held.push((id, sqe, data)),
        };
        self.respond(id, response);
    }

    fn admin(
        &mut self,
        id: QueuePairId,
        key: ControllerKey,
        capsule: &CommandCapsule<'_>,
        action: AdminAction,
    ) {
        match action {
            AdminAction::Respond(reply) => {
                if let Some((memory, bytes)) = reply.data {
                    let mut buffer = self.take_data();
                    buffer.write(0, &bytes).unwrap();
                    buffer.truncate(u32::try_from(bytes.len()).unwrap());
                    self.store(id, memory, buffer.into_segment());
                }
                self.respond(id, reply.response);
            }
            AdminAction::Fetch(memory) => {
                let Some(data) = self.fetch(id, memory) else { return };
                let mut bytes = vec![0; memory.bytes as usize];
                data.read(0, &mut bytes).unwrap();
                let action = self.target.resume_admin(self.clock.now(), key, &capsule.sqe, &bytes);
                self.admin(id, key, capsule, action);
            }
            AdminAction::Hold => {}
            AdminAction::Fatal(violation) => panic!("the host broke the protocol: {violation:?}"),
        }
    }

    fn execute(&mut self, id: QueuePairId, in_capsule: &[u8], command: IoCommand) {
        if self.faults.silent_io.load(Ordering::Acquire) {
            return;
        }
        let data = match command.transfer {
            Transfer::None => None,
            Transfer::InCapsule { offset, bytes } => {
                self.seen.in_capsule.fetch_add(1, Ordering::Relaxed);
                let mut buffer = self.take_data();
                buffer.write(0, &in_capsule[offset..offset + bytes]).unwrap();
                buffer.truncate(u32::try_from(bytes).unwrap());
                Some(buffer.into_segment())
            }
            Transfer::FromHost(memory) => match self.fetch(id, memory) {
                Some(data) => Some(data),
                None => return,
            },
            Transfer::ToHost(memory) => {
                let mut buffer = self.take_data();
                buffer.truncate(memory.bytes);
                Some(buffer.into_segment())
            }
        };
        let result = if command.op == Op::Discard {
            self.discard(data.as_ref().unwrap())
        } else {
            let list = data.clone().map_or_else(ScatterList::default, ScatterList::from);
            self.carry_out(command.op, command.range, list)
        };
        if let (Transfer::ToHost(memory), Ok(()), Some(data)) = (command.transfer, result, data) {
            self.store(id, memory, data);
        }
        let Some(Connection { session: Session::Io(queue), .. }) = self.connections.get_mut(&id) else {
            return;
        };
        let response = queue.complete(command.slot, result);
        self.respond(id, response);
        if self.faults.repeat_response.swap(false, Ordering::AcqRel) {
            self.respond(id, ResponseCapsule { invalidate: None, ..response });
        }
    }

    /// The host's discards have one range each.
    fn discard(&mut self, data: &Segment) -> Result<(), IoError> {
        let mut bytes = [0; 16];
        data.read(0, &mut bytes).unwrap();
        let blocks = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
        let start = u64::from_le_bytes(bytes[8..].try_into().unwrap());
        self.carry_out(Op::Discard, BlockRange::new(Lba(start), blocks.into()), ScatterList::default())
    }

    fn carry_out(&mut self, op: Op, range: BlockRange, data: ScatterList) -> Result<(), IoError> {
        let now = self.clock.now();
        let mut done = Vec::new();
        self.queue.submit(&mut VecDeque::from([Request::new(op, range, data)]), now);
        while done.is_empty() {
            self.queue.poll(&mut done, now);
        }
        done.remove(0).result
    }

    /// A buffer. Those that are on their way to the host come back as it acknowledges.
    fn take_data(&mut self) -> DmaBuf {
        let end = self.clock.now().after(Duration::from_secs(5));
        while self.clock.now() < end {
            if let Some(buffer) = self.data.take() {
                return buffer;
            }
            self.poll();
        }
        panic!("the host does not acknowledge");
    }

    /// Reads the host's memory; nothing if the connection ends before.
    fn fetch(&mut self, id: QueuePairId, memory: KeyedMemory) -> Option<Segment> {
        let mut buffer = self.take_data();
        buffer.truncate(memory.bytes);
        let segment = buffer.into_segment();
        let remote = RemoteMemory { address: memory.address, key: RemoteKey(memory.key) };
        let data = Data::Memory(segment.clone().into());
        let work = SendWork { id: FETCH, op: SendOp::Read(remote), data, signaled: true, fenced: false };
        self.endpoint.post_send(id, &mut VecDeque::from([work])).ok()?;
        let end = self.clock.now().after(Duration::from_secs(20));
        while self.clock.now() < end {
            let mut completions = Vec::new();
            self.endpoint.poll(&mut completions, 64, self.clock.now());
            let mut is_done = None;
            for completion in completions {
                match completion.outcome {
                    Outcome::Received { result: Ok(message), buffer } => {
                        self.messages.push_back((completion.queue_pair, message, buffer));
                    }
                    Outcome::Sent { result, .. } if completion.id == FETCH => is_done = Some(result),
                    _ => {}
                }
            }
            if let Some(result) = is_done {
                return result.ok().map(|()| segment);
            }
        }
        panic!("the host's memory cannot be read");
    }

    fn store(&mut self, id: QueuePairId, memory: KeyedMemory, segment: Segment) {
        let remote = RemoteMemory { address: memory.address, key: RemoteKey(memory.key) };
        let data = Data::Memory(segment.into());
        let work = SendWork { id: 0, op: SendOp::Write(remote), data, signaled: true, fenced: false };
        // A connection that has ended takes none.
        let _ = self.endpoint.post_send(id, &mut VecDeque::from([work]));
    }

    fn respond(&mut self, id: QueuePairId, response: ResponseCapsule) {
        let keeps = self.faults.no_invalidation.load(Ordering::Acquire);
        let op = match response.invalidate.filter(|_| !keeps) {
            Some(key) => SendOp::SendInvalidate(RemoteKey(key)),
            None => SendOp::Send,
        };
        let data = Data::Inline(InlineData::new(&response.to_bytes()).unwrap());
        let work = SendWork { id: 0, op, data, signaled: true, fenced: false };
        let mut batch = VecDeque::from([work]);
        let end = self.clock.now().after(Duration::from_secs(5));
        // A full send queue empties itself as the host acknowledges.
        while self.endpoint.post_send(id, &mut batch).is_ok() && !batch.is_empty() && self.clock.now() < end {
            self.poll();
        }
    }

    fn target_events(&mut self) {
        while let Some(event) = self.target.poll_event() {
            match event {
                Event::Response { controller, response } => {
                    let is_its =
                        |one: &Connection| matches!(one.session, Session::Admin(key) if key == controller);
                    let id = self.connections.iter().find(|(_, one)| is_its(one)).map(|(id, _)| *id);
                    if let Some(id) = id {
                        self.respond(id, response);
                    }
                }
                Event::CloseIoQueues { controller } => self.close_all(controller, false),
                Event::DropController { controller, .. } => self.close_all(controller, true),
                Event::Gone { .. } => {
                    for (id, sqe, data) in std::mem::take(&mut self.held) {
                        self.connect(id, sqe, data);
                    }
                }
            }
        }
    }

    fn close_all(&mut self, key: ControllerKey, with_admin: bool) {
        let its = self.connections.iter().filter(|(_, one)| one.session.belongs_to(key, with_admin));
        its.map(|(id, _)| *id).collect::<Vec<_>>().into_iter().for_each(|id| self.close(id));
    }
}
