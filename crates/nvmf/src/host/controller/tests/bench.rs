//! A controller made of a script, answering at once, and the owner of a host's controller.

use std::collections::BTreeMap;
use std::time::Duration;

use block::Timestamp;
use nvme_spec::identify::{
    ControllerType, IdentifyController, IdentifyNamespace, LbaFormat, NamespaceList, SglSupport,
};
use nvme_spec::{CommandId, ControllerId, Cqe, Nsid, QueueId, Sqe, Status};

use crate::host::*;

pub(super) const ADMIN: QueueId = QueueId::ADMIN;

/// What the script's controller is like.
pub(super) struct Script {
    pub(super) identify: IdentifyController,
    pub(super) cap: u64,
    pub(super) version: u32,
    /// How often CSTS is read before it says RDY.
    pub(super) looks: u32,
    pub(super) csts: u32,
    /// Dword 0 of a Connect's answer.
    pub(super) connect: u32,
    /// SQHD of an I/O queue's Connect.
    pub(super) head: u16,
    /// Number of Queues, as granted: 0-based halves.
    pub(super) queues: u32,
    pub(super) namespaces: BTreeMap<u32, (u64, u8)>,
    /// Namespaces whose CNS 08h says "not ready".
    pub(super) not_ready: Vec<u32>,
    /// Whether CNS 03h has a CSI descriptor.
    pub(super) csi: bool,
    /// Refusals by opcode and dword 10 (or, for fabrics commands, the type and the property's offset).
    pub(super) refused: Vec<(u8, u32, Status)>,
    pub(super) silent: bool,
}

impl Script {
    pub(super) fn new() -> Self {
        let identify = IdentifyController {
            cntlid: ControllerId(9),
            cntrltype: ControllerType::IO,
            kas: 1,
            mdts: 8,
            maxcmd: 128,
            ioccsz: 516,
            iorcsz: 1,
            oaes: nvme_spec::async_event::AsyncEvents::NAMESPACE_ATTRIBUTE,
            sgls: SglSupport::from_raw(0x0010_0005),
            ..IdentifyController::default()
        };
        Self {
            identify,
            // MQES 127, TO 4 (2 s), CSS NVM, CRMS.CRWMS.
            cap: 0x0800_0020_0400_007f,
            version: 0x0002_0100,
            looks: 0,
            csts: 1,
            connect: 9,
            head: 1,
            queues: 0x0003_0003,
            namespaces: BTreeMap::from([(1, (1000, 9))]),
            not_ready: Vec::new(),
            csi: true,
            refused: Vec::new(),
            silent: false,
        }
    }

    /// The answer to a command; `None` for one that waits.
    fn answer(&mut self, queue: QueueId, sqe: &Sqe) -> Option<(Cqe, Vec<u8>)> {
        let what = what(sqe);
        let cqe = Cqe::new(QueueId(0), 0, sqe.cid(), Status::SUCCESS);
        if let Some((.., status)) = self.refused.iter().find(|(a, b, _)| (*a, *b) == what) {
            return Some((Cqe::new(QueueId(0), 0, sqe.cid(), *status), Vec::new()));
        }
        if self.silent || sqe.opcode() == 0x0c {
            return None;
        }
        Some(match what {
            (0x7f, 0x01) => {
                (cqe.with_dw0(self.connect).with_sqhd(if queue.is_admin() { 0 } else { self.head }), vec![])
            }
            (0x7f, 0x0004) => {
                let (low, high) = (self.cap & 0xffff_ffff, self.cap >> 32);
                (cqe.with_dw0(low as u32).with_dw1(high as u32), vec![])
            }
            (0x7f, 0x0804) => (cqe.with_dw0(self.version), vec![]),
            // CRTO: 8 s.
            (0x7f, 0x6804) => (cqe.with_dw0(16), vec![]),
            (0x7f, 0x1c04) => (cqe.with_dw0(self.look()), vec![]),
            (0x06, _) => (cqe, self.identified(sqe)),
            (0x09, 0x07) => (cqe.with_dw0(self.queues), vec![]),
            (0x02, _) => (cqe, vec![0; 4096]),
            _ => (cqe, vec![]),
        })
    }

    fn look(&mut self) -> u32 {
        if self.looks == 0 {
            return self.csts;
        }
        self.looks -= 1;
        0
    }

    fn identified(&self, sqe: &Sqe) -> Vec<u8> {
        let nsid = sqe.nsid().0;
        match sqe.cdw10() & 0xff {
            0x00 => self.namespaces.get(&nsid).map_or_else(
                || vec![0; 4096],
                |(blocks, shift)| {
                    let mut structure = IdentifyNamespace { nsze: *blocks, ..IdentifyNamespace::default() };
                    structure.lbaf[0] = LbaFormat::new(*shift, 0);
                    structure.to_bytes().to_vec()
                },
            ),
            0x01 => self.identify.to_bytes().to_vec(),
            0x02 => {
                let greater = self.namespaces.keys().filter(|known| **known > nsid).map(|nsid| Nsid(*nsid));
                NamespaceList::encode(greater).to_vec()
            }
            0x03 => {
                // A UUID whose bytes are the NSID, and the NVM command set.
                let mut bytes = vec![3, 16, 0, 0];
                bytes.extend([u8::try_from(nsid).unwrap(); 16]);
                bytes.extend(if self.csi { [4, 1, 0, 0, 0] } else { [0; 5] });
                bytes.resize(4096, 0);
                bytes
            }
            0x08 => {
                let mut bytes = vec![0; 4096];
                bytes[14] = u8::from(!self.not_ready.contains(&nsid));
                bytes
            }
            _ => vec![0; 4096],
        }
    }
}

