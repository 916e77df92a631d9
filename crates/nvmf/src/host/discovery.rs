//! Discovery: reading the log page, and following referrals.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use nvme_spec::command::{DwordCount, GetLogPage, LogPageId};
use nvme_spec::log::{
    AddressFamily, DISCOVERY_RECORD_FORMAT, DiscoveryEntry, DiscoveryHeader, SubsystemType, TransportType,
};
use nvme_spec::text::Text;
use nvme_spec::{Status, StatusCode};
use thiserror::Error;

use crate::wire::{Nqn, NqnError};

/// Most entries of a log that are read.
pub const ENTRIES_MAX: usize = 4096;
/// How often a log that changes while it is read is begun anew.
pub const RESTARTS_MAX: u32 = 10;
/// Most discovery services that one walk asks.
pub const SERVICES_MAX: usize = 64;

/// Bytes of one Get Log Page command, as libnvme's.
const PIECE_BYTES: u64 = 4096;
const HEADER_BYTES: u64 = DiscoveryHeader::BYTES as u64;
const ENTRY_BYTES: u64 = DiscoveryEntry::BYTES as u64;

/// Why a discovery log could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DiscoveryError {
    /// The controller refused.
    #[error("the discovery log was refused: {0}")]
    Refused(Status),
    /// Fewer bytes came than were asked for.
    #[error("the discovery log is cut off")]
    Truncated,
    /// A record format that is not known.
    #[error("the discovery log has the unknown record format {0}")]
    RecordFormat(u16),
    /// More entries than are read.
    #[error("the discovery log has {0} entries, more than {ENTRIES_MAX}")]
    TooLarge(u64),
    /// The number of entries changed, and the generation did not: the controller lies.
    #[error("the discovery log grew or shrank from {before} to {after} entries without a new generation")]
    Inconsistent {
        /// Entries as the header said first.
        before: u64,
        /// And afterwards.
        after: u64,
    },
    /// The log changed each time while it was read.
    #[error("the discovery log changed {RESTARTS_MAX} times while it was read")]
    Restless,
}

/// A discovery log that was read whole, in one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscoveryLog {
    /// Generation Counter (GENCTR).
    pub generation: u64,
    /// The entries, as they came.
    pub entries: Vec<DiscoveryEntry>,
}

#[derive(Clone, Debug)]
enum Reading {
    Header,
    Entries(DiscoveryHeader),
    HeaderAgain(DiscoveryHeader),
}

/// Reads a discovery log: its header, its entries in pieces, its header again, all of one generation (Base, Discovery Log Page).
#[derive(Clone, Debug)]
pub struct DiscoveryReader {
    reading: Reading,
    entries: Vec<DiscoveryEntry>,
    restarts: u32,
}

impl Default for DiscoveryReader {
    fn default() -> Self {
        Self { reading: Reading::Header, entries: Vec::new(), restarts: 0 }
    }
}

impl DiscoveryReader {
    /// The next command. The event that tells of changes is armed again by the last one only: a change before that is seen by the
    /// generation, a change after it is told.
    #[must_use]
    pub fn command(&self) -> GetLogPage {
        let (offset, bytes, retain_event) = match &self.reading {
            Reading::Header => (0, HEADER_BYTES, true),
            Reading::HeaderAgain(_) => (0, HEADER_BYTES, false),
            Reading::Entries(header) => {
                let read = self.entries.len() as u64;
                let left = header.numrec.saturating_sub(read).saturating_mul(ENTRY_BYTES);
                (HEADER_BYTES + read * ENTRY_BYTES, left.min(PIECE_BYTES), true)
            }
        };
        let length = DwordCount::from_bytes(bytes).unwrap_or(DwordCount::from_zero_based(0));
        GetLogPage { offset, retain_event, ..GetLogPage::new(LogPageId::DISCOVERY, length) }
    }

    /// Takes the answer to [`Self::command`]; gives the log when all of it is there.
    pub fn answered(&mut self, status: Status, data: &[u8]) -> Result<Option<DiscoveryLog>, DiscoveryError> {
        if status.code() == StatusCode::FABRICS_DISCOVER_RESTART {
            return self.restart().map(|()| None);
        }
        if !status.is_success() {
            return Err(DiscoveryError::Refused(status));
        }
        match std::mem::replace(&mut self.reading, Reading::Header) {
            Reading::Header => self.header_read(&header(data)?).map(|()| None),
            Reading::Entries(header) => self.entries_read(header, data).map(|()| None),
            Reading::HeaderAgain(first) => self.header_read_again(&first, &header(data)?),
        }
    }

    fn header_read(&mut self, header: &DiscoveryHeader) -> Result<(), DiscoveryError> {
        if header.recfmt != DISCOVERY_RECORD_FORMAT {
            return Err(DiscoveryError::RecordFormat(header.recfmt));
        }
        if header.numrec > ENTRIES_MAX as u64 {
            return Err(DiscoveryError::TooLarge(header.numrec));
        }
        self.go_on(header.clone());
        Ok(())
    }

