//! Every state with every event.

use super::*;
use crate::PostError;
use crate::soft::rc::{Failure, State};

#[derive(Clone, Copy, Debug)]
enum Happening {
    Connect,
    Establish,
    PostSend,
    PostReceive,
    Request,
    Response,
    Refusal,
    Timeout,
    Transmit,
    Fail,
}

use Happening::*;
use State::{Error, Init, ReadyToReceive, ReadyToSend};

/// What can be seen from outside.
#[derive(Debug, PartialEq)]
enum Seen {
    Nothing,
    /// So many packets were sent.
    Packets(usize),
    /// So much work ended.
    Ended(usize),
    Event(Event),
    Post(Result<(), PostError>),
}

/// A queue pair in that state, with a receive posted, and in [`ReadyToSend`] a SEND under way.
fn in_state(state: State) -> Side {
    let mut side = Side::new(OUR_NUMBER, Some(64));
    side.post_receive(7, pool(1).take().unwrap());
    if matches!(state, ReadyToReceive | ReadyToSend) {
        side.queue_pair.connect(&parameters());
    }
    match state {
        ReadyToSend => {
            side.queue_pair.establish();
            side.post([inline(8, SendOp::Send, b"x")]);
            assert_eq!(side.transmit(us(0)).len(), 1);
        }
        Error => {
            let (queue_pair, mut context) = side.split();
            queue_pair.fail(Failure::Closed, &mut context);
            assert_eq!(side.ended(), [(7, Err(WorkError::Flushed))]);
        }
        Init | ReadyToReceive => {}
    }
    assert_eq!(side.queue_pair.state(), state);
    side
}

fn seen_of(event: Option<Event>, side: &mut Side) -> Seen {
    match (event, side.ended().len()) {
        (Some(event), _) => Seen::Event(event),
        (None, 0) => Seen::Nothing,
        (None, count) => Seen::Ended(count),
    }
}

fn happen(side: &mut Side, happening: Happening) -> Seen {
    match happening {
        Connect => {
            side.queue_pair.connect(&parameters());
            Seen::Nothing
        }
        Establish => {
            side.queue_pair.establish();
            Seen::Nothing
        }
        PostSend => Seen::Post(side.queue_pair.post_send(&mut [inline(9, SendOp::Send, b"y")].into())),
        PostReceive => {
            let receive = Receive { id: 10, buffer: pool(1).take().unwrap() };
            Seen::Post(side.queue_pair.post_receive(&mut [receive].into()))
        }
        Request => {
            let event = side.feed(us(1), headers(Opcode::SendOnly, 500, Extension::None), b"z");
            seen_of(event, side)
        }
        Response => {
            let event = side.feed(us(1), ack(100), b"");
            seen_of(event, side)
        }
        Refusal => {
            let event = side.feed(us(1), nak(100, NakCode::RemoteAccess), b"");
            seen_of(event, side)
        }
        Timeout => {
            let event = side.timeout(us(60_000_000));
            seen_of(event, side)
        }
        Transmit => match side.transmit(us(1)).len() {
            0 => seen_of(None, side),
            count => Seen::Packets(count),
        },
        Fail => {
            let (queue_pair, mut context) = side.split();
            queue_pair.fail(Failure::Closed, &mut context);
            seen_of(None, side)
        }
    }
}

