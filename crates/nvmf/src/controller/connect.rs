//! Connect: who is let in, and as what (Base, Connect Command).

use std::net::SocketAddr;

use block::Timestamp;
use nvme_spec::{ControllerId, Sqe, Status, StatusCode};

use super::association::{Controller, ControllerKey, Kind, first_phase};
use super::flow::Flow;
use super::io::{IoQueue, IoQueueParts};
use super::limits::Limits;
use super::pending::early_response;
use super::registers::ControllerPhase;
use super::target::Target;
use super::transfer::DataPointer;
use crate::wire::rdma::RequestData;
use crate::wire::{
    AuthenticationRequirement, ConnectCommand, ConnectData, ConnectDataError, ConnectField, ConnectResponse,
    ResponseCapsule,
};

/// Where a connection came from, and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Our address, as the host knows it.
    pub local: SocketAddr,
    /// The host's.
    pub peer: SocketAddr,
    /// The connection's private data.
    pub request: RequestData,
}

/// What became of a Connect.
#[derive(Debug)]
pub enum Connected {
    /// The connection is the admin queue of a new controller.
    Admin {
        /// Which.
        controller: ControllerKey,
        /// The answer.
        response: ResponseCapsule,
    },
    /// It is an I/O queue of a controller that is there.
    Io {
        /// The queue, for the thread that has the connection.
        queue: Box<IoQueue>,
        /// The answer.
        response: ResponseCapsule,
    },
    /// It is refused; the host may try again on this connection.
    Refused(ResponseCapsule),
    /// The same host's former association is being drained: ask again after an `Event::Gone`, and answer with
    /// [`Target::busy`] after `CONNECT_HOLD_MAX`.
    Busy,
}

/// Why a Connect is refused.
enum Refusal {
    /// Connect Invalid Parameters, with the place of what is wrong.
    Field(ConnectField, Finality),
    /// Another status.
    Status(Status),
    /// The former association is in the way.
    Busy,
}

/// Whether the same Connect can ever succeed: with Do Not Retry a host gives up for good.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finality {
    Final,
    Passing,
}

const fn final_field(field: ConnectField) -> Refusal {
    Refusal::Field(field, Finality::Final)
}

/// Checks that hold for every queue.
fn check_command(command: &ConnectCommand, arrival: &Arrival, limits: &Limits) -> Result<(), Refusal> {
    if command.record_format != 0 {
        return Err(Refusal::Status(Status::permanent(StatusCode::FABRICS_INCOMPATIBLE_FORMAT)));
    }
    if command.queue != arrival.request.queue || command.queue.0 > limits.io_queues {
        return Err(final_field(ConnectField::QueueId));
    }
    let entries_max =
        if command.queue.is_admin() { limits.admin_queue_entries } else { limits.io_queue_entries };
    // As many receives were posted as the private data asked for.
    let fits = command.sq_size < entries_max && command.sq_size <= arrival.request.host_sends;
    if command.sq_size == 0 || !fits {
        return Err(final_field(ConnectField::SubmissionQueueSize));
    }
    Ok(())
}

fn read_data(data: &[u8]) -> Result<ConnectData, Refusal> {
    ConnectData::read(data).map_err(|error| match error {
        ConnectDataError::Length(_) => {
            Refusal::Status(Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID))
        }
        ConnectDataError::Name { field, .. } => final_field(field),
    })
}

impl Target {
    /// Answers the Connect of a `PendingQueue`: `data` are its 1024 bytes, from the capsule or from the host's memory.
    pub fn connect(&mut self, now: Timestamp, sqe: &Sqe, data: &[u8], arrival: &Arrival) -> Connected {
        let invalidate = DataPointer::read(sqe).ok().and_then(|pointer| pointer.invalidate());
        let command = ConnectCommand::from_sqe(sqe);
        let checked = check_command(&command, arrival, &self.domain.limits).and_then(|()| read_data(data));
        let connected = checked.and_then(|data| {
            if command.queue.is_admin() {
                self.connect_admin(now, &command, data, arrival)
            } else {
                self.connect_io(&command, &data)
            }
        });
        match connected {
            Ok(Outcome::Admin(controller)) => {
                let head = self.controllers[&controller].flow.head();
                let response = self.accepted(controller, sqe, head, invalidate);
                Connected::Admin { controller, response }
            }
            Ok(Outcome::Io(queue)) => {
                let response = self.accepted(queue.controller(), sqe, queue.head(), invalidate);
                Connected::Io { queue, response }
            }
            Err(Refusal::Busy) => Connected::Busy,
            Err(Refusal::Status(status)) => Connected::Refused(early_response(sqe.cid(), status, invalidate)),
            Err(Refusal::Field(field, finality)) => {
                let status = Status::new(StatusCode::FABRICS_CONNECT_INVALID_PARAMETERS)
                    .with_dnr(finality == Finality::Final);
                let mut response = early_response(sqe.cid(), status, invalidate);
                response.cqe = response.cqe.with_dw0(ConnectResponse::Invalid(Some(field)).dw0());
                Connected::Refused(response)
            }
        }
    }

