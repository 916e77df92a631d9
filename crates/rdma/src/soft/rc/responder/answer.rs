//! Answers: READ responses in order, and behind them one acknowledgement for all that came in.

use super::reads::Answering;
use super::{Answer, Names, Responder};
use crate::soft::link::PayloadRef;
use crate::soft::rc::Turn;
use crate::soft::rc::context::{Context, Outbox, Windows};
use crate::soft::rc::failure::Failure;
use crate::soft::rc::parameters::Parameters;
use crate::soft::wire::{Aeth, CREDITS_UNLIMITED, Extension, Headers, NakCode, Opcode, Psn, Syndrome};

impl Responder {
    /// Sends what there is to answer. Failed means: the peer was told that it is refused, which was the last word.
    #[inline]
    pub(in crate::soft::rc) fn transmit<W: Windows>(
        &mut self,
        names: Names,
        parameters: &Parameters,
        context: &mut Context<'_, W>,
        outbox: &mut impl Outbox,
    ) -> Turn {
        match self.reads.answer(self.msn, names, parameters, context.windows, outbox) {
            Answering::Done => {}
            Answering::Full => return Turn::Again,
            Answering::Gone(psn) => {
                self.reads.clear();
                self.refuse(NakCode::RemoteAccess, psn, context);
            }
        }
        if self.answer == Answer::None {
            return Turn::Idle;
        }
        if !outbox.has_room() {
            return Turn::Again;
        }
        self.say(parameters, context, outbox)
    }

    fn say<W>(
        &mut self,
        parameters: &Parameters,
        context: &mut Context<'_, W>,
        outbox: &mut impl Outbox,
    ) -> Turn {
        let (syndrome, psn) = self.words(parameters);
        let headers = Headers {
            opcode: Opcode::Acknowledge,
            destination: parameters.peer,
            psn,
            ack_request: false,
            solicited: false,
            extension: Extension::Aeth(Aeth { syndrome, msn: self.msn }),
        };
        outbox.push(&headers, PayloadRef::Empty);
        self.answer = Answer::None;
        context.counters.naks_sent += u64::from(!matches!(syndrome, Syndrome::Ack { .. }));
        match (self.refusal, syndrome) {
            (Some(refusal), Syndrome::Nak(_)) => Turn::Failed(Failure::Refused(refusal.code)),
            _ => Turn::Idle,
        }
    }

    /// The answer, and the packet that it is about.
    fn words(&self, parameters: &Parameters) -> (Syndrome, Psn) {
        let ack = Syndrome::Ack { credits: CREDITS_UNLIMITED };
        match (self.answer, self.refusal) {
            (Answer::Missing, _) => (Syndrome::Nak(NakCode::SequenceError), self.expected),
            (Answer::NotReady, _) => {
                (Syndrome::ReceiverNotReady { timer: parameters.rnr_timer }, self.expected)
            }
            (Answer::Refuse, Some(refusal)) => (Syndrome::Nak(refusal.code), refusal.psn),
            _ => (ack, self.acknowledged.unwrap_or(self.expected)),
        }
    }
}
