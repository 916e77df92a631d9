//! RoCEv2 packets of a capture file (draft-ietf-opsawg-pcap: a header of 24 bytes, then records of 16 bytes and a frame).

use std::fs;
use std::path::Path;

use crate::error::{Context, LabError, Result};

/// A file written on a machine of this byte order, with microseconds.
const MAGIC: u32 = 0xa1b2_c3d4;

const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const ETHERNET_HEADER_BYTES: usize = 14;
const UDP_HEADER_BYTES: usize = 8;

/// RoCEv2's port.
const PORT: u16 = 4791;

const UDP: u8 = 17;

/// A packet as it was on the wire, from its IP header to its ICRC.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Its number in the capture, from 1.
    pub frame: usize,
    /// IP header, UDP header and payload.
    pub bytes: Vec<u8>,
    /// Where the UDP header begins.
    pub udp: usize,
}

/// The packets of a file that go to RoCEv2's port.
pub fn roce_packets(file: &Path) -> Result<Vec<Packet>> {
    let bytes = fs::read(file).about("read", file)?;
    parse(&bytes).ok_or_else(|| LabError::Story(format!("{} is no capture", file.display())))
}

fn parse(file: &[u8]) -> Option<Vec<Packet>> {
    let (magic, _) = file.split_first_chunk()?;
    if u32::from_le_bytes(*magic) != MAGIC {
        return None;
    }
    let mut rest = file.get(FILE_HEADER_BYTES..)?;
    let mut packets = Vec::new();
    for frame in 1.. {
        // What is written while the capture ends may be cut off.
        let Some((header, behind)) = rest.split_at_checked(RECORD_HEADER_BYTES) else { break };
        let length = u32::from_le_bytes(*header.get(8..)?.first_chunk()?);
        let Some((bytes, behind)) = behind.split_at_checked(usize::try_from(length).ok()?) else { break };
        packets.extend(roce(frame, bytes));
        rest = behind;
    }
    Some(packets)
}

fn roce(frame: usize, bytes: &[u8]) -> Option<Packet> {
    let ip = bytes.get(ETHERNET_HEADER_BYTES..)?;
    let udp = match bytes.get(12..ETHERNET_HEADER_BYTES)? {
        [0x08, 0x00] if *ip.get(9)? == UDP => usize::from(ip.first()? & 0x0f) * 4,
        [0x86, 0xdd] if *ip.get(6)? == UDP => 40,
        _ => return None,
    };
    let header = ip.get(udp..udp + UDP_HEADER_BYTES)?;
    if header[2..4] != PORT.to_be_bytes() {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    // A frame shorter than Ethernet's minimum would have been padded.
    Some(Packet { frame, bytes: ip.get(..udp + length)?.to_owned(), udp })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(frame: &[u8]) -> Vec<u8> {
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let mut file = hex("d4c3b2a1 02000400 00000000 00000000 00000100 01000000");
        file.extend(hex("00000000 00000000"));
        file.extend(length);
        file.extend(length);
        file.extend(frame);
        file
    }

    fn hex(text: &str) -> Vec<u8> {
        let text = text.replace(' ', "");
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn only_what_goes_to_the_port_is_taken_and_without_what_ethernet_added() {
        let mut frame = hex("000000000000 000000000000 0800");
        frame.extend(hex("4500001e 00004000 40110000 00000000 00000000"));
        frame.extend(hex("c000 12b7 000a 0000"));
        frame.extend(hex("abcd"));
        frame.extend([0; 16]);
        let packets = parse(&file_with(&frame)).unwrap();
        assert_eq!(packets.len(), 1);
        assert_eq!((packets[0].frame, packets[0].udp), (1, 20));
        assert_eq!(packets[0].bytes, frame[14..44]);

        frame[14 + 20 + 3] = 0xb8;
        assert!(parse(&file_with(&frame)).unwrap().is_empty());
        assert!(parse(b"no capture at all, only text").is_none());
    }
}
