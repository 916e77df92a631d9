//! The engine on devices that take their time.

pub(in crate::nbd::server) mod slow;

use std::sync::{Arc, Mutex};

use block::{BlockSize, Sleeper};
use proptest::prelude::*;
use slow::{Knobs, SlowDevice, began_anew};

use super::*;
use crate::nbd::command::Span;
use crate::nbd::wire::ExtentFlags;

/// Turns that any command of these tests needs at most.
const TURNS_MAX: u32 = 100_000;

struct Rig {
    engine: Engine,
    knobs: Arc<Mutex<Knobs>>,
    cookies: u64,
    _sleeper: Sleeper,
}

impl Rig {
    fn new(block_size: BlockSize, bytes: u64, without: Abilities, seed: u64) -> Self {
        let device = Arc::new(SlowDevice::new(block_size, bytes, without, seed));
        let knobs = Arc::clone(&device.knobs);
        let export = Export::of(&*device, "slow".parse().unwrap(), false).unwrap();
        let sleeper = Sleeper::new().unwrap();
        let engine = Engine::new(device, export, 16, Arc::default(), sleeper.waker()).unwrap();
        Self { engine, knobs, cookies: 0, _sleeper: sleeper }
    }

    fn plain() -> Self {
        Self::new(BlockSize::B512, 1 << 20, Abilities::empty(), 1)
    }

    fn begin(&mut self, command: Command, data: &[u8]) -> u64 {
        let mut reserved = self.engine.reserve(&command).unwrap();
        let lead = u64::from(reserved.lead);
        reserved.data.write(lead, data).unwrap();
        self.cookies += 1;
        self.engine.begin(Order { client: None, cookie: self.cookies, command }, reserved);
        self.cookies
    }

    fn next(&mut self) -> Finished {
        for _ in 0..TURNS_MAX {
            self.engine.turn(Timestamp::default());
            if let Some(finished) = self.engine.pop_finished() {
                return finished;
            }
        }
        unreachable!("a command does not end")
    }

