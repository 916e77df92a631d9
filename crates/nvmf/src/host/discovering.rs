//! A live discovery controller: its log is read at once, and whenever it changes.

use block::Timestamp;
use nvme_spec::Status;
use nvme_spec::command::AdminCommand;

use super::admin::{Job, UNNUMBERED};
use super::controller::{HostController, HostState};
use super::discovery::DiscoveryReader;
use super::event::HostEvent;
use super::options::ControllerKind;
use super::outgoing::OutgoingData;

impl HostController {
    /// Reads the discovery log, or does so when the reading that is under way has ended.
    pub(super) fn discover(&mut self, now: Timestamp) {
        if self.options.kind != ControllerKind::Discovery || self.state() != HostState::Live {
            return;
        }
        if self.link.discovery.is_some() {
            self.link.discover_again = true;
            return;
        }
        self.link.discover_again = false;
        self.go_on_discovering(DiscoveryReader::default(), now);
    }

    fn go_on_discovering(&mut self, reader: DiscoveryReader, now: Timestamp) {
        let command = reader.command();
        let bytes = u32::try_from(command.length.bytes()).unwrap_or(u32::MAX);
        let sqe = AdminCommand::GetLogPage(command).sqe(UNNUMBERED);
        self.link.discovery = Some(reader);
        self.send(Job::Discovery, sqe, OutgoingData::FromController { bytes }, now);
    }

    pub(super) fn discovery_answered(&mut self, status: Status, data: &[u8], now: Timestamp) {
        let Some(mut reader) = self.link.discovery.take() else { return };
        let result = match reader.answered(status, data) {
            Ok(None) => return self.go_on_discovering(reader, now),
            Ok(Some(log)) => Ok(log),
            Err(error) => Err(error),
        };
        self.events.push_back(HostEvent::Discovered(result));
        if self.link.discover_again {
            self.discover(now);
        }
    }
}
