//! Users: requests at random, and what they may see.

use block::{BlockRange, Op};
use nvme_spec::Lba;
use replication::{Data, MirrorError, Phase, RequestId};

use crate::model::{FlushFloor, ReadFloor};
use crate::world::{BLOCKS, Event, World, us};

/// Requests of a writer at a time.
const DEPTH: usize = 6;

/// A request under way.
pub struct Pending {
    pub op: Op,
    pub range: BlockRange,
    read: Option<ReadFloor>,
    flush: Option<FlushFloor>,
}

impl World {
    pub fn client_turn(&mut self, process: usize) {
        let known = &self.processes[process];
        let Some(mirror) = &known.mirror else { return };
        if mirror.phase() == Phase::Serving && known.pending.len() < 2 * DEPTH && self.has_client {
            // Writes that wait must not keep users from reading.
            let is_full = known.pending.len() >= DEPTH;
            let (op, range) = self.any_request();
            let op = if is_full && range.blocks > 0 { Op::Read } else { op };
            let zeroes = &mut self.processes[process].zeroes;
            let place = (range.start.0, range.blocks);
            match op {
                Op::WriteZeroes { fua, .. } if zeroes.contains_key(&place) => {
                    self.request(process, Op::Write { fua }, range);
                }
                Op::WriteZeroes { .. } => {
                    zeroes.insert(place, self.next_value);
                    self.request(process, op, range);
                }
                _ => self.request(process, op, range),
            }
        }
        self.soon(us(250), Event::Client { process });
    }

    fn any_request(&mut self) -> (Op, BlockRange) {
        let fua = self.dice.happens(150_000);
        let op = match self.dice.below(20) {
            0..=8 => Op::Write { fua },
            9 => Op::WriteZeroes { fua, may_unmap: false },
            10..=17 => Op::Read,
            _ => Op::Flush,
        };
        let blocks = self.dice.below(4) + 1;
        // Half of the requests meet in a few blocks.
        let space = if self.dice.happens(500_000) { 8 } else { BLOCKS };
        let start = self.dice.below(space - blocks + 1);
        (op, if op == Op::Flush { BlockRange::default() } else { BlockRange::new(Lba(start), blocks) })
    }

    pub fn request(&mut self, process: usize, op: Op, range: BlockRange) {
        let id = RequestId(self.next_value);
        self.next_value += 1;
        self.say(|| format!("writer {process}: request {} {op:?} {}+{}", id.0, range.start.0, range.blocks));
        let read = (op == Op::Read).then(|| self.model.read(range));
        let flush = (op == Op::Flush).then(|| self.model.flush());
        if op.changes_data() {
            if !self.is_overtaken(process) {
                self.model.write(range, id.0);
            }
            let data = vec![id.0; range.blocks as usize];
            self.processes[process].buffers.insert(Data::Request(id), data);
        }
        self.processes[process].pending.insert(id, Pending { op, range, read, flush });
        self.with(process, |mirror, now| mirror.submit(now, id, op, range));
    }

    pub fn request_ended(&mut self, process: usize, id: RequestId, result: Result<(), MirrorError>) {
        let known = &mut self.processes[process];
        let pending = known.pending.remove(&id).expect("a request ends once");
        self.say(|| format!("writer {process}: request {} ends: {result:?}", id.0));
        if result.is_err() {
            return;
        }
        let known = &self.processes[process];
        assert!(!known.saw_conflict, "writer {process} was fenced and acknowledges request {}", id.0);
        match pending.op {
            Op::Write { fua } | Op::WriteZeroes { fua, .. } => {
                let fua = fua || self.options.write_through;
                self.model.written(process, pending.range, id.0, fua);
            }
            Op::Read => {
                let data = known.buffers.get(&Data::Request(id)).cloned().unwrap_or_default();
                let floor = pending.read.expect("a read has a floor");
                let is_overtaken = self.is_overtaken(process);
                self.model.has_read(process, is_overtaken, pending.range, &floor, &data);
            }
            _ => self.model.flushed(&pending.flush.expect("a flush has a floor")),
        }
    }
}
