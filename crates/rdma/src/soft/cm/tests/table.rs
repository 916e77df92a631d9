//! Every state of a connection with every message, call and timeout.

use std::fmt::Write;

use super::*;
use crate::soft::wire::mad::{About, DisconnectRequest, Ids, Receipt, Reply, Timeout};

const STATES: usize = 7;
const HAPPENINGS: usize = 17;

/// The connection of our queue pair 7 with their queue pair 5, and what they said and could say.
struct Stage {
    ours: ConnectionManager,
    /// Their names: ours, theirs.
    ids: Ids,
    request: MadBytes,
    source: IpAddr,
}

const THEIR_ID: u32 = 0x0400_0001;

impl Stage {
    fn new(state: &str) -> Self {
        let passive = matches!(state, "ReplySent" | "Accepted");
        let mut stage = if passive { Self::passive() } else { Self::active() };
        match state {
            "RequestSent" | "ReplySent" => {}
            "Connected" => stage.happen("REP"),
            "Accepted" => stage.happen("RTU"),
            "DisconnectSent" => ["REP", "disconnect"].into_iter().for_each(|what| stage.happen(what)),
            "TimeWait" => ["REP", "DREQ"].into_iter().for_each(|what| stage.happen(what)),
            "GivenUp" => stage.happen("disconnect"),
            other => panic!("{other}"),
        }
        sent(&mut stage.ours);
        events(&mut stage.ours);
        stage
    }

    fn their_request(id: u32) -> MadBytes {
        let mut theirs = manager(options(THEIRS));
        theirs.connect(at_ms(0), SocketAddr::new(OURS, PORT), local(5), &parameters(b"")).unwrap();
        let Message::Request(mut request) = messages(&mut theirs)[0] else { panic!() };
        request.local_id = CommunicationId::new(id);
        Mad { transaction: TransactionId(1), message: Message::Request(request) }.write()
    }

    fn passive() -> Self {
        let mut ours = manager(options(OURS));
        ours.listen(PORT, 8).unwrap();
        let request = Self::their_request(THEIR_ID);
        ours.handle_mad(at_ms(0), THEIRS, &request);
        let Some(CmEvent::Requested(asked)) = ours.poll_event() else { panic!() };
        ours.accept(at_ms(0), asked, local(7), &parameters(b"")).unwrap();
        let local = ours.connections[&qpn(7)].local_id;
        Self {
            ours,
            ids: Ids { local: CommunicationId::new(THEIR_ID), remote: local },
            request,
            source: THEIRS,
        }
    }

    fn active() -> Self {
        let mut ours = manager(options(OURS));
        ours.listen(PORT, 8).unwrap();
        ours.connect(at_ms(0), SocketAddr::new(THEIRS, PORT), local(7), &parameters(b"")).unwrap();
        let local = ours.connections[&qpn(7)].local_id;
        let request = Self::their_request(THEIR_ID);
        Self {
            ours,
            ids: Ids { local: CommunicationId::new(THEIR_ID), remote: local },
            request,
            source: THEIRS,
        }
    }

    fn receive(&mut self, message: Message) {
        let bytes = Mad { transaction: TransactionId(2), message }.write();
        self.ours.handle_mad(at_ms(1), self.source, &bytes);
    }

    fn receipt(&self, about: About) -> Message {
        let (local_id, remote_id) = (self.ids.local, self.ids.remote);
        Message::Receipt(Receipt { local_id, remote_id, about, service_timeout: Timeout::of_exponent(22) })
    }

    fn rejection(&self, local_id: CommunicationId, remote_id: CommunicationId, code: u16) -> Message {
        Message::Rejection(Rejection {
            local_id,
            remote_id,
            about: About::Other,
            reason: RejectReason::from(code),
            additional: Additional::of_guid(options(THEIRS).guid),
            private_data: [0; 148],
        })
    }