#[test]
fn every_state_with_every_event() {
    let not_connected = || Seen::Post(Err(PostError::NotConnected));
    let posted = || Seen::Post(Ok(()));
    let refused = || Seen::Event(Event::Failed(Failure::RefusedByPeer(NakCode::RemoteAccess)));
    let silent = || Seen::Event(Event::Failed(Failure::RetriesExceeded));
    let table = [
        (Init, Connect, ReadyToReceive, Seen::Nothing),
        (Init, Establish, Init, Seen::Nothing),
        (Init, PostSend, Init, not_connected()),
        (Init, PostReceive, Init, posted()),
        (Init, Request, Init, Seen::Nothing),
        (Init, Response, Init, Seen::Nothing),
        (Init, Refusal, Init, Seen::Nothing),
        (Init, Timeout, Init, Seen::Nothing),
        (Init, Transmit, Init, Seen::Nothing),
        (Init, Fail, Error, Seen::Ended(1)),
        (ReadyToReceive, Connect, ReadyToReceive, Seen::Nothing),
        (ReadyToReceive, Establish, ReadyToSend, Seen::Nothing),
        (ReadyToReceive, PostSend, ReadyToReceive, not_connected()),
        (ReadyToReceive, PostReceive, ReadyToReceive, posted()),
        (ReadyToReceive, Request, ReadyToReceive, Seen::Event(Event::Established)),
        (ReadyToReceive, Response, ReadyToReceive, Seen::Nothing),
        (ReadyToReceive, Refusal, ReadyToReceive, Seen::Nothing),
        (ReadyToReceive, Timeout, ReadyToReceive, Seen::Nothing),
        (ReadyToReceive, Transmit, ReadyToReceive, Seen::Nothing),
        (ReadyToReceive, Fail, Error, Seen::Ended(1)),
        (ReadyToSend, Connect, ReadyToSend, Seen::Nothing),
        (ReadyToSend, Establish, ReadyToSend, Seen::Nothing),
        (ReadyToSend, PostSend, ReadyToSend, posted()),
        (ReadyToSend, PostReceive, ReadyToSend, posted()),
        (ReadyToSend, Request, ReadyToSend, Seen::Ended(1)),
        (ReadyToSend, Response, ReadyToSend, Seen::Ended(1)),
        (ReadyToSend, Refusal, Error, refused()),
        (ReadyToSend, Timeout, Error, silent()),
        (ReadyToSend, Transmit, ReadyToSend, Seen::Nothing),
        (ReadyToSend, Fail, Error, Seen::Ended(2)),
        (Error, Connect, Error, Seen::Nothing),
        (Error, Establish, Error, Seen::Nothing),
        (Error, PostSend, Error, posted()),
        (Error, PostReceive, Error, posted()),
        (Error, Request, Error, Seen::Nothing),
        (Error, Response, Error, Seen::Nothing),
        (Error, Refusal, Error, Seen::Nothing),
        (Error, Timeout, Error, Seen::Nothing),
        (Error, Transmit, Error, Seen::Nothing),
        (Error, Fail, Error, Seen::Nothing),
    ];
    assert_eq!(table.len(), 4 * 10);
    for (before, happening, after, seen) in table {
        let mut side = in_state(before);
        assert_eq!(happen(&mut side, happening), seen, "{before:?} {happening:?}");
        assert_eq!(side.queue_pair.state(), after, "{before:?} {happening:?}");
    }
}

#[test]
fn what_is_posted_in_error_is_flushed() {
    let mut side = in_state(Error);
    happen(&mut side, PostSend);
    happen(&mut side, PostReceive);
    assert!(side.queue_pair.has_work());
    assert_eq!(happen(&mut side, Transmit), Seen::Ended(2));
    assert!(!side.queue_pair.has_work());
}

#[test]
fn a_message_that_is_coming_in_flushes_first() {
    let mut side = in_state(ReadyToSend);
    happen(&mut side, PostReceive);
    side.feed(us(1), headers(Opcode::SendFirst, 500, Extension::None), &[0; 256]);
    happen_fail(&mut side);
    let flushed = Err(WorkError::Flushed);
    assert_eq!(side.ended(), [(8, flushed), (7, flushed), (10, flushed)]);
}

fn happen_fail(side: &mut Side) {
    let (queue_pair, mut context) = side.split();
    queue_pair.fail(Failure::Closed, &mut context);
}

#[test]
fn an_idle_queue_pair_is_small() {
    let bytes = size_of::<QueuePair>();
    assert!(bytes <= 640, "{bytes}");
}
