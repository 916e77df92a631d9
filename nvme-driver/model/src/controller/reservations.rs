//! Reservations (Base 7.3 to 7.6 and 8.1.22): who is registered with a namespace, and who may write to it.

use nvme_spec::command::{
    AcquireAction, PersistChange, RegisterAction, ReleaseAction, ReservationAcquire, ReservationRegister,
    ReservationRelease, ReservationReport,
};
use nvme_spec::features::ReservationMask;
use nvme_spec::log::ReservationNotificationType;
use nvme_spec::reservation::{
    AcquireData, HostId, RegisterData, Registrant, ReleaseData, ReservationKey, ReservationType, StatusReport,
};
use nvme_spec::{ControllerId, Nsid, Status, StatusCode};

use super::events::Event;
use super::features::Host;
use super::nvm::media_status;
use super::{Answer, Controller, Fetched};

/// The most registrants of a namespace.
const REGISTRANTS_MAX: usize = 64;

/// The most bytes of a reservation report: its header and all registrants, extended.
const REPORT_BYTES_MAX: usize = 64 + REGISTRANTS_MAX * 64;

/// The shape of what is kept beside the blocks.
const NOTE_VERSION: u32 = 1;
const NOTE_HEAD_BYTES: usize = 32;
const NOTE_MEMBER_BYTES: usize = 24;

/// The other host of [`crate::Action::Preempt`], and its key.
const OTHER_HOST: Host = *b"another host....";
const OTHER_KEY: ReservationKey = ReservationKey(0x0B5E_55ED);

const CONFLICT: Status = Status::permanent(StatusCode::RESERVATION_CONFLICT);
const INVALID_FIELD: Status = Status::permanent(StatusCode::INVALID_FIELD);

/// What a command does to blocks (Base Figure "Command Behavior in the Presence of a Reservation").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Read, Compare, Verify.
    Read,
    /// Write, Write Zeroes, Write Uncorrectable, Dataset Management, Flush.
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    host: Host,
    key: ReservationKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    rtype: ReservationType,
    /// The holder; with an all-registrants type every registrant is one.
    host: Host,
}

