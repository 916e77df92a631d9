//! What the host does: it discovers, and attaches.

use std::sync::Arc;

use block::OpenOptions;
use block::uri::DeviceUri;
use initiator::RemoteOptions;
use nvme_spec::Nsid;
use nvmf::host::HostIdentity;
use nvmf::host::discovery::RdmaEndpoint;
use uuid::Uuid;

use super::attached::Attached;
use super::error::{DemoError, check};
use super::target::Target;
use crate::devices::openers;
use crate::discover::place::{Place, namespace_uri};
use crate::discover::{ask, subsystem_words};

/// Who the demo's host says that it is. Nothing is stored on the machine for it.
const HOST_UUID: Uuid = Uuid::from_u128(0x6465_6d6f_0000_8000_8000_7265_6d6f_7261);

/// Keep-alive of the demo's associations, and so how soon a silent target counts as lost. Linux's is 5 s.
const KEEP_ALIVE_MS: &str = "2000";

/// What discovery found at a target.
#[derive(Debug)]
pub(super) struct Found {
    /// The subsystem's name.
    pub(super) nqn: String,
    /// What its namespace is opened by.
    pub(super) uri: DeviceUri,
    /// What the log's entries are.
    pub(super) entries: String,
}

/// Asks a target what it exports, which must be one subsystem, at the target's own address.
pub(super) fn discover(target: &Target) -> Result<Found, DemoError> {
    let name = target.role().name;
    let identity = HostIdentity::of_uuid(HOST_UUID);
    let hostnqn = identity.nqn.to_string();
    let place = Place::from(target.address());
    let discovery = ask(&place, &RemoteOptions::new(identity))
        .map_err(|source| DemoError::Discover { name, source: Box::new(source) })?;
    let found: Vec<RdmaEndpoint> = discovery.subsystems();
    let is_one = found.len() == 1 && found[0].address == target.address();
    check(is_one, || format!("discovery at {place} must name one subsystem there, and names {found:?}"))?;
    let uri = namespace_uri(&found[0], Nsid(1));
    let mut parameters = uri.parameters().clone();
    for (name, value) in [("hostnqn", hostnqn.as_str()), ("keep_alive_ms", KEEP_ALIVE_MS)] {
        parameters.insert(name, value).map_err(|error| DemoError::Check(error.to_string()))?;
    }
    let log = discovery.services.first().and_then(|service| service.log.as_ref().ok());
    let entries = log.map(|log| log.entries.iter().map(subsystem_words).collect::<Vec<_>>().join(", "));
    Ok(Found {
        nqn: found[0].subsystem.to_string(),
        uri: uri.with_parameters(parameters),
        entries: entries.unwrap_or_default(),
    })
}

/// Attaches a namespace, with an association of its own.
pub(super) fn attach(uri: &DeviceUri) -> Result<Arc<Attached>, DemoError> {
    let device = openers().open(uri, &OpenOptions::READ_WRITE)?;
    Ok(Arc::new(Attached::new(device)))
}
