//! Endpoints in threads of their own, asleep for most of the time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use block::{Sleeper, Timestamp, Wait};

use super::rig::{CLIENT, OPTIONS, PATIENCE, Rig, next_port};
use super::side::Side;
use super::{Subject, pattern};
use crate::handle::QueuePairId;
use crate::provider::{Device, Endpoint};
use crate::work::{Completion, Data, InlineData, Outcome, Receive, SendOp, SendWork};

/// A sleep as long as this that nothing ended has lost a wake-up; shorter ones are the endpoint's own pauses.
const LONG_SLEEP: Duration = Duration::from_millis(500);

/// How long an idle endpoint is watched.
const IDLE: Duration = Duration::from_secs(2);

/// Times that an idle endpoint may wake in that time.
const IDLE_WAKES_MAX: u32 = 100;

/// Messages there and back.
const ROUNDS: u64 = 200;

/// One thread: an endpoint, and the sleep that it asks for.
struct Player<D: Device> {
    side: Side<D>,
    sleeper: Sleeper,
    time: super::RealTime,
}

impl<D: Device> Player<D> {
    fn new(device: &D) -> Self {
        let side = Side::new(device);
        let mut sleeper = Sleeper::new().unwrap();
        let mut descriptors = Vec::new();
        side.endpoint.wake_descriptors(&mut descriptors);
        assert!(!descriptors.is_empty(), "an endpoint to sleep on");
        descriptors.into_iter().for_each(|descriptor| sleeper.add(descriptor).unwrap());
        Self { side, sleeper, time: super::RealTime::start() }
    }

    fn now(&self) -> Timestamp {
        super::Time::now(&self.time)
    }

    /// Sleeps as the endpoint says until `look` finds something.
    fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&mut Side<D>) -> Option<T>) -> T {
        // It may have come together with what was waited for before: then nothing will wake.
        if let Some(found) = look(&mut self.side) {
            return found;
        }
        let end = self.now().after(PATIENCE);
        loop {
            let now = self.now();
            assert!(now < end, "waited {PATIENCE:?} for {what}");
            let until = match self.side.endpoint.prepare_wait(now) {
                Wait::Poll => now,
                Wait::Until(until) => until.min(end),
            };
            self.sleeper.sleep_until(now, until).unwrap();
            self.side.turn(self.now());
            // Only what is told at the end of a long sleep that nothing else ended was lost.
            let overslept = until.since(now) >= LONG_SLEEP && self.now() >= until;
            if let Some(found) = look(&mut self.side) {
                assert!(!overslept, "a wake-up was lost: {what}");
                return found;
            }
        }
    }

    fn established(&mut self) -> QueuePairId {
        self.wait("a connection", |side| side.established.pop()).0
    }

    fn connect(&mut self, to: SocketAddr) -> QueuePairId {
        let now = self.now();
        let queue_pair = self.side.endpoint.connect(to, &OPTIONS, &Default::default(), now).unwrap();
        self.side.ledger.open(queue_pair, None);
        self.established()
    }

    fn accept(&mut self) -> QueuePairId {
        let request = self.wait("a request", |side| side.requests.pop_front());
        let now = self.now();
        let accepted = self.side.endpoint.accept(request, &OPTIONS, &Default::default(), now);
        let queue_pair = accepted.map_err(|(error, _)| error).unwrap();
        self.side.ledger.open(queue_pair, None);
        self.established()
    }

    fn receive(&mut self, queue_pair: QueuePairId, id: u64) {
        let mut receives = VecDeque::from([Receive { id, buffer: self.side.buffer(4096) }]);
        self.side.endpoint.post_receive(queue_pair, &mut receives).unwrap();
        self.side.ledger.receives_posted(queue_pair, &[id]);
    }

    fn send(&mut self, queue_pair: QueuePairId, id: u64, data: Data) {
        let work = SendWork { id, op: SendOp::Send, data, signaled: true, fenced: false };
        self.side.endpoint.post_send(queue_pair, &mut VecDeque::from([work])).unwrap();
        self.side.ledger.sends_posted(queue_pair, &[(id, true)]);
    }

    fn message(&mut self, queue_pair: QueuePairId) -> Vec<u8> {
        let is_message = |done: &Completion| matches!(done.outcome, Outcome::Received { .. });
        let done = self.wait("a message", |side| side.take_completion(queue_pair, is_message));
        let Outcome::Received { result, buffer } = done.outcome else { unreachable!("what was looked for") };
        let mut bytes = vec![0; result.unwrap().bytes as usize];
        buffer.read(0, &mut bytes).unwrap();
        bytes
    }

    fn sent(&mut self, queue_pair: QueuePairId) {
        let is_send = |done: &Completion| matches!(done.outcome, Outcome::Sent { .. });
        let done = self.wait("send work", |side| side.take_completion(queue_pair, is_send));
        assert!(matches!(done.outcome, Outcome::Sent { result: Ok(()), .. }), "{done:?}");
    }

    /// Asks, and checks the answer, `rounds` times.
    fn ask(&mut self, to: SocketAddr, number: u64) {
        let queue_pair = self.connect(to);
        for round in 0..ROUNDS {
            self.receive(queue_pair, round);
            let length = 1 + (round as usize * 37) % 3000;
            let data = self.side.numbered(number + round, length);
            self.send(queue_pair, round, data);
            assert_eq!(self.message(queue_pair), pattern::bytes(number + round, length), "the echo");
            self.sent(queue_pair);
        }
        let now = self.now();
        self.side.endpoint.disconnect(queue_pair, now);
        self.wait("the end", |side| side.closed.pop());
    }

    /// Sends back what comes, until the peer leaves.
    fn echo(&mut self) {
        let queue_pair = self.accept();
        self.receive(queue_pair, 0);
        for round in 0..ROUNDS {
            let bytes = self.message(queue_pair);
            self.receive(queue_pair, round + 1);
            let data = self.side.data(&bytes);
            self.send(queue_pair, round, data);
            // The last answer ends the connection, which may be sooner known than its acknowledgement.
            if round + 1 < ROUNDS {
                self.sent(queue_pair);
            }
        }
        self.wait("the end", |side| side.closed.pop());
    }
}

