//! Which provider an address is used with.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use crate::device::DeviceInfo;
use crate::error::DevicesError;

/// What a user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProviderChoice {
    /// Hardware where the address belongs to an RDMA device, soft otherwise.
    #[default]
    Auto,
    /// RoCEv2 in userspace.
    Soft,
    /// libibverbs and librdmacm.
    Verbs,
}

/// A text that names no provider.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no provider: write auto, soft or verbs")]
pub struct ChoiceError(String);

/// A provider by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// RoCEv2 in userspace.
    Soft,
    /// libibverbs and librdmacm.
    Verbs,
}

/// A provider that was chosen, and why; displays as both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Which.
    pub kind: ProviderKind,
    /// Why, in words.
    pub why: String,
}

impl ProviderChoice {
    /// Chooses for an address of this machine. `verbs_devices` lists the RDMA devices; it is asked only if that matters.
    pub fn choose(
        self,
        address: IpAddr,
        verbs_devices: impl FnOnce() -> Result<Vec<DeviceInfo>, DevicesError>,
    ) -> Chosen {
        let forced = |kind| Chosen { kind, why: "asked for".to_owned() };
        match self {
            Self::Soft => forced(ProviderKind::Soft),
            Self::Verbs => forced(ProviderKind::Verbs),
            Self::Auto => choose_by_device(address, verbs_devices()),
        }
    }
}

fn choose_by_device(address: IpAddr, devices: Result<Vec<DeviceInfo>, DevicesError>) -> Chosen {
    let soft = |why| Chosen { kind: ProviderKind::Soft, why };
    match devices {
        Err(error) => soft(error.to_string()),
        Ok(devices) => match devices.iter().find(|device| device.addresses.contains(&address)) {
            None => soft(format!("no RDMA device has the address {address}")),
            Some(device) => {
                let why = format!("{address} belongs to the RDMA device {}", device.name);
                Chosen { kind: ProviderKind::Verbs, why }
            }
        },
    }
}

impl FromStr for ProviderChoice {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "soft" => Ok(Self::Soft),
            "verbs" => Ok(Self::Verbs),
            _ => Err(ChoiceError(text.to_owned())),
        }
    }
}

impl fmt::Display for ProviderChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Soft => "soft",
            Self::Verbs => "verbs",
        })
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Soft => "soft",
            Self::Verbs => "verbs",
        })
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind, self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceLimits, PathMtu, PortState};

    const HARDWARE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn devices() -> Result<Vec<DeviceInfo>, DevicesError> {
        let limits = DeviceLimits {
            queue_pairs_max: 1,
            completions_max: 1,
            send_depth_max: 1,
            receive_depth_max: 1,
            shared_receive_depth_max: 1,
            segments_max: 1,
            responder_resources_max: 1,
            initiator_depth_max: 1,
            message_bytes_max: 1,
        };
        Ok(vec![DeviceInfo {
            name: "mlx5_0".to_owned(),
            provider: "verbs",
            addresses: vec![HARDWARE],
            guid: 1,
            mtu: PathMtu::Bytes4096,
            state: PortState::Active,
            limits,
        }])
    }

    fn no_library() -> Result<Vec<DeviceInfo>, DevicesError> {
        Err(DevicesError::Library { library: "libibverbs", reason: "no such file".to_owned() })
    }

    #[test]
    fn hardware_is_taken_where_the_address_belongs_to_it() {
        let chosen = ProviderChoice::Auto.choose(HARDWARE, devices);
        assert_eq!(chosen.to_string(), "verbs (192.0.2.7 belongs to the RDMA device mlx5_0)");
        let chosen = ProviderChoice::Auto.choose(OTHER, devices);
        assert_eq!(chosen.to_string(), "soft (no RDMA device has the address 127.0.0.1)");
        let chosen = ProviderChoice::Auto.choose(HARDWARE, no_library);
        assert_eq!(chosen.to_string(), "soft (libibverbs cannot be loaded: no such file)");
    }

    #[test]
    fn a_forced_choice_asks_for_no_devices() {
        for (choice, kind) in
            [(ProviderChoice::Soft, ProviderKind::Soft), (ProviderChoice::Verbs, ProviderKind::Verbs)]
        {
            let chosen = choice.choose(HARDWARE, || panic!("devices are listed"));
            assert_eq!(chosen.kind, kind);
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert_eq!("auto".parse(), Ok(ProviderChoice::Auto));
        assert!("hard".parse::<ProviderChoice>().is_err());
    }
}