    /// The answer to a Connect that waited too long: Controller Busy, which a host tries again.
    #[must_use]
    pub fn busy(sqe: &Sqe) -> ResponseCapsule {
        let invalidate = DataPointer::read(sqe).ok().and_then(|pointer| pointer.invalidate());
        early_response(sqe.cid(), Status::new(StatusCode::FABRICS_CONTROLLER_BUSY), invalidate)
    }

    fn accepted(&self, key: ControllerKey, sqe: &Sqe, head: u16, invalidate: Option<u32>) -> ResponseCapsule {
        let controller = &self.controllers[&key];
        let (id, authentication) = (controller.id, controller.authentication);
        let mut response = early_response(sqe.cid(), Status::SUCCESS, invalidate);
        let dw0 = ConnectResponse::Connected { controller: id, authentication }.dw0();
        response.cqe = response.cqe.with_dw0(dw0).with_sqhd(head);
        response
    }

    fn connect_admin(
        &mut self,
        now: Timestamp,
        command: &ConnectCommand,
        data: ConnectData,
        arrival: &Arrival,
    ) -> Result<Outcome, Refusal> {
        if data.controller != ControllerId::DYNAMIC {
            return Err(final_field(ConnectField::ControllerId));
        }
        let authentication = self.admission(&data)?;
        if self.controllers.values().any(|controller| controller.is_in_the_way_of(&data)) {
            return Err(Refusal::Busy);
        }
        let busy = Refusal::Status(Status::new(StatusCode::FABRICS_CONTROLLER_BUSY));
        let Some(id) = self.free_id(&data) else { return Err(busy) };
        let limits = self.domain.limits;
        let controller = Controller::new(now, &limits, id, (command, data), *arrival, authentication);
        Ok(Outcome::Admin(self.add_controller(controller)))
    }

    fn connect_io(&mut self, command: &ConnectCommand, data: &ConnectData) -> Result<Outcome, Refusal> {
        // CNTLID of the private data is not compared: hosts of before it was there leave it 0.
        // The controller may have been dropped since the host learned its name, and the host will connect anew: not final.
        let passing = |field| Refusal::Field(field, Finality::Passing);
        let is_meant = |controller: &Controller| {
            controller.id == data.controller && controller.subsystem == data.subsystem
        };
        let found = self.controllers.iter_mut().find(|(_, controller)| is_meant(controller));
        let (key, controller) = found.ok_or(passing(ConnectField::ControllerId))?;
        if controller.host != data.host {
            return Err(passing(ConnectField::HostNqn));
        }
        if controller.host_id != data.host_id {
            return Err(passing(ConnectField::HostId));
        }
        let sequence = Refusal::Status(Status::new(StatusCode::COMMAND_SEQUENCE_ERROR));
        let is_ready = controller.registers.phase() == ControllerPhase::Ready && !controller.is_draining();
        if controller.kind == Kind::Discovery {
            return Err(final_field(ConnectField::QueueId));
        }
        if !is_ready || !controller.io_queues.insert(command.queue) {
            return Err(sequence);
        }
        let without_flow_control = command.attributes.without_flow_control;
        let phase = first_phase(controller.authentication);
        Ok(Outcome::Io(Box::new(IoQueue::new(IoQueueParts {
            controller: *key,
            id: command.queue,
            flow: Flow::new(command.sq_size, without_flow_control, phase),
            gate: controller.gate.clone(),
            namespaces: self.domain.namespaces(&controller.subsystem),
            transfer_bytes_max: self.domain.limits.transfer_bytes_max,
        }))))
    }

    /// Whether this host may attach to that subsystem.
    fn admission(&self, data: &ConnectData) -> Result<AuthenticationRequirement, Refusal> {
        if data.subsystem.is_discovery() {
            return Ok(AuthenticationRequirement::default());
        }
        let subsystem = self.domain.subsystems.get(&data.subsystem);
        let subsystem = subsystem.ok_or(final_field(ConnectField::SubsystemNqn))?;
        if subsystem.admits(&data.host) {
            Ok(subsystem.options.authentication)
        } else {
            Err(Refusal::Status(Status::permanent(StatusCode::FABRICS_CONNECT_INVALID_HOST)))
        }
    }
}

enum Outcome {
    Admin(ControllerKey),
    Io(Box<IoQueue>),
}

impl Controller {
    /// Whether it is a former association of the same host that may still write.
    fn is_in_the_way_of(&self, data: &ConnectData) -> bool {
        self.is_draining()
            && !self.io_queues.is_empty()
            && (&self.subsystem, &self.host, self.host_id) == (&data.subsystem, &data.host, data.host_id)
    }
}