    fn reply(&self, local_id: CommunicationId) -> Message {
        Message::Reply(Reply {
            local_id,
            remote_id: self.ids.remote,
            qpn: qpn(5),
            starting_psn: Psn::new(1),
            responder_resources: 16,
            initiator_depth: 16,
            ack_delay: Timeout::of_exponent(15),
            rnr_retries: 7,
            shared_receives: false,
            guid: options(THEIRS).guid,
            private_data: [0; 196],
        })
    }

    fn happen(&mut self, what: &str) {
        let Ids { local, remote } = self.ids;
        let stranger = CommunicationId::new(77);
        let unknown = CommunicationId::UNKNOWN;
        let dreq = |qpn| Message::DisconnectRequest(DisconnectRequest { ids: self.ids, remote_qpn: qpn });
        let message = match what {
            "REQ again" => return self.ours.handle_mad(at_ms(1), self.source, &self.request),
            "REQ new id" => {
                return self.ours.handle_mad(at_ms(1), self.source, &Self::their_request(THEIR_ID + 1));
            }
            "MRA of REQ" => self.receipt(About::Request),
            "MRA of REP" => self.receipt(About::Reply),
            "REJ" => self.rejection(local, remote, 28),
            "REJ stranger" => self.rejection(stranger, remote, 28),
            "REJ timeout" => self.rejection(local, unknown, 4),
            "REP" => self.reply(local),
            "REP other" => self.reply(stranger),
            "RTU" => Message::ReadyToUse(self.ids),
            "DREQ" => dreq(qpn(7)),
            "DREQ qpn" => dreq(qpn(8)),
            "DREP" => Message::DisconnectReply(self.ids),
            "timer" => {
                let next = self.ours.next_timeout();
                return next.into_iter().for_each(|next| self.ours.handle_timeout(next));
            }
            "silence" => return self.silence(),
            "disconnect" => return self.ours.disconnect(at_ms(1), qpn(7)),
            "data" => return self.ours.established_by_data(qpn(7)),
            other => panic!("{other}"),
        };
        self.receive(message);
    }

    /// Until the connection changes its state.
    fn silence(&mut self) {
        let before = self.state();
        for _ in 0..1000 {
            let Some(next) = self.ours.next_timeout() else { return };
            sent(&mut self.ours);
            self.ours.handle_timeout(next);
            if self.state() != before {
                return;
            }
        }
        panic!("silence has no end in {before}");
    }

    fn state(&self) -> &'static str {
        match self.ours.connections.get(&qpn(7)).map(|connection| &connection.state) {
            None => "gone",
            Some(state::State::RequestSent(_)) => "RequestSent",
            Some(state::State::ReplySent(_)) => "ReplySent",
            Some(state::State::Established) => "Established",
            Some(state::State::DisconnectSent(_)) => "DisconnectSent",
            Some(state::State::TimeWait) => "TimeWait",
        }
    }

    /// The state afterwards, what is sent, what is told.
    fn outcome(&mut self) -> String {
        let mut line = self.state().to_owned();
        for message in messages(&mut self.ours) {
            let name = match message {
                Message::Request(_) => "REQ".to_owned(),
                Message::Receipt(_) => "MRA".to_owned(),
                Message::Rejection(rejection) => format!("REJ {}", u16::from(rejection.reason)),
                Message::Reply(_) => "REP".to_owned(),
                Message::ReadyToUse(_) => "RTU".to_owned(),
                Message::DisconnectRequest(_) => "DREQ".to_owned(),
                Message::DisconnectReply(_) => "DREP".to_owned(),
            };
            write!(line, ", {name}").unwrap();
        }
        for event in events(&mut self.ours) {
            write!(line, "; {event}").unwrap();
        }
        line
    }
}

