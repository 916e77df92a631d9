//! RTU, DREQ and DREP: messages that say little more than which connection (12.6.9 to 12.6.11). Their private data is not used.

use super::bytes::{Body, BodyMut};
use super::value::CommunicationId;
use crate::soft::wire::Qpn;

const LOCAL_ID: usize = 0;
const REMOTE_ID: usize = 4;
const REMOTE_QPN: usize = 8;

/// Which connection: both names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Names the sender's part.
    pub local: CommunicationId,
    /// Names the receiver's part.
    pub remote: CommunicationId,
}

impl Ids {
    pub(super) fn read(body: Body<'_>) -> Self {
        Self {
            local: CommunicationId::new(body.u32(LOCAL_ID)),
            remote: CommunicationId::new(body.u32(REMOTE_ID)),
        }
    }

    pub(super) fn write(&self, body: &mut BodyMut<'_>) {
        body.put(LOCAL_ID, self.local.value().to_be_bytes());
        body.put(REMOTE_ID, self.remote.value().to_be_bytes());
    }
}

/// DREQ: the sender ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DisconnectRequest {
    /// Which connection.
    pub ids: Ids,
    /// The receiver's queue pair.
    pub remote_qpn: Qpn,
}

impl DisconnectRequest {
    pub(super) fn read(body: Body<'_>) -> Self {
        Self { ids: Ids::read(body), remote_qpn: Qpn::from_be_bytes(body.array(REMOTE_QPN)) }
    }

    pub(super) fn write(&self, body: &mut BodyMut<'_>) {
        self.ids.write(body);
        body.put(REMOTE_QPN, self.remote_qpn.to_be_bytes());
    }
}
