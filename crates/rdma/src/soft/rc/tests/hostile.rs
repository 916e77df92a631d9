//! A peer that sends what it likes.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::soft::rc::{Failure, State};

/// Packets that are nearly right, so that they get far.
fn nasty(rng: &mut SmallRng) -> (Headers, Vec<u8>) {
    let opcode = Opcode::ALL[rng.random_range(0..Opcode::ALL.len())];
    let psn = match rng.random_range(0..4) {
        0 => rng.random(),
        1 => 100 + rng.random_range(0..8),
        _ => 500 + rng.random_range(0..8),
    };
    let bytes = [0, 1, 255, 256, 257, 4096][rng.random_range(0..6)];
    let reth = Reth {
        address: match rng.random_range(0..4) {
            0 => rng.random(),
            1 => ADDRESS.wrapping_sub(rng.random_range(0..3)),
            _ => ADDRESS + rng.random_range(0..1001),
        },
        key: if rng.random_range(0..8) == 0 { rng.random() } else { KEY.0 },
        bytes: match rng.random_range(0..4) {
            0 => rng.random(),
            1 => bytes,
            _ => rng.random_range(0..1001),
        },
    };
    let syndrome = match rng.random_range(0..8) {
        0 => Syndrome::Nak(NakCode::RemoteAccess),
        1 => Syndrome::ReceiverNotReady { timer: RnrTimer::new(rng.random()) },
        2 | 3 => Syndrome::Nak(NakCode::SequenceError),
        _ => Syndrome::Ack { credits: 31 },
    };
    let extension = match opcode {
        Opcode::WriteFirst | Opcode::WriteOnly | Opcode::ReadRequest => Extension::Reth(reth),
        Opcode::WriteOnlyImmediate => Extension::RethImmediate(reth, 1),
        Opcode::SendLastInvalidate | Opcode::SendOnlyInvalidate => Extension::Invalidate(KEY.0),
        Opcode::SendLastImmediate | Opcode::SendOnlyImmediate | Opcode::WriteLastImmediate => {
            Extension::Immediate(7)
        }
        Opcode::Acknowledge
        | Opcode::ReadResponseFirst
        | Opcode::ReadResponseLast
        | Opcode::ReadResponseOnly => Extension::Aeth(Aeth { syndrome, msn: rng.random() }),
        _ => Extension::None,
    };
    let mut headers = headers(opcode, psn, extension);
    headers.ack_request = rng.random();
    let bytes = if opcode.has_payload() { bytes } else { 0 };
    (headers, vec![0xbb; bytes as usize])
}

/// Whatever comes: no panic, nothing outside the window is written or read, each work ends at most once, windows are given back.
#[test]
fn a_hostile_peer_reaches_nothing_but_its_window() {
    let memory = pool(64);
    let mut failed = 0;
    for seed in 0..3000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut side = Side::ready(&parameters());
        let whole = segment(&memory, &[0xaa; 3000]);
        side.bind(KEY, whole.slice(1000, 1000).unwrap(), Rights::all());
        let read_into = segment(&memory, &[0xcc; 900]);
        let remote = RemoteMemory { address: 0, key: RemoteKey(1) };
        side.post([
            inline(1, SendOp::Send, b"x"),
            work(2, SendOp::Read(remote), read_into.slice(100, 700).unwrap()),
            work(3, SendOp::Write(remote), segment(&memory, &[0; 600])),
        ]);
        (0..3).for_each(|id| side.post_receive(10 + id, memory.take().unwrap()));
        let mut now = us(0);
        for _ in 0..30 {
            let (headers, payload) = nasty(&mut rng);
            side.feed(now, headers, &payload);
            if rng.random_range(0..3) == 0 {
                for sent in side.transmit_some(now, 5) {
                    assert!(
                        sent.payload.iter().all(|byte| [0xaa, 0xbb, b'x', 0].contains(byte)),
                        "seed {seed}"
                    );
                    assert!(sent.payload.len() <= 256);
                }
            }
            if rng.random_range(0..10) == 0 {
                now = side.queue_pair.next_timeout().unwrap_or(now);
                side.timeout(now);
            }
        }
        let bytes = bytes_of(&whole);
        assert!(bytes[..1000].iter().chain(&bytes[2000..]).all(|byte| *byte == 0xaa), "seed {seed}");
        let bytes = bytes_of(&read_into);
        assert!(bytes[..100].iter().chain(&bytes[800..]).all(|byte| *byte == 0xcc), "seed {seed}");
        failed += u32::from(side.queue_pair.state() == State::Error);
        let (queue_pair, mut context) = side.split();
        queue_pair.fail(Failure::Closed, &mut context);
        let mut ids: Vec<u64> = side.ended().iter().map(|ended| ended.0).collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 3, 10, 11, 12], "seed {seed}");
        assert!(side.flow.is_idle() && side.reads.is_idle(), "seed {seed}");
    }
    assert!((1000..2999).contains(&failed), "both fates occur: {failed}");
}