/// Afterwards: the state, what is sent, what is told. After InfiniBand Architecture 12.9 and Linux's `ib_cm`; where a happening
/// means nothing in a state, nothing happens.
#[rustfmt::skip]
const TABLE: [(&str, [(&str, &str); HAPPENINGS]); STATES] = [
    ("RequestSent", [
        ("REQ again", "RequestSent; requested"),
        ("REQ new id", "RequestSent; requested"),
        ("MRA of REQ", "RequestSent"),
        ("MRA of REP", "RequestSent"),
        ("REJ", "TimeWait; rejected 28"),
        ("REJ stranger", "TimeWait; rejected 28"),
        ("REJ timeout", "RequestSent"),
        ("REP", "Established, RTU; established"),
        ("REP other", "Established, RTU; established"),
        ("RTU", "RequestSent"),
        ("DREQ", "RequestSent, DREP"),
        ("DREQ qpn", "RequestSent, DREP"),
        ("DREP", "RequestSent"),
        ("timer", "RequestSent, REQ"),
        ("silence", "TimeWait, REJ 4; timed out"),
        ("disconnect", "TimeWait, REJ 4; disconnected"),
        ("data", "RequestSent"),
    ]),
    ("ReplySent", [
        ("REQ again", "ReplySent, REP"),
        ("REQ new id", "TimeWait, REJ 28, REJ 10; disconnected"),
        ("MRA of REQ", "ReplySent"),
        ("MRA of REP", "ReplySent"),
        ("REJ", "TimeWait; rejected 28"),
        ("REJ stranger", "ReplySent"),
        ("REJ timeout", "TimeWait; rejected 4"),
        ("REP", "ReplySent"),
        ("REP other", "ReplySent"),
        ("RTU", "Established; established"),
        ("DREQ", "TimeWait, DREP; disconnected"),
        ("DREQ qpn", "ReplySent"),
        ("DREP", "ReplySent"),
        ("timer", "ReplySent, REP"),
        ("silence", "TimeWait, REJ 4; timed out"),
        ("disconnect", "TimeWait, REJ 28; disconnected"),
        ("data", "Established; established"),
    ]),
    ("Connected", [
        ("REQ again", "Established"),
        ("REQ new id", "DisconnectSent, DREQ, REJ 10; disconnected"),
        ("MRA of REQ", "Established"),
        ("MRA of REP", "Established"),
        ("REJ", "TimeWait; disconnected"),
        ("REJ stranger", "Established"),
        ("REJ timeout", "Established"),
        ("REP", "Established, RTU"),
        ("REP other", "Established"),
        ("RTU", "Established"),
        ("DREQ", "TimeWait, DREP; disconnected"),
        ("DREQ qpn", "Established"),
        ("DREP", "Established"),
        ("timer", "Established"),
        ("silence", "Established"),
        ("disconnect", "DisconnectSent, DREQ; disconnected"),
        ("data", "Established"),
    ]),
    ("Accepted", [
        ("REQ again", "Established"),
        ("REQ new id", "DisconnectSent, DREQ, REJ 10; disconnected"),
        ("MRA of REQ", "Established"),
        ("MRA of REP", "Established"),
        ("REJ", "TimeWait; disconnected"),
        ("REJ stranger", "Established"),
        ("REJ timeout", "Established"),
        ("REP", "Established, RTU"),
        ("REP other", "Established"),
        ("RTU", "Established"),
        ("DREQ", "TimeWait, DREP; disconnected"),
        ("DREQ qpn", "Established"),
        ("DREP", "Established"),
        ("timer", "Established"),
        ("silence", "Established"),
        ("disconnect", "DisconnectSent, DREQ; disconnected"),
        ("data", "Established"),
    ]),
    ("DisconnectSent", [
        ("REQ again", "DisconnectSent"),
        ("REQ new id", "DisconnectSent, REJ 10"),
        ("MRA of REQ", "DisconnectSent"),
        ("MRA of REP", "DisconnectSent"),
        ("REJ", "TimeWait"),
        ("REJ stranger", "DisconnectSent"),
        ("REJ timeout", "DisconnectSent"),
        ("REP", "DisconnectSent"),
        ("REP other", "DisconnectSent"),
        ("RTU", "DisconnectSent"),
        ("DREQ", "TimeWait, DREP"),
        ("DREQ qpn", "DisconnectSent"),
        ("DREP", "TimeWait"),
        ("timer", "DisconnectSent, DREQ"),
        ("silence", "TimeWait"),
        ("disconnect", "DisconnectSent"),
        ("data", "DisconnectSent"),
    ]),
    ("TimeWait", [
        ("REQ again", "TimeWait, REJ 10"),
        ("REQ new id", "TimeWait, REJ 10"),
        ("MRA of REQ", "TimeWait"),
        ("MRA of REP", "TimeWait"),
        ("REJ", "TimeWait"),
        ("REJ stranger", "TimeWait"),
        ("REJ timeout", "TimeWait"),
        ("REP", "TimeWait"),
        ("REP other", "TimeWait"),
        ("RTU", "TimeWait"),
        ("DREQ", "TimeWait, DREP"),
        ("DREQ qpn", "TimeWait"),
        ("DREP", "TimeWait"),
        ("timer", "gone; over"),
        ("silence", "gone; over"),
        ("disconnect", "TimeWait"),
        ("data", "TimeWait"),
    ]),
    ("GivenUp", [
        ("REQ again", "TimeWait; requested"),
        ("REQ new id", "TimeWait; requested"),
        ("MRA of REQ", "TimeWait"),
        ("MRA of REP", "TimeWait"),
        ("REJ", "TimeWait"),
        ("REJ stranger", "TimeWait"),
        ("REJ timeout", "TimeWait"),
        ("REP", "TimeWait, REJ 28"),
        ("REP other", "TimeWait, REJ 28"),
        ("RTU", "TimeWait"),
        ("DREQ", "TimeWait, DREP"),
        ("DREQ qpn", "TimeWait, DREP"),
        ("DREP", "TimeWait"),
        ("timer", "gone; over"),
        ("silence", "gone; over"),
        ("disconnect", "TimeWait"),
        ("data", "TimeWait"),
    ]),
];

