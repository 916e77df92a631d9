//! The orderly end: CC.SHN, and a look at CSTS.SHST until it says that all is done.

use std::time::Duration;

use block::Timestamp;
use nvme_spec::registers::{ControllerStatus, ShutdownNotification, ShutdownStatus};
use nvme_spec::{Cqe, Status};

use super::admin::{Job, UNNUMBERED};
use super::controller::{HostController, HostState};
use super::failure::Failure;
use super::outgoing::OutgoingData;
use super::setup::LOOK_PAUSE;
use crate::wire::{PropertyGet, PropertyOffset};

/// How long an orderly shutdown is given at least, as Linux does; RTD3E may say more.
const SHUTDOWN_MIN: Duration = Duration::from_secs(5);
/// And at most.
const SHUTDOWN_MAX: Duration = Duration::from_secs(60);

impl HostController {
    pub(super) fn begin_shutdown(&mut self, now: Timestamp) {
        let told = self.info().map_or(0, |info| info.identify.rtd3e_us);
        let patience = Duration::from_micros(told.into()).clamp(SHUTDOWN_MIN, SHUTDOWN_MAX);
        self.enter(HostState::ShuttingDown);
        self.link.patience = now.after(patience);
        let configuration = self.configuration().with_en(true).with_shn(ShutdownNotification::Normal);
        let (sqe, data) = self.set_configuration(configuration);
        self.send(Job::Shutdown, sqe, data, now);
    }

    pub(super) fn shutdown_asked(&mut self, status: Status, now: Timestamp) -> Result<(), Failure> {
        if !status.is_success() {
            return Err(Failure::Shutdown);
        }
        self.look_at_shutdown(now);
        Ok(())
    }

    pub(super) fn look_at_shutdown(&mut self, now: Timestamp) {
        let get = PropertyGet { offset: PropertyOffset::Status };
        self.send(Job::ShutdownStatus, get.to_sqe(UNNUMBERED), OutgoingData::None, now);
    }

    pub(super) fn shutdown_status(&mut self, cqe: &Cqe, now: Timestamp) -> Result<(), Failure> {
        let status = ControllerStatus::from_raw(cqe.dw0());
        if !cqe.status().is_success() || status.shst() == Some(ShutdownStatus::Complete) {
            return Err(Failure::Shutdown);
        }
        self.link.look_at = now.after(LOOK_PAUSE);
        Ok(())
    }
}
