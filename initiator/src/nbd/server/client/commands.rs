//! Commands of a client: what may begin, and what they are answered.

use super::outbox::Body;
use super::{Client, Payload, SHUTDOWN, State};
use crate::nbd::command::{Command, Refusal, SKIPPED_BYTES_MAX, payload_bytes};
use crate::nbd::negotiation::{ALLOCATION_ID, Agreement};
use crate::nbd::server::clients::{ClientKey, MemoryLine};
use crate::nbd::server::engine::{Answer, BufferList, Engine, Finished, Order, Reserved};
use crate::nbd::wire::{Errno, REQUEST_BYTES, ReplyHead, RequestHeader};

/// Writes from this on are received where the device takes them from; what follows them is fetched as far as the next
/// command only, so that its data can be received in place too. Smaller ones cost less if copied.
const DIRECT_BYTES_MIN: u32 = 32 << 10;

/// Most bytes of memory that one client ties up with several commands: a quarter of what there is, so that clients who take no
/// replies do not stop the others. One command alone may need more.
const SHARE_BYTES_MAX: u64 = 16 << 20;

const LOST: Refusal =
    Refusal { errno: Errno::Io, sentence: "the device began anew: writes may have been lost" };

impl Client {
    /// Commands, for as long as there are any and more may begin.
    pub(super) fn serve(
        &mut self,
        key: ClientKey,
        agreed: Agreement,
        engine: &mut Engine,
        line: &mut MemoryLine,
    ) -> bool {
        let mut any = false;
        loop {
            if self.payload.is_some() {
                if !self.take_payload(agreed, engine) {
                    return any;
                }
                any = true;
            }
            if self.is_full() || !matches!(self.state, State::Serving(_)) {
                return any;
            }
            let Some(bytes) = self.inbox.bytes().first_chunk::<REQUEST_BYTES>() else { return any };
            let Some(header) = RequestHeader::read(bytes) else {
                self.drop_because(&"what it sent is no command");
                return any;
            };
            self.inbox.consume(REQUEST_BYTES);
            self.on_header(&header, key, agreed, engine, line);
            any = true;
        }
    }

    fn on_header(
        &mut self,
        header: &RequestHeader,
        key: ClientKey,
        agreed: Agreement,
        engine: &mut Engine,
        line: &mut MemoryLine,
    ) {
        let command = Command::read(header, engine.export(), &agreed);
        let command = if self.is_stopping && command != Ok(Command::Disconnect) {
            command.and(Err(SHUTDOWN))
        } else {
            command
        };
        match command {
            Ok(Command::Disconnect) => self.state = State::Leaving(agreed),
            Ok(command) => {
                self.held = Some(Order { client: Some(key), cookie: header.cookie, command });
                self.begin_held(key, engine, line);
            }
            Err(refusal) => self.refuse(header, refusal, agreed, engine),
        }
    }

    fn refuse(&mut self, header: &RequestHeader, refusal: Refusal, agreed: Agreement, engine: &Engine) {
        engine.count_refusal();
        let left = payload_bytes(header);
        if left > SKIPPED_BYTES_MAX {
            return self.drop_because(&format_args!("a write of {left} bytes"));
        }
        if left > 0 {
            self.payload = Some(Payload::Skipped { cookie: header.cookie, refusal, left });
        } else {
            self.reply_error(header.cookie, refusal, agreed);
        }
    }

    /// Begins the command that waits for memory, if it is its turn and there is some.
    pub(super) fn begin_held(&mut self, key: ClientKey, engine: &mut Engine, line: &mut MemoryLine) -> bool {
        let Some(order) = self.held else { return false };
        let tied_bytes = self.under_way_bytes + self.outbox.memory_bytes();
        let bytes = order.command.data_bytes();
        if tied_bytes > 0 && tied_bytes + bytes > SHARE_BYTES_MAX {
            return false;
        }
        let reserved = if line.is_first(key) { engine.reserve(&order.command) } else { None };
        let Some(reserved) = reserved else {
            line.join(key);
            return false;
        };
        line.leave(key);
        self.held = None;
        self.under_way_bytes += bytes;
        match order.command {
            Command::Write { span, .. } if span.bytes > 0 => {
                self.is_direct = span.bytes >= DIRECT_BYTES_MIN;
                self.payload = Some(Payload::Data { order, reserved, received: 0, bytes: span.bytes });
            }
            _ => {
                self.is_direct = false;
                self.begin(order, reserved, engine);
            }
        }
        true
    }

