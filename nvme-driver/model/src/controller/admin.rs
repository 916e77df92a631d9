//! Admin commands: who does what.

use nvme_spec::command::AdminCommand;
use nvme_spec::sqe::Fuse;
use nvme_spec::{Status, StatusCode};

use super::execute::Outcome;
use super::{Answer, Controller, Fetched};

impl Controller {
    pub(super) fn execute_admin(&mut self, command: Fetched) -> Outcome {
        match self.try_admin(command) {
            Ok(outcome) => outcome,
            Err(status) => Outcome::Done(Err(status)),
        }
    }

    fn try_admin(&mut self, command: Fetched) -> Result<Outcome, Status> {
        let decoded = AdminCommand::try_from(&command.sqe)?;
        if command.sqe.fuse() != Some(Fuse::Normal) {
            return Err(Status::permanent(StatusCode::INVALID_FIELD));
        }
        if decoded == AdminCommand::AsyncEventRequest {
            return self.keep_event_request(command.sqe.cid()).map(|()| Outcome::Kept);
        }
        Ok(Outcome::Done(self.answer_admin(&command, decoded)))
    }

    fn answer_admin(&mut self, command: &Fetched, decoded: AdminCommand) -> Answer {
        match decoded {
            AdminCommand::Identify(identify) => self.identify(command, &identify),
            AdminCommand::CreateIoCq(create) => self.create_cq(&create),
            AdminCommand::CreateIoSq(create) => self.create_sq(&create),
            AdminCommand::DeleteIoSq(qid) => self.delete_sq(qid),
            AdminCommand::DeleteIoCq(qid) => self.delete_cq(qid),
            AdminCommand::GetLogPage(page) => self.get_log_page(command, &page),
            AdminCommand::GetFeatures(get) => self.get_features(command, &get),
            AdminCommand::SetFeatures(set) => self.set_features(command, &set),
            AdminCommand::Abort { sqid, cid } => self.abort(sqid, cid),
            AdminCommand::DoorbellBufferConfig { shadow, event_idx } => {
                self.configure_shadow(shadow, event_idx)
            }
            // KAS is 0: over PCIe the host has no need to be kept alive, and the command does nothing.
            AdminCommand::KeepAlive | AdminCommand::AsyncEventRequest => Ok(0),
        }
    }
}
