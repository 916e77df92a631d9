//! Requests: SEND and WRITE packets carried out, READs noted down.

use super::{Answer, Incoming, Names, Responder, failed};
use crate::soft::rc::context::{Context, Windows};
use crate::soft::rc::parameters::Parameters;
use crate::soft::rc::receive_queue::ReceiveQueue;
use crate::soft::wire::{Extension, NakCode, Opcode, Packet, Psn, Reth};
use crate::{Completion, Message, Outcome, RemoteKey, Rights, WorkError};

/// Why a packet was not carried out.
pub(super) enum Denial {
    /// It is refused: the end of the connection.
    Refused(NakCode),
    /// No receive is posted.
    NotReady,
}

/// Where a packet stands in its message.
#[derive(Clone, Copy)]
struct Place {
    is_first: bool,
    is_last: bool,
}

impl Place {
    #[inline]
    const fn of(opcode: Opcode) -> Self {
        let is_first = matches!(
            opcode,
            Opcode::SendFirst
                | Opcode::SendOnly
                | Opcode::SendOnlyImmediate
                | Opcode::SendOnlyInvalidate
                | Opcode::WriteFirst
                | Opcode::WriteOnly
                | Opcode::WriteOnlyImmediate
        );
        let is_last = !matches!(
            opcode,
            Opcode::SendFirst | Opcode::SendMiddle | Opcode::WriteFirst | Opcode::WriteMiddle
        );
        Self { is_first, is_last }
    }

    /// Packets before the last have exactly one MTU, a last packet that is not the only one is not empty (9.7.4.1.6).
    #[inline]
    fn has_length(self, bytes: usize, mtu: usize) -> bool {
        match (self.is_first, self.is_last) {
            (_, false) => bytes == mtu,
            (false, true) => (1..=mtu).contains(&bytes),
            (true, true) => bytes <= mtu,
        }
    }
}

/// What a message gives its receiver besides bytes.
#[derive(Clone, Copy)]
struct Extras {
    invalidate: Option<RemoteKey>,
    immediate: Option<u32>,
}

impl Extras {
    #[inline]
    const fn of(extension: Extension) -> Self {
        let (invalidate, immediate) = match extension {
            Extension::Invalidate(key) => (Some(RemoteKey(key)), None),
            Extension::Immediate(word) | Extension::RethImmediate(_, word) => (None, Some(word)),
            _ => (None, None),
        };
        Self { invalidate, immediate }
    }
}

impl Responder {
    /// Takes a request of the peer in.
    #[inline]
    pub(in crate::soft::rc) fn handle_request<W: Windows>(
        &mut self,
        packet: &Packet<'_>,
        names: Names,
        parameters: &Parameters,
        receives: &mut ReceiveQueue,
        context: &mut Context<'_, W>,
    ) {
        if self.refusal.is_some() {
            return;
        }
        let psn = packet.headers.psn;
        let ahead = psn.minus(self.expected);
        if ahead != 0 {
            context.counters.out_of_order += 1;
            if ahead < Psn::HALF {
                self.handle_gap(psn)
            } else {
                self.handle_duplicate(packet, parameters)
            }
            return;
        }
        let carried_out = match packet.headers.opcode {
            Opcode::ReadRequest => self.handle_read(packet, names, parameters, context),
            Opcode::WriteFirst
            | Opcode::WriteMiddle
            | Opcode::WriteLast
            | Opcode::WriteLastImmediate
            | Opcode::WriteOnly
            | Opcode::WriteOnlyImmediate => self.handle_write(packet, names, parameters, receives, context),
            _ => self.handle_send(packet, names, parameters, receives, context),
        };
        match carried_out {
            Ok(()) => {}
            Err(Denial::Refused(code)) => self.refuse(code, psn, context),
            Err(Denial::NotReady) => {
                self.is_told = true;
                self.answer = Answer::NotReady;
            }
        }
    }

    /// A packet is missing: that is said once (9.7.5.2.8).
    fn handle_gap(&mut self, psn: Psn) {
        self.dropped = psn;
        if !self.is_told {
            self.is_told = true;
            self.answer = Answer::Missing;
        }
    }

    /// What was carried out is acknowledged again, or read again.
    fn handle_duplicate(&mut self, packet: &Packet<'_>, parameters: &Parameters) {
        if let Extension::Reth(reth) = packet.headers.extension
            && packet.headers.opcode == Opcode::ReadRequest
        {
            self.reads.replay(packet.headers.psn, reth, parameters.mtu);
            return;
        }
        // A number so old that it would look new is not repeated.
        let is_answerable = self.acknowledged.is_some_and(|last| last.minus(packet.headers.psn) < Psn::HALF);
        if is_answerable && self.answer == Answer::None {
            self.answer = Answer::Acknowledge;
        }
    }

    /// A packet of a SEND or WRITE was carried out.
    #[inline]
    fn carried_out(&mut self, packet: &Packet<'_>, is_last: bool) {
        self.acknowledged = Some(self.expected);
        self.msn = self.msn.wrapping_add(u32::from(is_last));
        self.advance(1, packet.headers.ack_request);
    }

    #[inline]
    fn handle_send<W: Windows>(
        &mut self,
        packet: &Packet<'_>,
        names: Names,
        parameters: &Parameters,
        receives: &mut ReceiveQueue,
        context: &mut Context<'_, W>,
    ) -> Result<(), Denial> {
        let place = Place::of(packet.headers.opcode);
        if !place.has_length(packet.payload.len(), parameters.mtu.bytes() as usize) {
            return Err(Denial::Refused(NakCode::InvalidRequest));
        }
        match (place.is_first, &self.incoming) {
            (true, Incoming::None) => {
                let receive = receives.take().ok_or(Denial::NotReady)?;
                self.incoming = Incoming::Send { receive, bytes: 0 };
            }
            (false, Incoming::Send { .. }) => {}
            _ => return Err(Denial::Refused(NakCode::InvalidRequest)),
        }
        self.append(packet.payload, names, context)?;
        if place.is_last {
            self.end_of_message(Extras::of(packet.headers.extension), names, context)?;
        }
        self.carried_out(packet, place.is_last);
        Ok(())
    }

