//! Names and identities for what was given none: derived, so that a restart does not change them.

use std::net::SocketAddr;

use block::{DeviceUri, derive_uuid};
use nvme_spec::Nsid;
use nvmf::wire::Nqn;
use uuid::Uuid;

/// Who this machine is, among all machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine(Vec<u8>);

impl Machine {
    /// The machine that we run on, by its machine-id, by its name without one.
    pub(crate) fn this() -> Self {
        let read = |path| std::fs::read(path).ok().filter(|name| !name.is_empty());
        let name = read("/etc/machine-id").or_else(|| read("/proc/sys/kernel/hostname"));
        Self(name.unwrap_or_default())
    }

    /// A machine of tests.
    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Self {
        Self(name.as_bytes().to_vec())
    }

    /// A subsystem's name, from where it is served: two targets of one machine never listen at the same address, so they do
    /// not serve the same name, which hosts would take for two paths to one device.
    pub(super) fn nqn(&self, listeners: &[SocketAddr]) -> Nqn {
        let mut listeners: Vec<String> = listeners.iter().map(ToString::to_string).collect();
        listeners.sort();
        Nqn::of_uuid(derive_uuid(&[b"remora target", &self.0, listeners.join(",").as_bytes()]))
    }

    /// A subsystem's serial number.
    pub(super) fn serial(&self, nqn: &Nqn) -> String {
        let (serial, _) = derive_uuid(&[b"remora serial", &self.0, nqn.as_str().as_bytes()]).as_u64_pair();
        format!("{serial:016X}")
    }

    /// The UUID of a namespace whose device has none that lasts.
    pub(crate) fn namespace_uuid(&self, nqn: &Nqn, nsid: Nsid, device: &DeviceUri) -> Uuid {
        let device = device.to_string();
        let parts: [&[u8]; 5] =
            [b"remora namespace", &self.0, nqn.as_str().as_bytes(), &nsid.0.to_be_bytes(), device.as_bytes()];
        derive_uuid(&parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_names_never_change() {
        // Hosts have seen these values (computed independently): other ones would make strangers of what they know.
        let machine = Machine::named("m");
        let listeners: Vec<SocketAddr> =
            ["127.0.0.3:4420", "127.0.0.2:4420"].map(|text| text.parse().unwrap()).into();
        let nqn = machine.nqn(&listeners);
        let device: DeviceUri = "mem:1GiB".parse().unwrap();
        assert_eq!(nqn.as_str(), "nqn.2014-08.org.nvmexpress:uuid:ce901ace-6e11-861f-be54-b52af6ec1a90");
        assert_eq!(machine.serial(&nqn), "0AA4DE999F2C8CE9");
        assert_eq!(
            machine.namespace_uuid(&nqn, Nsid(1), &device).to_string(),
            "94919d52-2672-8f32-8e19-bb228aa52dcb"
        );
    }

    #[test]
    fn names_differ_where_things_differ() {
        let (one, other) = (Machine::named("m"), Machine::named("n"));
        let listener = |text: &str| [text.parse().unwrap()];
        let nqn = one.nqn(&listener("127.0.0.2:4420"));
        assert_ne!(nqn, other.nqn(&listener("127.0.0.2:4420")));
        assert_ne!(nqn, one.nqn(&listener("127.0.0.3:4420")));
        let device: DeviceUri = "mem:1GiB".parse().unwrap();
        let uuid = one.namespace_uuid(&nqn, Nsid(1), &device);
        assert_ne!(uuid, one.namespace_uuid(&nqn, Nsid(2), &device));
        assert_ne!(uuid, one.namespace_uuid(&nqn, Nsid(1), &"mem:2GiB".parse().unwrap()));
    }
}
