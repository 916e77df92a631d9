//! The target as a Linux host meets it; bytes of commands and answers are written down, not made by the code under test.

mod admin;
mod connecting;
mod discovery;
mod life;

use std::net::SocketAddr;

use block::{Abilities, BlockSize, Geometry, Limits as BlockLimits, Timestamp, WriteCache};
use nvme_spec::{ControllerId, Nsid, QueueId, Sqe, Status};
use uuid::Uuid;

use super::testing::{HOST, SUBSYSTEM, connect_data, connect_entry, entry, keyed};
use super::*;
use crate::wire::rdma::RequestData;
use crate::wire::{CommandCapsule, Nqn};

pub(super) const CAP: (u32, u8) = (0x00, 1);
pub(super) const CC: u32 = 0x14;
pub(super) const CSTS: u32 = 0x1c;
pub(super) const ENABLED: u32 = 0x0046_0001;
pub(super) const DISCOVERY: &str = "nqn.2014-08.org.nvmexpress.discovery";

pub(super) fn nqn(name: &str) -> Nqn {
    name.parse().unwrap()
}

pub(super) fn info(nsid: u32) -> NamespaceInfo {
    NamespaceInfo {
        nsid: Nsid(nsid),
        geometry: Geometry {
            block_size: BlockSize::B4096,
            blocks: 1000,
            limits: BlockLimits::NONE,
            atomic_blocks: 1,
            write_cache: WriteCache::Volatile,
        },
        abilities: Abilities::WRITE
            | Abilities::WRITE_ZEROES
            | Abilities::DISCARD
            | Abilities::DISCARD_ZEROES
            | Abilities::COMPARE
            | Abilities::VERIFY,
        metadata_bytes: 0,
        uuid: Some(Uuid::from_u128(u128::from(nsid))),
        nguid: None,
        eui64: None,
    }
}

/// A target with one subsystem and namespace 1.
pub(super) struct Rig {
    pub(super) target: Target,
    pub(super) now: Timestamp,
}

impl Rig {
    pub(super) fn new() -> Self {
        let mut target = Target::new(Limits::default()).unwrap();
        let mut options = SubsystemOptions::new(nqn(SUBSYSTEM), "SN0001");
        options.hosts.insert(nqn(HOST));
        options.controller_ids = 0x0102..=0x0105;
        target.add_subsystem(options).unwrap();
        target.add_namespace(&nqn(SUBSYSTEM), info(1)).unwrap();
        Self { target, now: Timestamp::from_ns(1_000_000) }
    }

    pub(super) fn arrival(queue: u16, controller: u16) -> Arrival {
        Arrival {
            local: "192.0.2.1:4420".parse::<SocketAddr>().unwrap(),
            peer: "192.0.2.9:40000".parse().unwrap(),
            request: RequestData {
                queue: QueueId(queue),
                host_receives: 32,
                host_sends: 31,
                controller: ControllerId(controller),
            },
        }
    }

    pub(super) fn connect_with(&mut self, bytes: [u8; 64], data: &[u8], arrival: &Arrival) -> Connected {
        self.target.connect(self.now, &Sqe::from_bytes(&bytes), data, arrival)
    }

    /// An admin queue, KATO 5 s.
    pub(super) fn connect_to(&mut self, subsystem: &str) -> ControllerKey {
        let data = connect_data(0xffff, subsystem, HOST);
        match self.connect_with(connect_entry(0, 31, 0, 5000), &data, &Self::arrival(0, 0)) {
            Connected::Admin { controller, response } => {
                assert_eq!(response.cqe.status(), Status::SUCCESS);
                controller
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn enabled(&mut self) -> ControllerKey {
        let key = self.connect_to(SUBSYSTEM);
        assert_eq!(self.set(key, CC, ENABLED), Status::SUCCESS);
        key
    }

    /// I/O queue 1 of the first controller.
    pub(super) fn io_queue(&mut self) -> (ControllerKey, Box<IoQueue>) {
        let key = self.enabled();
        let data = connect_data(0x0102, SUBSYSTEM, HOST);
        match self.connect_with(connect_entry(1, 31, 0, 0), &data, &Self::arrival(1, 0x0102)) {
            Connected::Io { queue, .. } => (key, queue),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn act(&mut self, key: ControllerKey, sqe: Sqe) -> AdminAction {
        self.target.handle_admin(self.now, key, &CommandCapsule { sqe, data: &[] })
    }

    pub(super) fn admin(&mut self, key: ControllerKey, sqe: Sqe) -> Reply {
        match self.act(key, sqe) {
            AdminAction::Respond(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn set(&mut self, key: ControllerKey, offset: u32, value: u32) -> Status {
        let sqe = entry(0x7f, 0x00, [0; 16], [0, offset, value, 0, 0, 0]);
        self.admin(key, with_null_sgl(sqe)).response.cqe.status()
    }

    pub(super) fn get(&mut self, key: ControllerKey, offset: u32, attributes: u8) -> (u64, Status) {
        let sqe = entry(0x7f, 0x04, [0; 16], [attributes.into(), offset, 0, 0, 0, 0]);
        let cqe = self.admin(key, with_null_sgl(sqe)).response.cqe;
        (cqe.result64(), cqe.status())
    }

    pub(super) fn csts(&mut self, key: ControllerKey) -> u64 {
        self.get(key, CSTS, 0).0
    }

    /// Identify, 4096 bytes or a status.
    pub(super) fn identify(&mut self, key: ControllerKey, cns: u32, nsid: u32) -> Result<Vec<u8>, Status> {
        data(self.admin(key, entry(0x06, nsid, keyed(4096), [cns, 0, 0, 0, 0, 0])))
    }

    /// Get Log Page: `bytes` from `offset` on.
    pub(super) fn log(
        &mut self,
        key: ControllerKey,
        page: u32,
        bytes: u32,
        offset: u32,
    ) -> Result<Vec<u8>, Status> {
        let numd = bytes / 4 - 1;
        let dwords = [page | numd << 16, numd >> 16, offset, 0, 0, 0];
        data(self.admin(key, entry(0x02, 0xffff_ffff, keyed(bytes), dwords)))
    }

    pub(super) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.target.poll_event()).collect()
    }
}

/// As Linux marks "no data": a keyed descriptor of length 0.
pub(super) fn with_null_sgl(sqe: Sqe) -> Sqe {
    let mut bytes = sqe.to_bytes();
    bytes[39] = 0x40;
    Sqe::from_bytes(&bytes)
}

pub(super) fn no_data(opcode: u8, dwords: [u32; 6]) -> Sqe {
    with_null_sgl(entry(opcode, 0, [0; 16], dwords))
}

pub(super) fn data(reply: Reply) -> Result<Vec<u8>, Status> {
    match (reply.response.cqe.status(), reply.data) {
        (Status::SUCCESS, Some((memory, data))) => {
            assert_eq!(memory.bytes as usize, data.len());
            Ok(data)
        }
        (status, None) => Err(status),
        other => panic!("{other:?}"),
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}