/// A namespace's registrants and its reservation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reservations {
    members: Vec<Member>,
    held: Option<Held>,
    generation: u32,
    persists: bool,
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

    fn key_of(&self, host: Host) -> Option<ReservationKey> {
        self.members.iter().find(|member| member.host == host).map(|member| member.key)
    }

    fn is_holder(&self, host: Host) -> bool {
        self.held.is_some_and(|held| {
            held.host == host || (is_all_registrants(held.rtype) && self.key_of(host).is_some())
        })
    }

    fn check_key(&self, host: Host, key: ReservationKey) -> Result<(), Status> {
        if self.key_of(host) == Some(key) { Ok(()) } else { Err(CONFLICT) }
    }

    fn register(&mut self, host: Host, key: ReservationKey) -> Result<(), Status> {
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
    fn unregister(&mut self, host: Host) {
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

    fn replace(&mut self, host: Host, key: ReservationKey) -> Result<(), Status> {
        let member = self.members.iter_mut().find(|member| member.host == host).ok_or(CONFLICT)?;
        member.key = key;
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    fn acquire(&mut self, host: Host, rtype: ReservationType) -> Result<(), Status> {
        match self.held {
            None => self.held = Some(Held { rtype, host }),
            Some(held) if self.is_holder(host) && held.rtype == rtype => {}
            Some(_) => return Err(CONFLICT),
        }
        Ok(())
    }

    /// Preempt (Base 8.1.22.7). Returns the registrants that lost their registration.
    fn preempt(
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

    fn evict_any(&mut self, which: impl Fn(&Member) -> bool) -> Vec<Host> {
        let lost = self.members.iter().filter(|member| which(member)).map(|member| member.host).collect();
        self.members.retain(|member| !which(member));
        self.generation = self.generation.wrapping_add(1);
        lost
    }

    fn release(&mut self, host: Host, rtype: Option<ReservationType>) -> Result<(), Status> {
        if !self.is_holder(host) {
            return Ok(());
        }
        if self.held.map(|held| held.rtype) != rtype {
            return Err(INVALID_FIELD);
        }
        self.held = None;
        Ok(())
    }

    fn clear(&mut self) {
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

impl Controller {
    /// Keeps a namespace's reservations beside its blocks, if that changes what outlives a loss of power.
    fn keep_reservations(&mut self, nsid: Nsid) -> Answer {
        let namespace = self.namespaces.of_command(self.options.namespaces_max, nsid)?;
        let note = namespace.reservations.to_note();
        if note != namespace.media.load_note() {
            namespace.media.store_note(&note).map_err(|error| media_status(&error))?;
        }
        Ok(0)
    }

    fn reservations(&mut self, nsid: Nsid) -> Result<&mut Reservations, Status> {
        self.namespaces
            .of_command(self.options.namespaces_max, nsid)
            .map(|namespace| &mut namespace.reservations)
    }

    /// Changes whether reservations outlive a loss of power (feature 83h).
    pub(super) fn persist_reservations(&mut self, nsid: Nsid, persists: bool) -> Answer {
        let named: Vec<Nsid> = if nsid == Nsid::ALL {
            self.namespaces.attached().map(|namespace| namespace.nsid).collect()
        } else {
            vec![nsid]
        };
        for nsid in named {
            self.reservations(nsid)?.persists = persists;
            self.keep_reservations(nsid)?;
        }
        Ok(0)
    }

    pub(super) fn reservation_register(
        &mut self,
        command: &Fetched,
        register: &ReservationRegister,
    ) -> Answer {
        let host = self.features.host();
        self.reservations(register.nsid)?;
        let data = RegisterData::from_array(&self.parameters(command)?);
        let reservations = self.reservations(register.nsid)?;
        match register.action {
            RegisterAction::Register if data.new.0 == 0 => return Err(INVALID_FIELD),
            RegisterAction::Register => reservations.register(host, data.new)?,
            RegisterAction::Unregister => {
                if !register.ignore_existing_key {
                    reservations.check_key(host, data.current)?;
                }
                if reservations.key_of(host).is_none() {
                    return Err(CONFLICT);
                }
                reservations.unregister(host);
            }
            RegisterAction::Replace if register.ignore_existing_key => {
                if reservations.key_of(host).is_some() {
                    reservations.replace(host, data.new)?;
                } else {
                    reservations.register(host, data.new)?;
                }
            }
            RegisterAction::Replace => {
                reservations.check_key(host, data.current)?;
                reservations.replace(host, data.new)?;
            }
        }
        match register.persist {
            PersistChange::Keep => {}
            PersistChange::ReleaseOnPowerLoss => reservations.persists = false,
            PersistChange::PersistThroughPowerLoss => reservations.persists = true,
        }
        self.keep_reservations(register.nsid)
    }

    pub(super) fn reservation_acquire(&mut self, command: &Fetched, acquire: &ReservationAcquire) -> Answer {
        let host = self.features.host();
        self.reservations(acquire.nsid)?;
        let data = AcquireData::from_array(&self.parameters(command)?);
        if acquire.ignore_existing_key {
            return Err(INVALID_FIELD);
        }
        let reservations = self.reservations(acquire.nsid)?;
        reservations.check_key(host, data.current)?;
        match acquire.action {
            AcquireAction::Acquire => reservations.acquire(host, acquire.rtype)?,
            // There is one controller: a preempted host has no commands in flight that could be aborted.
            AcquireAction::Preempt | AcquireAction::PreemptAndAbort => {
                reservations.preempt(host, data.preempt, acquire.rtype)?;
            }
        }
        self.keep_reservations(acquire.nsid)
    }

    pub(super) fn reservation_release(&mut self, command: &Fetched, release: &ReservationRelease) -> Answer {
        let host = self.features.host();
        self.reservations(release.nsid)?;
        let data = ReleaseData::from_array(&self.parameters(command)?);
        if release.ignore_existing_key {
            return Err(INVALID_FIELD);
        }
        let reservations = self.reservations(release.nsid)?;
        reservations.check_key(host, data.current)?;
        match release.action {
            ReleaseAction::Release => reservations.release(host, release.rtype)?,
            ReleaseAction::Clear => reservations.clear(),
        }
        self.keep_reservations(release.nsid)
    }

    pub(super) fn reservation_report(&mut self, command: &Fetched, report: &ReservationReport) -> Answer {
        let long = self.features.host_is_extended();
        let reservations = self.reservations(report.nsid)?;
        if long && !report.extended {
            return Err(Status::permanent(StatusCode::HOST_IDENTIFIER_INCONSISTENT_FORMAT));
        }
        let registrants: Vec<Registrant> = reservations
            .members
            .iter()
            .map(|member| Registrant {
                cntlid: ControllerId(if member.host == OTHER_HOST { u16::MAX } else { 1 }),
                holds_reservation: reservations.is_holder(member.host),
                host: HostId::Extended(member.host),
                key: member.key,
            })
            .collect();
        let status = StatusReport {
            generation: reservations.generation,
            rtype: reservations.held.map(|held| held.rtype),
            persist_through_power_loss: reservations.persists,
            registrants: &registrants,
        };
        let wanted = usize::try_from(report.length.bytes()).unwrap_or(usize::MAX);
        let mut data = vec![0; wanted.min(REPORT_BYTES_MAX)];
        status.encode(report.extended, &mut data);
        self.reply(command, &data)
    }

    /// Another host takes the namespace over.
    pub(super) fn be_preempted(&mut self, nsid: Nsid) {
        let host = self.features.host();
        let Ok(reservations) = self.reservations(nsid) else { return };
        let lost_reservation = reservations.is_holder(host);
        let lost = reservations.evict_any(|_| true);
        reservations.members.push(Member { host: OTHER_HOST, key: OTHER_KEY });
        reservations.held = Some(Held { rtype: ReservationType::WriteExclusive, host: OTHER_HOST });
        if let Err(status) = self.keep_reservations(nsid) {
            tracing::warn!(%status, "reservations of a software SSD are not kept");
        }
        if lost.contains(&host) {
            self.notify_preempted(nsid, lost_reservation);
        }
    }

    fn notify_preempted(&mut self, nsid: Nsid, lost_reservation: bool) {
        let (kind, masked_by) = if lost_reservation {
            (ReservationNotificationType::ReservationPreempted, ReservationMask::RESERVATION_PREEMPTED)
        } else {
            (ReservationNotificationType::RegistrationPreempted, ReservationMask::REGISTRATION_PREEMPTED)
        };
        if !self.features.reservation_mask().contains(masked_by) {
            self.logs.notify(kind, nsid);
            self.raise_event(Event::ReservationLogAvailable);
        }
    }
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
