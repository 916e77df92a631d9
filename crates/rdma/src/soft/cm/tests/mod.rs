#![allow(clippy::cast_possible_truncation)]

mod answers;
mod connections;
mod hostile;
mod kernel;
mod simulation;
mod table;

use std::net::{IpAddr, SocketAddr};

use block::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::soft::wire::mad::{Additional, Attribute, MadBytes, RejectReason, Rejection};
use crate::{ConnectionParameters, PrivateData};

pub(super) const PORT: u16 = 4420;
pub(super) const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
pub(super) const THEIRS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

pub(super) fn qpn(number: u32) -> Qpn {
    Qpn::try_from(number).unwrap()
}

pub(super) fn local(number: u32) -> LocalQueuePair {
    LocalQueuePair { qpn: qpn(number), shared_receives: false }
}

pub(super) fn at_ms(milliseconds: u64) -> Timestamp {
    Timestamp::from_ns(milliseconds * 1_000_000)
}

pub(super) fn parameters(private_data: &[u8]) -> ConnectionParameters {
    ConnectionParameters { private_data: PrivateData::new(private_data).unwrap(), ..Default::default() }
}

pub(super) fn options(address: IpAddr) -> CmOptions {
    let IpAddr::V4(v4) = address else { panic!("IPv4") };
    let guid = Guid(0x0011_2233_4455_6600 | u64::from(v4.octets()[3]));
    CmOptions { address, guid, shard: Shard::FIRST, mtu: PathMtu::Bytes1024, connections_max: 16 }
}

pub(super) fn manager(options: CmOptions) -> ConnectionManager {
    ConnectionManager::new(options, StdRng::seed_from_u64(options.guid.0 + u64::from(options.shard.number())))
}

/// Two managers that hear each other at once.
pub(super) struct Pair {
    pub(super) ours: ConnectionManager,
    pub(super) theirs: ConnectionManager,
}

impl Pair {
    /// We listen.
    pub(super) fn new() -> Self {
        let mut ours = manager(options(OURS));
        ours.listen(PORT, 8).unwrap();
        Self { ours, theirs: manager(options(THEIRS)) }
    }

    /// They ask for a connection of their queue pair 5.
    pub(super) fn asked(parameters: &ConnectionParameters) -> (Self, IncomingRequest) {
        let mut pair = Self::new();
        let to = SocketAddr::new(OURS, PORT);
        pair.theirs.connect(at_ms(0), to, local(5), parameters).unwrap();
        pair.deliver(at_ms(0));
        let Some(CmEvent::Requested(request)) = pair.ours.poll_event() else { panic!("not asked") };
        (pair, request)
    }

    /// Our queue pair 7 is connected with their queue pair 5; nobody was told yet.
    pub(super) fn connected() -> Self {
        let (mut pair, request) = Self::asked(&parameters(b"hello"));
        pair.ours.accept(at_ms(0), request, local(7), &parameters(b"welcome")).unwrap();
        pair.deliver(at_ms(0));
        pair
    }

    /// Everything sent arrives.
    pub(super) fn deliver(&mut self, now: Timestamp) {
        loop {
            let (ours, theirs) = (sent(&mut self.ours), sent(&mut self.theirs));
            if ours.is_empty() && theirs.is_empty() {
                return;
            }
            ours.iter().for_each(|(_, bytes)| self.theirs.handle_mad(now, OURS, bytes));
            theirs.iter().for_each(|(_, bytes)| self.ours.handle_mad(now, THEIRS, bytes));
        }
    }
}

pub(super) fn sent(manager: &mut ConnectionManager) -> Vec<(IpAddr, MadBytes)> {
    std::iter::from_fn(|| manager.poll_transmit()).collect()
}

pub(super) fn messages(manager: &mut ConnectionManager) -> Vec<Message> {
    sent(manager).iter().map(|(_, bytes)| Mad::read(bytes).unwrap().message).collect()
}

pub(super) fn only_rejection(manager: &mut ConnectionManager) -> Rejection {
    match messages(manager)[..] {
        [Message::Rejection(rejection)] => rejection,
        ref other => panic!("{other:?}"),
    }
}

/// Calls on every timer up to a moment.
pub(super) fn run_until(manager: &mut ConnectionManager, end: Timestamp) {
    while let Some(next) = manager.next_timeout().filter(|next| *next <= end) {
        manager.handle_timeout(next);
    }
}

pub(super) fn events(manager: &mut ConnectionManager) -> Vec<String> {
    std::iter::from_fn(|| manager.poll_event()).map(|event| name(&event)).collect()
}

pub(super) fn name(event: &CmEvent) -> String {
    match event {
        CmEvent::Requested(_) => "requested".into(),
        CmEvent::Established { .. } => "established".into(),
        CmEvent::Rejected { reason, .. } => format!("rejected {}", u16::from(*reason)),
        CmEvent::Disconnected { .. } => "disconnected".into(),
        CmEvent::TimedOut { .. } => "timed out".into(),
        CmEvent::TimewaitOver { .. } => "over".into(),
    }
}
