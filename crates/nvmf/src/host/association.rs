//! Connections and Connects: from an attempt to a live association.

use block::Timestamp;
use nvme_spec::{ControllerId, Cqe, QueueId};

use super::controller::{HostController, HostState};
use super::event::{HostAction, HostEvent};
use super::failure::Failure;
use super::info::IoQueueParameters;
use super::link::{CONNECT_CID, IoProgress, IoQueueState, Link};
use super::options::{ADMIN_ENTRIES, ControllerKind};
use super::outgoing::{Outgoing, OutgoingData};
use super::setup::connect_answer;
use crate::wire::rdma::RequestData;
use crate::wire::{CONNECT_DATA_BYTES, ConnectAttributes, ConnectCommand};

impl HostController {
    pub(super) fn attempt(&mut self, now: Timestamp) {
        self.enter(HostState::ConnectingAdmin);
        self.association.0 += 1;
        self.link = Link::new();
        self.link.open_due = now.after(self.options.connect_timeout);
        // 32 receives and 31, which counts from 0: as Linux asks, so that every controller has them.
        let request = RequestData {
            queue: QueueId::ADMIN,
            host_receives: ADMIN_ENTRIES,
            host_sends: ADMIN_ENTRIES - 1,
            controller: ControllerId(0),
        };
        self.actions.push_back(HostAction::ConnectQueue { association: self.association, request });
    }

    /// Connects all I/O queues at once.
    pub(super) fn connect_io(&mut self, now: Timestamp) {
        self.enter(HostState::ConnectingIo);
        let due = now.after(self.options.connect_timeout);
        for number in 1..=self.link.queue_count {
            let Some(info) = &self.link.info else { return };
            let queue = QueueId(number);
            let parameters = IoQueueParameters::new(self.association, queue, info, &self.options);
            self.link.io.push(IoQueueState { parameters, progress: IoProgress::Opening, due });
            let request = RequestData {
                queue,
                host_receives: parameters.entries,
                host_sends: parameters.entries - 1,
                controller: self.link.controller,
            };
            self.actions.push_back(HostAction::ConnectQueue { association: self.association, request });
        }
    }

    pub(super) fn connect_io_queue(&mut self, queue: QueueId, now: Timestamp) {
        let due = now.after(self.options.admin_timeout);
        let data = self.connect_data(self.link.controller).to_bytes().to_vec();
        let without_flow_control = self.options.without_flow_control;
        let Some(state) = self.link.io_queue(queue).filter(|state| state.progress == IoProgress::Opening)
        else {
            return;
        };
        (state.progress, state.due) = (IoProgress::Connecting, due);
        let command = ConnectCommand {
            record_format: 0,
            queue,
            sq_size: state.parameters.entries - 1,
            attributes: ConnectAttributes { without_flow_control, ..ConnectAttributes::default() },
            keep_alive_ms: 0,
        };
        let in_capsule =
            usize::try_from(state.parameters.in_capsule_bytes).unwrap_or(0) >= CONNECT_DATA_BYTES;
        let data = if in_capsule { OutgoingData::InCapsule(data) } else { OutgoingData::ToController(data) };
        let command = Outgoing::new(command.to_sqe(CONNECT_CID), data);
        self.actions.push_back(HostAction::Send { association: self.association, queue, command });
    }

    pub(super) fn io_connect_answered(&mut self, queue: QueueId, cqe: &Cqe, now: Timestamp) {
        let controller = self.link.controller;
        let answer = connect_answer(queue, cqe);
        let state = self.link.io_queue(queue).filter(|state| state.progress == IoProgress::Connecting);
        match (state, answer) {
            (Some(state), Ok(id)) if id == controller && cqe.cid() == CONNECT_CID => state.connected(cqe),
            (Some(_), Err(failure)) => return self.end(failure, now),
            _ => return self.end(Failure::Protocol(queue), now),
        }
        if self.link.io.iter().all(|state| state.progress == IoProgress::Connected) {
            self.live(now);
        }
    }

    /// There is an association.
    pub(super) fn live(&mut self, now: Timestamp) {
        self.enter(HostState::Live);
        self.attempts.succeed();
        self.incarnation.0 += 1;
        self.events.push_back(HostEvent::Live {
            association: self.association,
            incarnation: self.incarnation,
            queues: self.link.io.iter().map(|state| state.parameters).collect(),
        });
        let changes = std::mem::take(&mut self.link.changes);
        if !changes.is_empty() {
            self.events.push_back(HostEvent::NamespacesChanged(changes));
        }
        if self.link.scan_again {
            self.begin_scan(now);
        }
        if self.options.kind == ControllerKind::Discovery {
            self.discover(now);
        }
    }
}
