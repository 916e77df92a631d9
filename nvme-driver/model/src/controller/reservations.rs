//! Reservations (Base 7.3 to 7.6 and 8.1.22): who is registered with a namespace, and who may write to it.

use nvme_spec::reservation::{ReservationKey, ReservationType};
use nvme_spec::{Status, StatusCode};

use super::features::Host;

/// The most registrants of a namespace.
pub(super) const REGISTRANTS_MAX: usize = 64;

/// The shape of what is kept beside the blocks.
const NOTE_VERSION: u32 = 1;
const NOTE_HEAD_BYTES: usize = 32;
const NOTE_MEMBER_BYTES: usize = 24;

pub(super) const CONFLICT: Status = Status::permanent(StatusCode::RESERVATION_CONFLICT);
pub(super) const INVALID_FIELD: Status = Status::permanent(StatusCode::INVALID_FIELD);

/// What a command does to blocks (Base Figure "Command Behavior in the Presence of a Reservation").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Read, Compare, Verify.
    Read,
    /// Write, Write Zeroes, Write Uncorrectable, Dataset Management, Flush.
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) host: Host,
    pub(super) key: ReservationKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) rtype: ReservationType,
    /// The holder; with an all-registrants type every registrant is one.
    pub(super) host: Host,
}

/// A namespace's registrants and its reservation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reservations {
    pub(super) members: Vec<Member>,
    pub(super) held: Option<Held>,
    pub(super) generation: u32,
    pub(super) persists: bool,
}

fn is_all_registrants(rtype: ReservationType) -> bool {
    matches!(
        rtype,
        ReservationType::WriteExclusiveAllRegistrants | ReservationType::ExclusiveAccessAllRegistrants
    )
}

fn is_registrants_only(rtype: ReservationType) -> bool {
    matches!(
        rtype,
        ReservationType::WriteExclusiveRegistrantsOnly | ReservationType::ExclusiveAccessRegistrantsOnly
    )
}

fn lets_others_read(rtype: ReservationType) -> bool {
    matches!(
        rtype,
        ReservationType::WriteExclusive
            | ReservationType::WriteExclusiveRegistrantsOnly
            | ReservationType::WriteExclusiveAllRegistrants
    )
}

impl Reservations {
    /// Whether a host's command is let through.
    #[inline]
    pub(super) fn allows(&self, host: Host, access: Access) -> bool {
        let Some(held) = self.held else { return true };
        let shared = is_all_registrants(held.rtype) || is_registrants_only(held.rtype);
        held.host == host
            || (shared && self.key_of(host).is_some())
            || (access == Access::Read && lets_others_read(held.rtype))
    }

    pub(super) fn persists(&self) -> bool {
        self.persists
    }

    pub(super) fn key_of(&self, host: Host) -> Option<ReservationKey> {
        self.members.iter().find(|member| member.host == host).map(|member| member.key)
    }

    pub(super) fn is_holder(&self, host: Host) -> bool {
        self.held.is_some_and(|held| {
            held.host == host || (is_all_registrants(held.rtype) && self.key_of(host).is_some())
        })
    }

    pub(super) fn check_key(&self, host: Host, key: ReservationKey) -> Result<(), Status> {
        if self.key_of(host) == Some(key) { Ok(()) } else { Err(CONFLICT) }
    }

