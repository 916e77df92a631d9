//! Two guests on one wire.

use std::path::PathBuf;
use std::thread;

use tempfile::TempDir;

use super::{Guest, Lab};
use crate::error::{Context, LabError, Result};
use crate::machine::{Machine, WIRE_ID, WireEnd};

/// What a guest of a pair has the wire for.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// Its name among the logs.
    pub name: &'static str,
    /// Its address.
    pub ipv4: &'static str,
    /// Its other address.
    pub ipv6: &'static str,
    number: u8,
}

/// The first guest.
pub const LEFT: Side = Side { name: "left", ipv4: "10.0.0.1", ipv6: "fd00::1", number: 1 };

/// The second.
pub const RIGHT: Side = Side { name: "right", ipv4: "10.0.0.2", ipv6: "fd00::2", number: 2 };

/// Two guests on one wire.
#[derive(Debug)]
pub struct Pair {
    /// The guest that is [`LEFT`].
    pub left: Guest,
    /// The guest that is [`RIGHT`].
    pub right: Guest,
    logs: PathBuf,
    /// Where the wire's sockets are; dropped after the guests.
    _wire: TempDir,
}

impl Pair {
    /// Starts both at once. Their ends of the wire are up, with the addresses of [`LEFT`] and [`RIGHT`]; nobody speaks
    /// RDMA yet.
    pub fn boot(lab: &Lab) -> Result<Self> {
        Self::boot_with(lab, [|machine| machine; 2])
    }

    /// The same with other hardware: of the left one, and of the right one.
    pub fn boot_with(lab: &Lab, hardware: [fn(Machine) -> Machine; 2]) -> Result<Self> {
        let wire = tempfile::Builder::new().prefix("remora-wire-").tempdir();
        let wire = wire.about("create a directory in", &std::env::temp_dir())?;
        let socket = |side: Side| wire.path().join(side.name);
        let boot = |side: Side, peer: Side, change: fn(Machine) -> Machine| {
            let end = WireEnd { local: socket(side), remote: socket(peer), number: side.number };
            let lab = Lab { logs: lab.logs.join(side.name), ..lab.clone() };
            lab.boot(&change(Machine::on_wire(end)))
        };
        let (left, right) = thread::scope(|scope| {
            let left = scope.spawn(|| boot(LEFT, RIGHT, hardware[0]));
            let right = boot(RIGHT, LEFT, hardware[1]);
            (
                left.join().unwrap_or_else(|_| Err(LabError::GuestGone("it was never started".to_owned()))),
                right,
            )
        });
        let mut pair = Self { left: left?, right: right?, logs: lab.logs.clone(), _wire: wire };
        pair.left.run(&format!("join_wire {}", LEFT.number))?;
        pair.right.run(&format!("join_wire {}", RIGHT.number))?;
        Ok(pair)
    }

    /// Keeps what passes on the wire during a part of the story, among the logs, and returns where.
    pub fn captured(&mut self, name: &str, during: impl FnOnce(&mut Self) -> Result<()>) -> Result<PathBuf> {
        let file = self.logs.join(format!("{name}.pcap"));
        self.left.qmp().begin_capture(WIRE_ID, &file)?;
        let told = during(self);
        self.left.qmp().end_capture()?;
        told.map(|()| file)
    }
}