#[test]
fn every_state_with_every_happening() {
    for (state, row) in TABLE {
        for (happening, expected) in row {
            let mut stage = Stage::new(state);
            stage.happen(happening);
            assert_eq!(stage.outcome(), expected, "{happening} in {state}");
        }
    }
}

/// Whatever two things happen in a row, in whatever state: all of it ends when the peer falls silent, or is a connection.
#[test]
fn every_two_happenings_come_to_an_end() {
    for (state, row) in TABLE {
        for (first, _) in row {
            for (second, _) in row {
                let mut stage = Stage::new(state);
                stage.happen(first);
                stage.happen(second);
                drop(std::mem::take(&mut stage.ours.events));
                run_until(&mut stage.ours, at_ms(1_000_000));
                let end = stage.state();
                assert!(matches!(end, "gone" | "Established"), "{first}, {second} in {state} left {end}");
                assert_eq!((stage.ours.next_timeout(), stage.ours.records.waiting()), (None, 0));
            }
        }
    }
}

/// The same from another address changes nothing, and is answered with nothing but a rejection of a lying request.
#[test]
fn every_state_with_every_message_of_a_stranger() {
    for (state, row) in TABLE {
        for (happening, _) in row {
            let mut stage = Stage::new(state);
            stage.source = IpAddr::from([192, 0, 2, 66]);
            let before = stage.state();
            if matches!(happening, "timer" | "silence" | "disconnect" | "data") {
                continue;
            }
            stage.happen(happening);
            let lie = if happening.starts_with("REQ") { ", REJ 12" } else { "" };
            assert_eq!(stage.outcome(), format!("{before}{lie}"), "{happening} in {state}");
        }
    }
}
