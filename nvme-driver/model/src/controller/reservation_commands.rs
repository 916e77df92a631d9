//! The commands of reservations (Base 7.3 to 7.6), the other host that takes over, and what is kept beside the blocks.

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
use super::reservations::{CONFLICT, Held, INVALID_FIELD, Member, REGISTRANTS_MAX, Reservations};
use super::{Answer, Controller, Fetched};

/// The most bytes of a reservation report: its header and all registrants, extended.
const REPORT_BYTES_MAX: usize = 64 + REGISTRANTS_MAX * 64;

/// The other host of [`crate::Action::Preempt`], and its key.
const OTHER_HOST: Host = *b"another host....";
const OTHER_KEY: ReservationKey = ReservationKey(0x0B5E_55ED);

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
