//! Who the host says that it is.

use std::str::FromStr;

use thiserror::Error;
use uuid::Uuid;

use crate::wire::{HostId, Nqn, NqnError};

/// A name made of a UUID: `nqn.2014-08.org.nvmexpress:uuid:` and the UUID (Base, NVMe Qualified Names).
const UUID_NAME: &str = "nqn.2014-08.org.nvmexpress:uuid:";

/// Why texts are no host's identity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HostIdentityError {
    /// The name is none.
    #[error("the host's name {text:?}: {error}")]
    Name {
        /// As it was given.
        text: String,
        /// Why.
        error: NqnError,
    },
    /// The name is that of discovery subsystems.
    #[error("a host cannot have the name of discovery subsystems")]
    DiscoveryName,
    /// The identifier is no UUID.
    #[error("the host's identifier {0:?} is no UUID")]
    Id(String),
    /// The identifier is all zeroes, which says that there is none (Base, Host Identifier).
    #[error("the host's identifier is all zeroes")]
    ZeroId,
    /// No identifier was given, and the name has none inside.
    #[error("the host's name {0} has no UUID inside, so its identifier must be given besides")]
    NoId(Nqn),
}

/// A host's name and identifier. Linux refuses a second name for one identifier, and so do others: keep them together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostIdentity {
    /// HOSTNQN.
    pub nqn: Nqn,
    /// HOSTID; never all zeroes.
    pub id: HostId,
}

impl HostIdentity {
    /// The identity of a host that has nothing but a UUID.
    #[must_use]
    pub fn of_uuid(uuid: Uuid) -> Self {
        Self { nqn: Nqn::of_uuid(uuid), id: HostId::from(uuid) }
    }

    /// An identity from texts, as in /etc/nvme/hostnqn and /etc/nvme/hostid; white space around them does not count. Without an
    /// identifier the UUID in the name is it.
    pub fn parse(nqn: &str, id: Option<&str>) -> Result<Self, HostIdentityError> {
        let text = nqn.trim();
        let nqn =
            Nqn::from_str(text).map_err(|error| HostIdentityError::Name { text: text.to_owned(), error })?;
        if nqn.is_discovery() {
            return Err(HostIdentityError::DiscoveryName);
        }
        let uuid = match id {
            Some(id) => {
                Uuid::parse_str(id.trim()).map_err(|_| HostIdentityError::Id(id.trim().to_owned()))?
            }
            None => uuid_in(&nqn).ok_or_else(|| HostIdentityError::NoId(nqn.clone()))?,
        };
        if uuid.is_nil() { Err(HostIdentityError::ZeroId) } else { Ok(Self { nqn, id: HostId::from(uuid) }) }
    }
}

fn uuid_in(nqn: &Nqn) -> Option<Uuid> {
    nqn.as_str().strip_prefix(UUID_NAME).and_then(|uuid| Uuid::parse_str(uuid).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";

    #[test]
    fn a_name_and_an_identifier() {
        let identity = HostIdentity::parse(
            "nqn.2024-05.com.example:h\n",
            Some(" 00112233-4455-6677-8899-aabbccddeeff\n"),
        );
        let identity = identity.unwrap();
        assert_eq!(identity.nqn.as_str(), "nqn.2024-05.com.example:h");
        assert_eq!(identity.id.0[..4], [0x00, 0x11, 0x22, 0x33]);
    }

    #[test]
    fn the_identifier_may_be_in_the_name() {
        let name = format!("nqn.2014-08.org.nvmexpress:uuid:{UUID}");
        let identity = HostIdentity::parse(&name, None).unwrap();
        assert_eq!(identity, HostIdentity::of_uuid(Uuid::parse_str(UUID).unwrap()));
        let other = "nqn.2024-05.com.example:h";
        let error = HostIdentity::parse(other, None).unwrap_err();
        assert_eq!(error, HostIdentityError::NoId(other.parse().unwrap()));
    }

    #[test]
    fn what_is_no_identity_is_told_in_words() {
        let parse = |nqn, id| HostIdentity::parse(nqn, Some(id)).unwrap_err();
        let name = HostIdentityError::Name { text: "host".to_owned(), error: NqnError::Form };
        assert_eq!(parse("host", UUID), name);
        assert_eq!(parse("nqn.2024-05.com.example:h", "7"), HostIdentityError::Id("7".to_owned()));
        let zero = "00000000-0000-0000-0000-000000000000";
        assert_eq!(parse("nqn.2024-05.com.example:h", zero), HostIdentityError::ZeroId);
        let discovery = "nqn.2014-08.org.nvmexpress.discovery";
        assert_eq!(parse(discovery, UUID), HostIdentityError::DiscoveryName);
    }
}
