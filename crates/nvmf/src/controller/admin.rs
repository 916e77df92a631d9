//! Commands of admin queues.

use nvme_spec::command::{AdminCommand, DataDirection, FABRICS_OPCODE, FabricsType};
use nvme_spec::{CommandId, Sqe, Status, StatusCode};

use super::association::{Controller, Kind};
use super::context::{Context, Domain};
use super::features;
use super::flow::{QueuePhase, Violation};
use super::limits::Limits;
use super::transfer::{DataPointer, KeyedMemory, Transfer};
use crate::wire::{CommandCapsule, PropertyGet, PropertySet, ResponseCapsule};

/// An answer, and the data that goes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Data to write to the host's memory, whose length is the memory's.
    pub data: Option<(KeyedMemory, Vec<u8>)>,
    /// The response; after the data, on the same queue pair.
    pub response: ResponseCapsule,
}

/// What to do with an admin command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAction {
    /// Answer.
    Respond(Reply),
    /// Read the host's memory, then `Target::resume_admin`.
    Fetch(KeyedMemory),
    /// Nothing: an asynchronous event request, which `Event::Response` answers some day.
    Hold,
    /// End the connection.
    Fatal(Violation),
}

/// What a command that succeeded returns.
#[derive(Debug, Default)]
pub(super) struct Answer {
    result: u64,
    data: Option<Vec<u8>>,
}

impl Answer {
    pub(super) fn dw0(dw0: u32) -> Self {
        Self { result: u64::from(dw0), data: None }
    }

    pub(super) fn data(data: Vec<u8>) -> Self {
        Self { result: 0, data: Some(data) }
    }
}

/// What became of a command.
enum Done {
    Answered(Answer),
    Held,
    /// The daemon has to close the controller's I/O queues as well.
    CloseIoQueues,
}

/// A command that is understood.
enum Parsed {
    Fabrics(FabricsCommand),
    Admin(AdminCommand),
}

enum FabricsCommand {
    Get(PropertyGet),
    Set(PropertySet),
}

/// Abort's dword 0: the command was not aborted.
const NOT_ABORTED: u32 = 1;

const fn refuse<T>(code: StatusCode) -> Result<T, Status> {
    Err(Status::permanent(code))
}

fn parse(sqe: &Sqe) -> Result<Parsed, Status> {
    if sqe.opcode() != FABRICS_OPCODE {
        return AdminCommand::try_from(sqe).map(Parsed::Admin);
    }
    let invalid_field = |_| Status::permanent(StatusCode::INVALID_FIELD);
    match FabricsType::try_from(sqe.fctype())? {
        FabricsType::PropertyGet => {
            PropertyGet::from_sqe(sqe).map(FabricsCommand::Get).map_err(invalid_field)
        }
        FabricsType::PropertySet => {
            PropertySet::from_sqe(sqe).map(FabricsCommand::Set).map_err(invalid_field)
        }
        // Once is enough (Base, Connect Command).
        FabricsType::Connect => refuse(StatusCode::COMMAND_SEQUENCE_ERROR),
        // Disconnect is for I/O queues (Base, Disconnect Command).
        FabricsType::Disconnect => refuse(StatusCode::FABRICS_INVALID_QUEUE_TYPE),
        FabricsType::AuthenticationSend | FabricsType::AuthenticationReceive => {
            refuse(StatusCode::INVALID_OPCODE)
        }
    }
    .map(Parsed::Fabrics)
}

/// How much data a command has, and which way it goes.
fn data_of(command: &Parsed, limits: &Limits) -> Result<(DataDirection, u64), Status> {
    match command {
        Parsed::Admin(AdminCommand::Identify(_)) => {
            Ok((DataDirection::ControllerToHost, nvme_spec::identify::IDENTIFY_BYTES as u64))
        }
        Parsed::Admin(AdminCommand::GetLogPage(command)) => match command.length.bytes() {
            bytes if bytes <= u64::from(limits.transfer_bytes_max) => {
                Ok((DataDirection::ControllerToHost, bytes))
            }
            _ => refuse(StatusCode::INVALID_FIELD),
        },
        Parsed::Admin(AdminCommand::GetFeatures(command))
            if command.select != nvme_spec::command::Select::Supported =>
        {
            Ok(features::data_of(command.fid, false))
        }
        Parsed::Admin(AdminCommand::SetFeatures(command)) => Ok(features::data_of(command.fid, true)),
        _ => Ok((DataDirection::None, 0)),
    }
}

impl Controller {
    /// Takes a command; `Some` if the daemon has to close I/O queues too.
    pub(super) fn handle(
        &mut self,
        context: Context<'_>,
        capsule: &CommandCapsule<'_>,
    ) -> (AdminAction, bool) {
        if let Err(violation) = self.flow.take() {
            return (AdminAction::Fatal(violation), false);
        }
        self.keep_alive.restart(context.now);
        self.carry_out(context, &capsule.sqe, capsule.data, None)
    }

    /// Goes on with a command whose data has been read.
    pub(super) fn resume(&mut self, context: Context<'_>, sqe: &Sqe, data: &[u8]) -> (AdminAction, bool) {
        self.carry_out(context, sqe, &[], Some(data))
    }