/// Listens on a free port.
fn listen<E: Endpoint>(endpoint: &mut E) -> u16 {
    (0..1000).map(|_| next_port()).find(|port| endpoint.listen(*port, 4).is_ok()).expect("a free port")
}

fn is_virtual<S: Subject>(subject: &S) -> bool {
    let is_virtual = !subject.setting().time.is_real();
    if is_virtual {
        println!("NOT TESTED: threads and sleep, in virtual time");
    }
    is_virtual
}

/// Whoever sleeps as an endpoint says is woken by what happens to it.
pub fn sleeping_loses_no_wake_up<S: Subject>(subject: &S) {
    if !is_virtual(subject) {
        ping_pong(subject, 1);
    }
}

/// Several threads, each with an endpoint of its own, of the same two devices.
pub fn endpoints_of_several_threads<S: Subject>(subject: &S) {
    if !is_virtual(subject) {
        ping_pong(subject, 3);
    }
}

fn ping_pong<S: Subject>(subject: &S, pairs: u64) {
    let setting = subject.setting();
    std::thread::scope(|scope| {
        for pair in 0..pairs {
            let mut server = Player::new(&setting.server);
            let port = listen(&mut server.side.endpoint);
            let to = SocketAddr::new(setting.server.address(), port);
            scope.spawn(move || server.echo());
            let device = setting.client.clone();
            scope.spawn(move || Player::new(&device).ask(to, pair * 1_000_000));
        }
    });
}

/// An endpoint to which nothing happens lets its thread sleep, also with a connection open.
pub fn idle_endpoints_let_sleep<S: Subject>(subject: &S) {
    if is_virtual(subject) {
        return;
    }
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Default::default());
    rig.receive(link.server, 1, 64);
    rig.post(link.client, [super::traffic::send(1, Data::Inline(InlineData::new(b"once").unwrap()))]);
    rig.message(link.server);
    rig.sent_well(link.client, 1);
    rig.run_for(LONG_SLEEP);
    let (end, mut wakes) = (rig.now().after(IDLE), 0);
    while rig.now() < end {
        rig.turn(end);
        wakes += 1;
    }
    assert!(wakes < IDLE_WAKES_MAX, "woke {wakes} times in {IDLE:?} with nothing to do");
    let now = rig.now();
    assert!(matches!(rig.sides[CLIENT].endpoint.prepare_wait(now), Wait::Until(_)));
    rig.finish();
}