    fn begin(&mut self, order: Order, reserved: Reserved, engine: &mut Engine) {
        self.under_way += 1;
        engine.begin(order, reserved);
    }

    /// Moves payload out of the inbox. Whether it is complete.
    fn take_payload(&mut self, agreed: Agreement, engine: &mut Engine) -> bool {
        match &mut self.payload {
            Some(Payload::Data { reserved, received, bytes, .. }) => {
                let here = self.inbox.bytes();
                let count = here.len().min((*bytes - *received) as usize);
                let at = u64::from(reserved.lead) + u64::from(*received);
                if copy_in(&mut reserved.data, at, &here[..count]).is_err() {
                    self.drop_because(&"the memory for its data cannot be reached");
                    return false;
                }
                // At most what was left, whose length has 32 bits.
                *received += u32::try_from(count).unwrap_or(0);
                let is_complete = received == bytes;
                engine.count_copied(count as u64);
                self.inbox.consume(count);
                if is_complete && let Some(Payload::Data { order, reserved, .. }) = self.payload.take() {
                    self.begin(order, reserved, engine);
                }
                is_complete
            }
            Some(Payload::Skipped { cookie, refusal, left }) => {
                let count = self.inbox.bytes().len().min(*left as usize);
                *left -= u32::try_from(count).unwrap_or(*left);
                let (is_complete, cookie, refusal) = (*left == 0, *cookie, *refusal);
                self.inbox.consume(count);
                if is_complete {
                    self.payload = None;
                    self.reply_error(cookie, refusal, agreed);
                }
                is_complete
            }
            None => true,
        }
    }

    pub(super) fn reply_error(&mut self, cookie: u64, refusal: Refusal, agreed: Agreement) {
        let head = if agreed.structured {
            ReplyHead::error(cookie, refusal.errno, refusal.sentence)
        } else {
            ReplyHead::simple(cookie, Err(refusal.errno))
        };
        self.outbox.push(head, Body::Nothing);
    }

    /// A command has ended: its reply goes out.
    #[inline]
    pub(in crate::nbd::server) fn answer(&mut self, finished: Finished, losses: u64) {
        self.under_way -= 1;
        self.under_way_bytes -= finished.order.command.data_bytes();
        let Some(agreed) = self.agreed() else { return };
        let Finished { order: Order { cookie, command, .. }, mut answer } = finished;
        if command == Command::Flush && self.losses_told < losses {
            self.losses_told = losses;
            answer = Answer::Refused(LOST);
        }
        match (answer, command) {
            (Answer::Refused(refusal), _) => self.reply_error(cookie, refusal, agreed),
            (Answer::Data(data), Command::Read(span)) => {
                let head = if agreed.structured {
                    ReplyHead::data(cookie, span.offset, span.bytes)
                } else {
                    ReplyHead::simple(cookie, Ok(()))
                };
                self.outbox.push(head, Body::Memory(data));
            }
            (Answer::Extents(extents), _) => {
                let count = u32::try_from(extents.len()).unwrap_or(u32::MAX);
                let head = ReplyHead::block_status(cookie, ALLOCATION_ID, count);
                let bytes = extents.iter().flat_map(|(bytes, flags)| ReplyHead::extent(*bytes, *flags));
                self.outbox.push(head, Body::Bytes(bytes.collect()));
            }
            // A read of nothing.
            (_, Command::Read(_)) if agreed.structured => {
                self.outbox.push(ReplyHead::nothing(cookie), Body::Nothing);
            }
            _ => self.outbox.push(ReplyHead::simple(cookie, Ok(())), Body::Nothing),
        }
    }
}

fn copy_in(into: &mut BufferList, at: u64, bytes: &[u8]) -> Result<(), dma::AccessError> {
    if bytes.is_empty() { Ok(()) } else { into.write(at, bytes) }
}