    /// Puts a packet's payload behind what is already in the receive.
    #[inline]
    fn append<W>(
        &mut self,
        payload: &[u8],
        names: Names,
        context: &mut Context<'_, W>,
    ) -> Result<(), Denial> {
        let Incoming::Send { receive, bytes } = &mut self.incoming else {
            unreachable!("a SEND is coming in")
        };
        if receive.buffer.write(*bytes, payload).is_ok() {
            // The buffer has a 32-bit length, and the payload is inside.
            *bytes += u32::try_from(payload.len()).unwrap_or(0);
            context.counters.bytes_copied += payload.len() as u64;
            return Ok(());
        }
        if let Incoming::Send { receive, .. } = std::mem::replace(&mut self.incoming, Incoming::None) {
            context.completions.push(failed(names.id, receive, WorkError::Local));
        }
        Err(Denial::Refused(NakCode::InvalidRequest))
    }

    /// The message is whole: the window goes that the peer wants to be gone, then the receive completes.
    #[inline]
    fn end_of_message<W: Windows>(
        &mut self,
        extras: Extras,
        names: Names,
        context: &mut Context<'_, W>,
    ) -> Result<(), Denial> {
        if let Some(key) = extras.invalidate
            && !context.windows.invalidate(key, names.number)
        {
            return Err(Denial::Refused(NakCode::RemoteAccess));
        }
        if let Incoming::Send { receive, bytes } = std::mem::replace(&mut self.incoming, Incoming::None) {
            let message = Message { bytes, invalidated: extras.invalidate, immediate: extras.immediate };
            let outcome = Outcome::Received { result: Ok(message), buffer: receive.buffer };
            context.completions.push(Completion { queue_pair: names.id, id: receive.id, outcome });
        }
        Ok(())
    }

    #[inline]
    fn handle_write<W: Windows>(
        &mut self,
        packet: &Packet<'_>,
        names: Names,
        parameters: &Parameters,
        receives: &mut ReceiveQueue,
        context: &mut Context<'_, W>,
    ) -> Result<(), Denial> {
        let place = Place::of(packet.headers.opcode);
        let invalid = Denial::Refused(NakCode::InvalidRequest);
        if !place.has_length(packet.payload.len(), parameters.mtu.bytes() as usize) {
            return Err(invalid);
        }
        let (key, address, left) = match (packet.headers.extension, &self.incoming) {
            (Extension::Reth(reth) | Extension::RethImmediate(reth, _), Incoming::None) => {
                (RemoteKey(reth.key), reth.address, reth.bytes)
            }
            (_, &Incoming::Write { key, address, left }) if !place.is_first => (key, address, left),
            _ => return Err(invalid),
        };
        let bytes = u32::try_from(packet.payload.len()).unwrap_or(u32::MAX);
        if if place.is_last { left != bytes } else { left <= bytes } {
            return Err(invalid);
        }
        if left > 0 {
            // All that is to come must fit, so that a message is refused before its first byte; and each packet looks again, for
            // the window may have gone meanwhile.
            let window = context.windows.window(key, names.number);
            let place = window.and_then(|window| window.locate(address, left, Rights::WRITE));
            let (segment, offset) = place.ok_or(Denial::Refused(NakCode::RemoteAccess))?;
            let copied = segment.device_write(offset, packet.payload);
            copied.map_err(|_| Denial::Refused(NakCode::RemoteOperation))?;
            context.counters.bytes_copied += u64::from(bytes);
        }
        if let Some(word) = Extras::of(packet.headers.extension).immediate {
            let receive = receives.take().ok_or(Denial::NotReady)?;
            let message = Message { bytes: 0, invalidated: None, immediate: Some(word) };
            let outcome = Outcome::Received { result: Ok(message), buffer: receive.buffer };
            context.completions.push(Completion { queue_pair: names.id, id: receive.id, outcome });
        }
        self.incoming = if place.is_last {
            Incoming::None
        } else {
            Incoming::Write { key, address: address.wrapping_add(u64::from(bytes)), left: left - bytes }
        };
        self.carried_out(packet, place.is_last);
        Ok(())
    }

    /// Notes a READ down; its response is made when packets are sent.
    fn handle_read<W: Windows>(
        &mut self,
        packet: &Packet<'_>,
        names: Names,
        parameters: &Parameters,
        context: &mut Context<'_, W>,
    ) -> Result<(), Denial> {
        let (Extension::Reth(reth), Incoming::None) = (packet.headers.extension, &self.incoming) else {
            return Err(Denial::Refused(NakCode::InvalidRequest));
        };
        if !is_readable(reth, names, context) {
            return Err(Denial::Refused(NakCode::RemoteAccess));
        }
        let packets = self.reads.note(packet.headers.psn, reth, parameters)?;
        self.msn = self.msn.wrapping_add(1);
        if self.answer == Answer::Acknowledge {
            // The response acknowledges all before it.
            self.answer = Answer::None;
        }
        self.advance(packets, false);
        Ok(())
    }
}

/// Whether the peer may read that. Nothing may be read with any key.
fn is_readable<W: Windows>(reth: Reth, names: Names, context: &Context<'_, W>) -> bool {
    let window = context.windows.window(RemoteKey(reth.key), names.number);
    reth.bytes == 0
        || window.and_then(|window| window.locate(reth.address, reth.bytes, Rights::READ)).is_some()
}