    pub(super) fn register(&mut self, host: Host, key: ReservationKey) -> Result<(), Status> {
        match self.key_of(host) {
            Some(old) if old == key => return Ok(()),
            Some(_) => return Err(CONFLICT),
            None => {}
        }
        if self.members.len() == REGISTRANTS_MAX {
            return Err(Status::new(StatusCode::INSUFFICIENT_RESOURCES));
        }
        self.members.push(Member { host, key });
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    /// A holder that leaves takes its reservation along, unless other registrants hold it too.
    pub(super) fn unregister(&mut self, host: Host) {
        self.members.retain(|member| member.host != host);
        self.generation = self.generation.wrapping_add(1);
        let Some(held) = self.held.as_mut() else { return };
        if is_all_registrants(held.rtype) {
            match self.members.first() {
                Some(heir) => held.host = heir.host,
                None => self.held = None,
            }
        } else if held.host == host {
            self.held = None;
        }
    }

    pub(super) fn replace(&mut self, host: Host, key: ReservationKey) -> Result<(), Status> {
        let member = self.members.iter_mut().find(|member| member.host == host).ok_or(CONFLICT)?;
        member.key = key;
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    pub(super) fn acquire(&mut self, host: Host, rtype: ReservationType) -> Result<(), Status> {
        match self.held {
            None => self.held = Some(Held { rtype, host }),
            Some(held) if self.is_holder(host) && held.rtype == rtype => {}
            Some(_) => return Err(CONFLICT),
        }
        Ok(())
    }

    /// Preempt (Base 8.1.22.7). Returns the registrants that lost their registration.
    pub(super) fn preempt(
        &mut self,
        host: Host,
        key: ReservationKey,
        rtype: ReservationType,
    ) -> Result<Vec<Host>, Status> {
        let Some(held) = self.held else { return self.evict(host, |member| member.key == key) };
        if is_all_registrants(held.rtype) {
            if key.0 != 0 {
                return self.evict(host, |member| member.key == key);
            }
            let lost = self.evict_any(|member| member.host != host);
            self.held = Some(Held { rtype, host });
            return Ok(lost);
        }
        if key.0 == 0 {
            return Err(INVALID_FIELD);
        }
        if self.key_of(held.host) != Some(key) {
            return self.evict(host, |member| member.key == key);
        }
        let lost = self.evict_any(|member| member.key == key && member.host != host);
        self.held = Some(Held { rtype, host });
        Ok(lost)
    }

    /// Takes registrants out; none with that key is a conflict.
    fn evict(&mut self, host: Host, which: impl Fn(&Member) -> bool) -> Result<Vec<Host>, Status> {
        if !self.members.iter().any(&which) {
            return Err(CONFLICT);
        }
        let lost = self.evict_any(which);
        // A host that preempts itself has unregistered.
        if lost.contains(&host) && self.held.is_some_and(|held| held.host == host) {
            self.held = None;
        }
        Ok(lost)
    }

    pub(super) fn evict_any(&mut self, which: impl Fn(&Member) -> bool) -> Vec<Host> {
        let lost = self.members.iter().filter(|member| which(member)).map(|member| member.host).collect();
        self.members.retain(|member| !which(member));
        self.generation = self.generation.wrapping_add(1);
        lost
    }

    pub(super) fn release(&mut self, host: Host, rtype: Option<ReservationType>) -> Result<(), Status> {
        if !self.is_holder(host) {
            return Ok(());
        }
        if self.held.map(|held| held.rtype) != rtype {
            return Err(INVALID_FIELD);
        }
        self.held = None;
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.members.clear();
        self.held = None;
        self.generation = self.generation.wrapping_add(1);
    }

    /// What outlives a loss of power, as bytes: version 1, generation, reservation type (0 is none), the holder, and then
    /// each registrant's host and key. Empty if nothing does.
    pub(super) fn to_note(&self) -> Vec<u8> {
        if !self.persists {
            return Vec::new();
        }
        let (rtype, holder) = self.held.map_or((0, [0; 16]), |held| (held.rtype as u8, held.host));
        let mut note = NOTE_VERSION.to_le_bytes().to_vec();
        note.extend_from_slice(&self.generation.to_le_bytes());
        note.extend_from_slice(&[rtype, 0, 0, 0, 0, 0, 0, 0]);
        note.extend_from_slice(&holder);
        for member in &self.members {
            note.extend_from_slice(&member.host);
            note.extend_from_slice(&member.key.0.to_le_bytes());
        }
        note
    }

    /// Reads what [`Self::to_note`] wrote. Anything else is nobody's reservation.
    pub(super) fn from_note(note: &[u8]) -> Self {
        Self::read_note(note).unwrap_or_default()
    }

    fn read_note(note: &[u8]) -> Option<Self> {
        let (head, members) = note.split_at_checked(NOTE_HEAD_BYTES)?;
        if u32::from_le_bytes(head.get(..4)?.try_into().ok()?) != NOTE_VERSION {
            return None;
        }
        let generation = u32::from_le_bytes(head.get(4..8)?.try_into().ok()?);
        let host = head.get(16..32)?.try_into().ok()?;
        let held = ReservationType::try_from(head[8]).ok().map(|rtype| Held { rtype, host });
        let (members, []) = members.as_chunks::<NOTE_MEMBER_BYTES>() else { return None };
        let members = members.iter().take(REGISTRANTS_MAX).map(read_member).collect();
        Some(Self { members, held, generation, persists: true })
    }
}

fn read_member(bytes: &[u8; NOTE_MEMBER_BYTES]) -> Member {
    let (mut host, mut key) = ([0; 16], [0; 8]);
    host.copy_from_slice(&bytes[..16]);
    key.copy_from_slice(&bytes[16..]);
    Member { host, key: ReservationKey(u64::from_le_bytes(key)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_persists_is_read_back() {
        let mut kept = Reservations { persists: true, ..Reservations::default() };
        kept.register([1; 16], ReservationKey(5)).unwrap();
        kept.register([2; 16], ReservationKey(6)).unwrap();
        kept.acquire([2; 16], ReservationType::ExclusiveAccess).unwrap();
        let note = kept.to_note();
        assert_eq!(note[..9], [1, 0, 0, 0, 2, 0, 0, 0, 2]);
        assert_eq!((&note[16..32], &note[32..48], note[48]), (&[2; 16][..], &[1; 16][..], 5));
        let read = Reservations::from_note(&note);
        assert_eq!((&read.members, read.held, read.generation), (&kept.members, kept.held, 2));
        assert!(!read.allows([1; 16], Access::Read) && read.allows([2; 16], Access::Write));
    }

    #[test]
    fn nothing_and_nonsense_are_no_reservation() {
        assert!(Reservations::default().to_note().is_empty());
        for note in [&[][..], &[1; 31], &[2; 32], &[1, 0, 0, 0], &[0xFF; 100]] {
            let read = Reservations::from_note(note);
            assert!(read.members.is_empty() && read.held.is_none() && !read.persists());
        }
    }
}