    fn entries_read(&mut self, header: DiscoveryHeader, data: &[u8]) -> Result<(), DiscoveryError> {
        let wanted = header.numrec.saturating_sub(self.entries.len() as u64).min(PIECE_BYTES / ENTRY_BYTES);
        let (entries, _) = data.as_chunks::<{ DiscoveryEntry::BYTES }>();
        if (entries.len() as u64) < wanted {
            return Err(DiscoveryError::Truncated);
        }
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        self.entries.extend(entries.iter().take(wanted).map(DiscoveryEntry::from_array));
        self.go_on(header);
        Ok(())
    }

    fn go_on(&mut self, header: DiscoveryHeader) {
        let all = self.entries.len() as u64 >= header.numrec;
        self.reading = if all { Reading::HeaderAgain(header) } else { Reading::Entries(header) };
    }

    fn header_read_again(
        &mut self,
        first: &DiscoveryHeader,
        again: &DiscoveryHeader,
    ) -> Result<Option<DiscoveryLog>, DiscoveryError> {
        if first.genctr != again.genctr {
            return self.restart().map(|()| None);
        }
        if first.numrec != again.numrec {
            return Err(DiscoveryError::Inconsistent { before: first.numrec, after: again.numrec });
        }
        let entries = std::mem::take(&mut self.entries);
        Ok(Some(DiscoveryLog { generation: again.genctr, entries }))
    }

    fn restart(&mut self) -> Result<(), DiscoveryError> {
        self.reading = Reading::Header;
        self.entries.clear();
        self.restarts += 1;
        if self.restarts < RESTARTS_MAX { Ok(()) } else { Err(DiscoveryError::Restless) }
    }
}

fn header(data: &[u8]) -> Result<DiscoveryHeader, DiscoveryError> {
    DiscoveryHeader::from_bytes(data).map_err(|_| DiscoveryError::Truncated)
}

/// Why an entry names nothing that can be connected to over RDMA.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    /// Another transport, or another family of addresses.
    #[error("not an IP address over RDMA")]
    Transport,
    /// TRADDR is no address, or is the one that means "any".
    #[error("{0:?} is no address of one machine")]
    Address(String),
    /// TRSVCID is no port.
    #[error("{0:?} is no port")]
    Port(String),
    /// SUBNQN is no name.
    #[error("the subsystem's name: {0}")]
    Name(#[from] NqnError),
}

/// Where a subsystem, or another discovery service, is to be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RdmaEndpoint {
    /// Address and port.
    pub address: SocketAddr,
    /// The subsystem's name.
    pub subsystem: Nqn,
}

impl TryFrom<&DiscoveryEntry> for RdmaEndpoint {
    type Error = EntryError;

    fn try_from(entry: &DiscoveryEntry) -> Result<Self, EntryError> {
        let is_v4 = entry.adrfam == AddressFamily::IPV4;
        if entry.trtype != TransportType::RDMA || !(is_v4 || entry.adrfam == AddressFamily::IPV6) {
            return Err(EntryError::Transport);
        }
        let address = entry.traddr.to_string();
        let ip: IpAddr = address.parse().map_err(|_| EntryError::Address(address.clone()))?;
        if ip.is_unspecified() || ip.is_ipv4() != is_v4 {
            return Err(EntryError::Address(address));
        }
        let port = entry.trsvcid.to_string();
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(EntryError::Port(port))?;
        Ok(Self { address: SocketAddr::new(ip, port), subsystem: name(&entry.subnqn)? })
    }
}

fn name(text: &Text<256>) -> Result<Nqn, NqnError> {
    text.as_str().ok_or(NqnError::Characters)?.parse()
}

/// A walk from discovery service to discovery service: each is asked once, and at most [`SERVICES_MAX`] are.
#[derive(Clone, Debug)]
pub struct ReferralWalk {
    known: BTreeSet<SocketAddr>,
    waiting: VecDeque<RdmaEndpoint>,
    left_out: usize,
}

impl ReferralWalk {
    /// Begins at a service.
    #[must_use]
    pub fn new(first: RdmaEndpoint) -> Self {
        Self { known: BTreeSet::from([first.address]), waiting: VecDeque::from([first]), left_out: 0 }
    }

    /// The next service to ask.
    pub fn next_service(&mut self) -> Option<RdmaEndpoint> {
        self.waiting.pop_front()
    }

    /// Takes a service's log: its referrals are asked, too. Gives the NVM subsystems that can be reached.
    pub fn read(&mut self, log: &DiscoveryLog) -> Vec<RdmaEndpoint> {
        let mut subsystems = Vec::new();
        for entry in &log.entries {
            let Ok(endpoint) = RdmaEndpoint::try_from(entry) else { continue };
            match entry.subtype {
                SubsystemType::NVM => subsystems.push(endpoint),
                SubsystemType::REFERRAL => self.refer(endpoint),
                _ => {}
            }
        }
        subsystems
    }

    /// Referrals that were not followed because there were too many.
    #[must_use]
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    fn refer(&mut self, endpoint: RdmaEndpoint) {
        if self.known.contains(&endpoint.address) {
            return;
        }
        if self.known.len() >= SERVICES_MAX {
            self.left_out += 1;
        } else {
            self.known.insert(endpoint.address);
            self.waiting.push_back(endpoint);
        }
    }
}

#[cfg(test)]
mod tests;