/// A command's opcode and dword 10; for a fabrics command its type, and the property's offset above.
pub(super) fn what(sqe: &Sqe) -> (u8, u32) {
    if sqe.opcode() != 0x7f {
        return (sqe.opcode(), sqe.cdw10());
    }
    let offset = if matches!(sqe.fctype(), 0 | 4) { sqe.cdw11() } else { 0 };
    (0x7f, offset << 8 | u32::from(sqe.fctype()))
}

/// What was sent.
pub(super) struct Sent {
    pub(super) queue: QueueId,
    pub(super) sqe: Sqe,
    pub(super) data: OutgoingData,
    pub(super) at: Timestamp,
}

pub(super) struct Bench {
    pub(super) host: HostController,
    pub(super) script: Script,
    pub(super) now: Timestamp,
    pub(super) sent: Vec<Sent>,
    pub(super) requests: Vec<crate::wire::rdma::RequestData>,
    pub(super) events: Vec<HostEvent>,
    /// Connections are never made.
    pub(super) unreachable: bool,
}

impl Bench {
    pub(super) fn with(change: impl FnOnce(&mut HostOptions)) -> Self {
        let identity = HostIdentity::of_uuid(uuid::Uuid::from_u128(0x1234));
        let mut options = HostOptions::io(identity, "nqn.2024-05.com.example:s".parse().unwrap());
        options.io_queues = 2;
        options.reconnect.retry_first = true;
        change(&mut options);
        Self {
            host: HostController::new(options).unwrap(),
            script: Script::new(),
            now: Timestamp::from_ns(1_000),
            sent: Vec::new(),
            requests: Vec::new(),
            events: Vec::new(),
            unreachable: false,
        }
    }

    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn live() -> Self {
        let mut bench = Self::new();
        bench.start();
        assert_eq!(bench.host.state(), HostState::Live);
        bench
    }

    pub(super) fn start(&mut self) {
        self.host.start(self.now);
        self.run();
    }

    /// Carries out one action; whether there was one.
    pub(super) fn turn(&mut self) -> bool {
        let Some(action) = self.host.poll_action() else { return false };
        match action {
            HostAction::ConnectQueue { association, request } => {
                self.requests.push(request);
                if !self.unreachable {
                    self.host.handle_queue_connected(association, request.queue, self.now);
                }
            }
            HostAction::Send { association, queue, command } => {
                let (sqe, at) = (command.sqe, self.now);
                self.sent.push(Sent { queue, sqe, data: command.data, at });
                if let Some((cqe, data)) = self.script.answer(queue, &sqe) {
                    self.host.handle_response(association, queue, &cqe, &data, at);
                }
            }
            HostAction::Disconnect { association } => self.host.handle_disconnected(association, self.now),
        }
        true
    }

    /// Carries out actions until there are none.
    pub(super) fn run(&mut self) {
        for _ in 0..10_000 {
            if !self.turn() {
                self.events.extend(std::iter::from_fn(|| self.host.poll_event()));
                return;
            }
        }
        panic!("actions without end");
    }

    /// Goes until the host is in this state, with its actions not carried out.
    pub(super) fn until(state: HostState) -> Self {
        let mut bench = Self::new();
        if state == HostState::Idle {
            return bench;
        }
        bench.host.start(bench.now);
        let association = bench.host.association();
        match state {
            HostState::Live => bench.run(),
            HostState::ShuttingDown => {
                bench.run();
                bench.host.shutdown(bench.now);
            }
            HostState::Disconnecting => bench.host.reset(bench.now),
            HostState::Waiting | HostState::Dead => {
                bench.host.reset(bench.now);
                bench.host.handle_disconnected(association, bench.now);
                if state == HostState::Dead {
                    bench.host.shutdown(bench.now);
                }
            }
            _ => while bench.host.state() != state && bench.turn() {},
        }
        assert_eq!(bench.host.state(), state);
        bench
    }

    /// Lets time pass, with everything that is due.
    pub(super) fn pass(&mut self, duration: Duration) {
        self.run();
        let end = self.now.after(duration);
        for _ in 0..100_000 {
            let next = self.host.next_timeout();
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            self.host.handle_timeout(self.now);
            self.run();
        }
        panic!("timeouts without end");
    }

    /// The commands of this kind that were sent.
    pub(super) fn sent_of(&self, wanted: (u8, u32)) -> Vec<&Sent> {
        self.sent.iter().filter(|sent| what(&sent.sqe) == wanted).collect()
    }

    /// Answers the asynchronous event request that was sent last.
    pub(super) fn notify(&mut self, dw0: u32) {
        let cid = self.sent_of((0x0c, 0)).last().unwrap().sqe.cid();
        self.respond(cid, dw0, Status::SUCCESS);
    }

    pub(super) fn respond(&mut self, cid: CommandId, dw0: u32, status: Status) {
        let cqe = Cqe::new(QueueId(0), 0, cid, status).with_dw0(dw0);
        self.host.handle_response(self.host.association(), ADMIN, &cqe, &[], self.now);
        self.run();
    }

    /// What happened since this was asked last.
    pub(super) fn events(&mut self) -> Vec<HostEvent> {
        self.run();
        std::mem::take(&mut self.events)
    }
}
