//! Captures of a wire, judged by two others than the product: tshark decodes them, and the lab computes each ICRC itself.

mod icrc;
mod nvme;
mod pcap;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, LabError, Result, ensure};
use crate::image::Image;
use crate::program::output_of;

/// How many packets of each kind a capture has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<String, usize>);

/// What tshark is asked of each packet, in this order.
const FIELDS: [&str; 8] = [
    "infiniband.bth.opcode",
    "infiniband.mad.attributeid",
    "infiniband.aeth.syndrome.opcode",
    "frame.number",
    "_ws.expert.message",
    "nvme.cqe.status.sct",
    "nvme.cqe.status.sc",
    "_ws.col.Info",
];

/// Not what an ICMP error quotes.
const RDMA: &str = "infiniband && !icmp && !icmpv6";

/// tshark takes the checksum 0 of rxe's packets over IPv6 for an error; RFC 6935 lets tunnels have it.
const IPV6_CHECKSUM: &str = "udp.ignore_ipv6_zero_checksum:TRUE";

/// What tshark guesses payloads to be that it knows nothing of, and then finds malformed.
const GUESSES: [&str; 4] = ["rpcordma", "smb_direct", "iser", "lnet"];

/// Counts the packets of a capture. Fails when one of them is malformed, unknown, or has a wrong ICRC.
pub fn judge(image: &Image, file: &Path) -> Result<Tally> {
    let packets = pcap::roce_packets(file)?;
    for packet in &packets {
        icrc::check(packet).map_err(|wrong| complaint(file, packet.frame, &wrong))?;
    }
    let mut tshark = image.toolbox().tshark();
    tshark.arg("-r").arg(file).args(["-Y", RDMA, "-o", IPV6_CHECKSUM, "-T", "fields"]);
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    for guess in GUESSES {
        tshark.args(["--disable-protocol", guess]);
    }
    let decoded = output_of(&mut tshark)?;
    let decoded = String::from_utf8_lossy(&decoded);
    let mut tally = Tally::default();
    for line in decoded.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let kind = kind(&fields).map_err(|(frame, wrong)| complaint(file, frame, &wrong))?;
        tally.add(kind);
        nvme::kinds(&fields[5..]).into_iter().for_each(|kind| tally.add(&kind));
    }
    let count = decoded.lines().count();
    ensure(count == packets.len(), || {
        format!("{}: tshark decodes {count} of {} packets", file.display(), packets.len())
    })?;
    Ok(tally)
}

/// A copy of a capture in which one bit of the last packet's ICRC is wrong.
pub fn damaged(file: &Path) -> Result<PathBuf> {
    let mut bytes = fs::read(file).about("read", file)?;
    let packets = pcap::roce_packets(file)?;
    let end = packets.last().and_then(|last| {
        let length = last.bytes.len();
        Some(bytes.windows(length).rposition(|window| window == last.bytes)? + length)
    });
    if let Some(last) = end.and_then(|end| bytes.get_mut(end - 1)) {
        *last ^= 1;
    }
    let copy = file.with_extension("damaged");
    fs::write(&copy, bytes).about("write", &copy)?;
    Ok(copy)
}

impl Tally {
    /// Fails unless there are so many of each kind at least: REQ, REP, RTU, REJ, DREQ, DREP and MRA; SEND, WRITE, READ and
    /// RESPONSE; ACK, NAK and RNR; and what tshark calls the NVMe/RDMA messages of connections whose REQ was captured, such
    /// as "NVMeOF Connect", "NVMe Write", "NVMeOF Data Request for Write", "NVMe CQE for Write".
    pub fn at_least(&self, minima: &[(&str, usize)]) -> Result<()> {
        let count = |kind: &str| self.0.get(kind).copied().unwrap_or_default();
        match minima.iter().find(|(kind, least)| count(kind) < *least) {
            None => Ok(()),
            Some((kind, least)) => {
                Err(LabError::Story(format!("{} {kind} on the wire, not {least}: {:?}", count(kind), self.0)))
            }
        }
    }

    /// Fails when an NVMe command was refused other than these.
    pub fn refused_only(&self, expected: &[&str]) -> Result<()> {
        let refused = self.0.keys().filter(|kind| kind.starts_with(nvme::REFUSED));
        let unexpected: Vec<_> = refused.filter(|kind| !expected.contains(&kind.as_str())).collect();
        ensure(unexpected.is_empty(), || format!("{unexpected:?}, among {:?}", self.0))
    }

    fn add(&mut self, kind: &str) {
        *self.0.entry(kind.to_owned()).or_default() += 1;
    }
}

fn complaint(file: &Path, frame: impl Display, wrong: &str) -> LabError {
    LabError::Story(format!("{}, frame {frame}: {wrong}", file.display()))
}

/// What a packet is, or its frame and what is wrong with it.
fn kind<'a>(fields: &[&'a str]) -> std::result::Result<&'static str, (&'a str, String)> {
    let [opcode, attribute, syndrome, frame, expert, ..] = *fields else {
        return Err(("?", format!("tshark says {fields:?}")));
    };
    if !expert.is_empty() {
        return Err((frame, expert.to_owned()));
    }
    let kind = match (opcode.parse().unwrap_or(u8::MAX), attribute, syndrome) {
        (0x00..=0x05 | 0x16 | 0x17, "", "") => "SEND",
        (0x06..=0x0b, "", "") => "WRITE",
        (0x0c, "", "") => "READ",
        (0x0d..=0x10, "", _) => "RESPONSE",
        (0x11, "", "0") => "ACK",
        (0x11, "", "1") => "RNR",
        (0x11, "", "3") => "NAK",
        (0x64, "0x0010", "") => "REQ",
        (0x64, "0x0011", "") => "MRA",
        (0x64, "0x0012", "") => "REJ",
        (0x64, "0x0013", "") => "REP",
        (0x64, "0x0014", "") => "RTU",
        (0x64, "0x0015", "") => "DREQ",
        (0x64, "0x0016", "") => "DREP",
        _ => return Err((frame, format!("opcode {opcode}, attribute {attribute:?}, syndrome {syndrome:?}"))),
    };
    Ok(kind)
}
