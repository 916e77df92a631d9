//! Reservation Status, what Reservation Report returns (Base, Reservation Report).

use super::data::ReservationKey;
use super::{ReservationType, UnknownReservationType};
use crate::bytes::{TooShort, array_at, put, u16_at, u32_at, u64_at};
use crate::ids::ControllerId;

const HEADER_BYTES: usize = 24;
const HEADER_EXTENDED_BYTES: usize = 64;
const REGISTRANT_BYTES: usize = 24;
const REGISTRANT_EXTENDED_BYTES: usize = 64;

/// A host identifier of a registrant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostId {
    /// 64 bits.
    Short(u64),
    /// 128 bits: the extended data structure.
    Extended([u8; 16]),
}

/// A registrant's controller: a host with several controllers has several entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Registrant {
    /// The controller, or FFFFh for one that is not known.
    pub cntlid: ControllerId,
    /// Whether this host holds the reservation (RCSTS bit 0).
    pub holds_reservation: bool,
    /// The host.
    pub host: HostId,
    /// Its key (RKEY).
    pub key: ReservationKey,
}

/// The parsed header, and the registrants' bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservationStatus<'a> {
    /// Generation (GEN): counts up with each change of a registration.
    pub generation: u32,
    /// The reservation that is held; `None` if there is none.
    pub rtype: Option<ReservationType>,
    /// Number of Registrants (REGSTRNT) that exist; more than are in the data when that was cut short.
    pub registrants: u16,
    /// Persist Through Power Loss State (PTPLS).
    pub persist_through_power_loss: bool,
    extended: bool,
    entries: &'a [u8],
}

/// A reservation status that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReservationStatusError {
    /// Shorter than its header.
    #[error(transparent)]
    TooShort(#[from] TooShort),
    /// A reservation type that the specification does not define.
    #[error(transparent)]
    Type(#[from] UnknownReservationType),
}

impl<'a> ReservationStatus<'a> {
    /// Reads the structure; `extended` is what the command said (EDS).
    ///
    /// # Errors
    /// [`ReservationStatusError`] when the header is cut off or has an undefined reservation type.
    pub fn from_bytes(extended: bool, bytes: &'a [u8]) -> Result<Self, ReservationStatusError> {
        let header = if extended { HEADER_EXTENDED_BYTES } else { HEADER_BYTES };
        let entries = bytes.get(header..).ok_or(TooShort {
            structure: "Reservation Status",
            needed: header,
            got: bytes.len(),
        })?;
        let rtype = match bytes[4] {
            0 => None,
            raw => Some(ReservationType::try_from(raw)?),
        };
        Ok(Self {
            generation: u32_at(bytes, 0),
            rtype,
            registrants: u16_at(bytes, 5),
            persist_through_power_loss: bytes[9] == 1,
            extended,
            entries,
        })
    }

    /// The registrants that are in the data.
    pub fn iter(self) -> impl Iterator<Item = Registrant> + 'a {
        let size = if self.extended { REGISTRANT_EXTENDED_BYTES } else { REGISTRANT_BYTES };
        self.entries
            .chunks_exact(size)
            .take(usize::from(self.registrants))
            .map(move |entry| read_registrant(self.extended, entry))
    }
}

fn read_registrant(extended: bool, entry: &[u8]) -> Registrant {
    let (host, key) = if extended {
        (HostId::Extended(array_at(entry, 16)), u64_at(entry, 8))
    } else {
        (HostId::Short(u64_at(entry, 8)), u64_at(entry, 16))
    };
    Registrant {
        cntlid: ControllerId(u16_at(entry, 0)),
        holds_reservation: entry[2] & 1 != 0,
        host,
        key: ReservationKey(key),
    }
}

impl Registrant {
    /// The entry in its short or extended form, and how many bytes it has. An identifier of the other form is
    /// cut to its low 64 bits, or extended by zeroes.
    fn to_bytes(self, extended: bool) -> ([u8; REGISTRANT_EXTENDED_BYTES], usize) {
        let mut entry = [0; REGISTRANT_EXTENDED_BYTES];
        put(&mut entry, 0, self.cntlid.0.to_le_bytes());
        entry[2] = self.holds_reservation.into();
        let host = match self.host {
            HostId::Short(host) => u128::from(host).to_le_bytes(),
            HostId::Extended(host) => host,
        };
        if extended {
            put(&mut entry, 8, self.key.0.to_le_bytes());
            put(&mut entry, 16, host);
            (entry, REGISTRANT_EXTENDED_BYTES)
        } else {
            put::<8>(&mut entry, 8, array_at(&host, 0));
            put(&mut entry, 16, self.key.0.to_le_bytes());
            (entry, REGISTRANT_BYTES)
        }
    }
}

/// What a controller reports of a namespace's reservation.
#[derive(Clone, Copy, Debug)]
pub struct StatusReport<'a> {
    /// Generation (GEN).
    pub generation: u32,
    /// The reservation that is held.
    pub rtype: Option<ReservationType>,
    /// Persist Through Power Loss State (PTPLS).
    pub persist_through_power_loss: bool,
    /// All registrants; the structure can count 65535.
    pub registrants: &'a [Registrant],
}

impl StatusReport<'_> {
    /// Fills `out` with the structure, as much as fits: a host that asks for less gets a prefix, and learns
    /// from the number of registrants that there is more.
    pub fn encode(&self, extended: bool, out: &mut [u8]) {
        let mut header = [0; HEADER_EXTENDED_BYTES];
        put(&mut header, 0, self.generation.to_le_bytes());
        header[4] = self.rtype.map_or(0, |rtype| rtype as u8);
        put(&mut header, 5, u16::try_from(self.registrants.len()).unwrap_or(u16::MAX).to_le_bytes());
        header[9] = self.persist_through_power_loss.into();
        let header_size = if extended { HEADER_EXTENDED_BYTES } else { HEADER_BYTES };
        let mut rest = put_prefix(out, &header[..header_size]);
        for registrant in self.registrants {
            let (entry, size) = registrant.to_bytes(extended);
            rest = put_prefix(rest, &entry[..size]);
        }
        rest.fill(0);
    }
}

/// Writes what fits, and returns the room that is left.
fn put_prefix<'a>(out: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let (head, rest) = out.split_at_mut(bytes.len().min(out.len()));
    head.copy_from_slice(&bytes[..head.len()]);
    rest
}