    fn run(&mut self, command: Command, data: &[u8]) -> Result<Answer, Errno> {
        let cookie = self.begin(command, data);
        let finished = self.next();
        assert_eq!(finished.order.cookie, cookie);
        match finished.answer {
            Answer::Refused(refusal) => Err(refusal.errno),
            answer => Ok(answer),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let span = Span { offset, bytes: u32::try_from(data.len()).unwrap() };
        self.run(Command::Write { span, fua: false }, data).unwrap();
    }

    fn read(&mut self, offset: u64, bytes: u32) -> Vec<u8> {
        let answer = self.run(Command::Read(Span { offset, bytes }), &[]).unwrap();
        let Answer::Data(data) = answer else { unreachable!("a read has data") };
        let mut found = vec![0; bytes as usize];
        data.read(0, &mut found).unwrap();
        found
    }

    fn zero(&mut self, offset: u64, bytes: u32) {
        let span = Span { offset, bytes };
        self.run(Command::WriteZeroes { span, fua: false, may_unmap: true }, &[]).unwrap();
    }

    fn seen(&self) -> Vec<Op> {
        std::mem::take(&mut self.knobs.lock().unwrap().seen)
    }
}

const WRITE: Op = Op::Write { fua: false };

#[test]
fn whole_blocks_are_written_as_they_are() {
    let mut rig = Rig::plain();
    rig.write(512, &[7; 1024]);
    assert_eq!(rig.seen(), [WRITE]);
    assert_eq!(rig.read(512, 1024), [7; 1024]);
}

#[test]
fn parts_of_blocks_are_read_and_written() {
    let mut rig = Rig::plain();
    rig.write(0, &[1; 2048]);
    rig.seen();
    for (offset, length, ops) in [
        (700, 10, vec![Op::Read, WRITE]),
        (512, 10, vec![Op::Read, WRITE]),
        (1000, 24, vec![Op::Read, WRITE]),
        (600, 900, vec![Op::Read, Op::Read, WRITE]),
        (512, 513, vec![Op::Read, WRITE]),
    ] {
        rig.write(0, &[1; 2048]);
        rig.seen();
        rig.write(offset, &vec![9; length]);
        assert_eq!(rig.seen(), ops, "{offset}+{length}");
        let mut expected = vec![1; 2048];
        let start = usize::try_from(offset).unwrap();
        expected[start..start + length].fill(9);
        assert_eq!(rig.read(0, 2048), expected, "{offset}+{length}");
        assert_eq!(rig.read(offset - 3, 20), expected[start - 3..start + 17]);
    }
}

#[test]
fn zeroing_leaves_the_rest_of_the_blocks() {
    for without in [Abilities::empty(), Abilities::WRITE_ZEROES] {
        let mut rig = Rig::new(BlockSize::B512, 8 << 20, without, 3);
        let mut expected = vec![5; 6 << 20];
        rig.write(0, &expected);
        for (offset, bytes) in [(0, 512), (1000, 100), (5000, 3000), (10_000, 5 << 20), (700, 0)] {
            rig.zero(offset, bytes);
            let start = usize::try_from(offset).unwrap();
            expected[start..start + bytes as usize].fill(0);
        }
        assert!(rig.read(0, 6 << 20) == expected);
        let zeroes = |op: &Op| matches!(op, Op::WriteZeroes { .. });
        assert_eq!(rig.seen().iter().any(zeroes), without.is_empty());
    }
}

#[test]
fn a_trim_touches_whole_blocks_only() {
    let mut rig = Rig::plain();
    rig.write(0, &[5; 4096]);
    rig.seen();
    let trim = |offset, bytes, fua| Command::Trim { span: Span { offset, bytes }, fua };
    rig.run(trim(100, 1500, false), &[]).unwrap();
    assert_eq!(rig.seen(), [Op::Discard]);
    let found = rig.read(0, 2048);
    assert!(found[..512].iter().chain(&found[1536..]).all(|byte| *byte == 5));
    rig.seen();
    rig.run(trim(100, 200, true), &[]).unwrap();
    assert_eq!(rig.seen(), []);
    rig.run(trim(512, 512, true), &[]).unwrap();
    assert_eq!(rig.seen(), [Op::Discard, Op::Flush]);
}

#[test]
fn force_unit_access_reaches_the_device() {
    let mut rig = Rig::plain();
    let span = Span { offset: 0, bytes: 512 };
    rig.run(Command::Write { span, fua: true }, &[1; 512]).unwrap();
    rig.run(Command::WriteZeroes { span, fua: true, may_unmap: false }, &[]).unwrap();
    let zeroes = Op::WriteZeroes { fua: true, may_unmap: false };
    assert_eq!(rig.seen(), [Op::Write { fua: true }, zeroes]);
}

#[test]
fn a_write_of_a_neighbour_is_not_undone() {
    let mut rig = Rig::plain();
    rig.write(0, &[1; 512]);
    rig.knobs.lock().unwrap().held = true;
    let part = |offset, bytes| Command::Write { span: Span { offset, bytes }, fua: false };
    rig.begin(part(100, 10), &[2; 10]);
    rig.begin(part(0, 512), &[3; 512]);
    rig.begin(part(200, 10), &[4; 10]);
    rig.engine.turn(Timestamp::default());
    rig.seen();
    rig.knobs.lock().unwrap().held = false;
    let order: Vec<_> = (0..3).map(|_| rig.next().order.cookie).collect();
    assert_eq!(order, [2, 3, 4]);
    let mut expected = vec![3; 512];
    expected[200..210].fill(4);
    assert_eq!(rig.read(0, 512), expected);
}

#[test]
fn the_first_error_is_told_and_the_blocks_are_free_again() {
    let mut rig = Rig::plain();
    rig.write(0, &[1; 1024]);
    for fails in [(|op| *op == Op::Read) as fn(&Op) -> bool, |op| *op == WRITE] {
        rig.knobs.lock().unwrap().fails = Some(fails);
        let span = Span { offset: 100, bytes: 600 };
        assert_eq!(rig.run(Command::Write { span, fua: false }, &[2; 600]).unwrap_err(), Errno::Io);
        let zeroes = Command::WriteZeroes { span, fua: false, may_unmap: true };
        assert_eq!(rig.run(zeroes, &[]).unwrap_err(), Errno::Io);
        rig.knobs.lock().unwrap().fails = None;
    }
    rig.write(100, &[3; 600]);
    assert_eq!(rig.read(100, 600), [3; 600]);
    assert_eq!(rig.engine.under_way(), 0);
}

#[test]
fn nothing_is_done_for_nothing() {
    let mut rig = Rig::plain();
    let span = Span { offset: 777, bytes: 0 };
    for command in [
        Command::Read(span),
        Command::Write { span, fua: true },
        Command::WriteZeroes { span, fua: true, may_unmap: true },
        Command::Trim { span, fua: true },
    ] {
        assert!(matches!(rig.run(command, &[]), Ok(Answer::Done)));
    }
    assert_eq!(rig.seen(), []);
}

#[test]
fn what_no_flush_covered_is_lost_when_the_device_begins_anew() {
    let mut rig = Rig::plain();
    let anew = |rig: &mut Rig| {
        rig.knobs.lock().unwrap().events.push(began_anew(1));
        rig.engine.turn(Timestamp::default());
        rig.engine.losses()
    };
    assert_eq!(anew(&mut rig), 0);
    rig.run(Command::Write { span: Span { offset: 0, bytes: 512 }, fua: true }, &[1; 512]).unwrap();
    assert_eq!(anew(&mut rig), 0);
    rig.write(0, &[1; 512]);
    rig.run(Command::Flush, &[]).unwrap();
    assert_eq!(anew(&mut rig), 0);
    rig.write(0, &[1; 512]);
    assert_eq!(anew(&mut rig), 1);
    assert_eq!(anew(&mut rig), 1);
}

#[test]
fn a_flush_that_ends_with_a_loss_does_not_cover_it() {
    let mut rig = Rig::plain();
    rig.write(0, &[1; 512]);
    rig.begin(Command::Flush, &[]);
    rig.knobs.lock().unwrap().events.push(began_anew(1));
    rig.next();
    assert_eq!(rig.engine.losses(), 1);
}

#[test]
fn the_device_tells_what_holds_data() {
    let mut rig = Rig::new(BlockSize::B512, 64 << 20, Abilities::empty(), 1);
    rig.write(4 << 20, &[1; 512]);
    let status = |one| Command::BlockStatus { span: Span { offset: 100, bytes: 32 << 20 }, one };
    let Ok(Answer::Extents(all)) = rig.run(status(false), &[]) else { unreachable!("extents") };
    let total: u32 = all.iter().map(|(bytes, _)| *bytes).sum();
    assert_eq!((total, all.len(), all[1].1), (32 << 20, 3, ExtentFlags::empty()));
    let Ok(Answer::Extents(one)) = rig.run(status(true), &[]) else { unreachable!("an extent") };
    assert_eq!(one, [((4 << 20) - 100, ExtentFlags::HOLE | ExtentFlags::ZERO)]);
}

#[derive(Clone, Debug)]
struct Step {
    owner: u64,
    at: u64,
    bytes: u64,
    value: u8,
}

/// Bytes that belong to one writer: nothing like a block.
const OWNED: u64 = 700;
const OWNERS: u64 = 12;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..OWNERS, 0..OWNED, 1..OWNED, 0u8..6).prop_map(|(owner, at, bytes, value)| Step {
        owner,
        at,
        bytes: bytes.min(OWNED - at),
        value,
    });
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..Default::default() })]

    /// Many writers at once, each on bytes of its own but all on the same blocks: each finds what it wrote last.
    #[test]
    fn writers_of_parts_of_blocks_do_not_disturb_each_other(
        steps in steps(), seed in any::<u64>(), small in any::<bool>(), zeroes in any::<bool>(),
    ) {
        let block_size = if small { BlockSize::B512 } else { BlockSize::B4096 };
        let without = if zeroes { Abilities::empty() } else { Abilities::WRITE_ZEROES };
        let mut rig = Rig::new(block_size, 1 << 20, without, seed);
        let mut model = vec![0u8; usize::try_from(OWNED * OWNERS).unwrap()];
        let mut busy: Vec<(u64, u64)> = Vec::new();
        for step in steps {
            while let Some(at) = busy.iter().position(|(owner, _)| *owner == step.owner) {
                let ended = rig.next().order.cookie;
                prop_assert!(busy.iter().any(|(_, cookie)| *cookie == ended));
                let _ = at;
                busy.retain(|(_, cookie)| *cookie != ended);
            }
            let offset = step.owner * OWNED + step.at;
            let span = Span { offset, bytes: u32::try_from(step.bytes).unwrap() };
            let start = usize::try_from(offset).unwrap();
            let owned = &mut model[start..start + span.bytes as usize];
            owned.fill(step.value);
            let cookie = match step.value {
                0 => rig.begin(Command::WriteZeroes { span, fua: false, may_unmap: true }, &[]),
                _ => rig.begin(Command::Write { span, fua: false }, owned),
            };
            busy.push((step.owner, cookie));
            rig.engine.turn(Timestamp::default());
        }
        for _ in 0..busy.len() {
            rig.next();
        }
        prop_assert_eq!(rig.engine.under_way(), 0);
        prop_assert!(rig.read(0, u32::try_from(model.len()).unwrap()) == model);
    }
}