    fn carry_out(
        &mut self,
        context: Context<'_>,
        sqe: &Sqe,
        in_capsule: &[u8],
        fetched: Option<&[u8]>,
    ) -> (AdminAction, bool) {
        let pointer = DataPointer::read(sqe);
        let invalidate = pointer.ok().and_then(|pointer| pointer.invalidate());
        let respond = |controller: &mut Self, result: Result<Answer, Status>, transfer| {
            AdminAction::Respond(controller.reply(sqe.cid(), result, transfer, invalidate))
        };
        let (command, transfer) = match self.prepare(context.domain, sqe, pointer, in_capsule.len()) {
            Ok(prepared) => prepared,
            Err(status) => return (respond(self, Err(status), Transfer::None), false),
        };
        let data = match (transfer, fetched) {
            (Transfer::FromHost(memory), None) => return (AdminAction::Fetch(memory), false),
            (Transfer::FromHost(_), Some(data)) => data,
            (Transfer::InCapsule { offset, bytes }, _) => &in_capsule[offset..offset + bytes],
            _ => &[],
        };
        match self.execute(context, sqe.cid(), &command, data) {
            Ok(Done::Held) => (AdminAction::Hold, false),
            Ok(Done::CloseIoQueues) => (respond(self, Ok(Answer::default()), transfer), true),
            Ok(Done::Answered(answer)) => (respond(self, Ok(answer), transfer), false),
            Err(status) => (respond(self, Err(status), transfer), false),
        }
    }

    /// Everything about a command that can be wrong before it is carried out.
    fn prepare(
        &self,
        domain: &Domain,
        sqe: &Sqe,
        pointer: Result<DataPointer, Status>,
        in_capsule: usize,
    ) -> Result<(Parsed, Transfer), Status> {
        if self.flow.phase() == QueuePhase::Authenticating {
            return refuse(StatusCode::FABRICS_AUTHENTICATION_REQUIRED);
        }
        let command = parse(sqe)?;
        if matches!(command, Parsed::Admin(_)) && !self.registers.is_ready() {
            // Not for ever: the controller may be enabled (Base, Fabrics Controller Initialization).
            return Err(Status::new(StatusCode::COMMAND_SEQUENCE_ERROR));
        }
        if sqe.fuse() != Some(nvme_spec::sqe::Fuse::Normal) {
            return refuse(StatusCode::INVALID_FIELD);
        }
        let (direction, bytes) = data_of(&command, &domain.limits)?;
        let transfer = pointer?.resolve(direction, bytes, in_capsule)?;
        Ok((command, transfer))
    }

    fn execute(
        &mut self,
        context: Context<'_>,
        cid: CommandId,
        command: &Parsed,
        data: &[u8],
    ) -> Result<Done, Status> {
        let command = match command {
            Parsed::Fabrics(FabricsCommand::Get(get)) => {
                let result = self.registers.get(get.offset)?;
                return Ok(Done::Answered(Answer { result, data: None }));
            }
            Parsed::Fabrics(FabricsCommand::Set(set)) => {
                let effect = self.registers.set(*set)?;
                let closes = self.apply(effect, &context.domain.limits);
                return Ok(if closes { Done::CloseIoQueues } else { Done::Answered(Answer::default()) });
            }
            Parsed::Admin(command) => command,
        };
        Ok(Done::Answered(match command {
            AdminCommand::Identify(command) => self.identify(context.domain, command)?,
            AdminCommand::GetLogPage(command) => self.log_page(context.domain, command)?,
            AdminCommand::GetFeatures(command) => self.get_feature(command)?,
            AdminCommand::SetFeatures(command) => self.set_feature(context.now, command, data)?,
            AdminCommand::KeepAlive => Answer::default(),
            AdminCommand::AsyncEventRequest => {
                self.events.hold(cid)?;
                return Ok(Done::Held);
            }
            // An abort is a best effort (Base, Abort command): commands that are being carried out run to their end.
            AdminCommand::Abort { .. } if self.kind == Kind::Io => Answer::dw0(NOT_ABORTED),
            AdminCommand::Abort { .. }
            | AdminCommand::CreateIoSq(_)
            | AdminCommand::CreateIoCq(_)
            | AdminCommand::DeleteIoSq(_)
            | AdminCommand::DeleteIoCq(_)
            | AdminCommand::DoorbellBufferConfig { .. } => return refuse(StatusCode::INVALID_OPCODE),
        }))
    }

    fn reply(
        &mut self,
        cid: CommandId,
        result: Result<Answer, Status>,
        transfer: Transfer,
        invalidate: Option<u32>,
    ) -> Reply {
        let (answer, status) = match result {
            Ok(answer) => (answer, Status::SUCCESS),
            Err(status) => (Answer::default(), status),
        };
        let data = match (answer.data, transfer) {
            (Some(data), Transfer::ToHost(memory)) => Some((memory, data)),
            _ => None,
        };
        let (dw0, dw1) = halves(answer.result);
        let cqe = self.flow.complete(cid, status).with_dw0(dw0).with_dw1(dw1);
        Reply { data, response: ResponseCapsule { cqe, invalidate } }
    }

    /// An asynchronous event request that can be answered now.
    pub(super) fn poll_notice(&mut self) -> Option<ResponseCapsule> {
        let (cid, dw0) = self.events.poll()?;
        let cqe = self.flow.complete(cid, Status::SUCCESS).with_dw0(dw0);
        Some(ResponseCapsule { cqe, invalidate: None })
    }
}

/// Dwords 0 and 1 of a result of 64 bits.
fn halves(result: u64) -> (u32, u32) {
    let bytes = result.to_le_bytes();
    let dword = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (dword(0), dword(4))
}
