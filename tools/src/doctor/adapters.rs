//! What it takes to use RDMA adapters: devices, their character devices, libibverbs.

use std::io::ErrorKind;

use super::finding::{Finding, Topic, Use};
use super::machine::Machine;

const DEVICES: Topic = Topic {
    name: "rdma devices",
    meaning: "adapters that move data without the processor; without one, RDMA runs in userspace over UDP (see `soft`)",
    uses: &[Use::Rdma],
};

const FILES: Topic = Topic {
    name: "rdma files",
    meaning: "/dev/infiniband has what userspace reaches adapters by",
    uses: &[Use::Rdma],
};

const LIBRARY: Topic = Topic {
    name: "libibverbs",
    meaning: "the library that drives adapters; it is loaded when it is needed",
    uses: &[Use::Rdma],
};

/// The folder of RDMA devices.
const FOLDER: &str = "sys/class/infiniband";

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    vec![devices(machine), files(machine), library(machine)]
}

fn devices(machine: &Machine) -> Finding {
    let ports: Vec<_> = machine.names(FOLDER).iter().flat_map(|device| ports(machine, device)).collect();
    let words = ports.iter().map(|port| port.words.as_str()).collect::<Vec<_>>().join(", ");
    if ports.is_empty() {
        return DEVICES.missing(
            "none",
            "load the adapter's driver (such as `modprobe mlx5_ib`), or make the kernel's software one with `modprobe rdma_rxe \
             && rdma link add rxe0 type rxe netdev INTERFACE`",
        );
    }
    if ports.iter().any(|port| port.is_active) {
        return DEVICES.ok(words);
    }
    DEVICES.missing(
        words,
        "no port is active: `ip link set INTERFACE up`, and look after the cable and the switch",
    )
}

/// A port of a device.
struct Port {
    words: String,
    is_active: bool,
}

fn ports(machine: &Machine, device: &str) -> Vec<Port> {
    let folder = format!("{FOLDER}/{device}/ports");
    let port = |port: String| {
        // As in `4: ACTIVE`.
        let state = machine.word(&format!("{folder}/{port}/state")).unwrap_or_default();
        let state = state.split_once(": ").map_or("?", |(_, word)| word).to_lowercase();
        let layer = machine.word(&format!("{folder}/{port}/link_layer")).unwrap_or_else(|| "?".to_owned());
        Port { words: format!("{device}/{port} {state} ({layer})"), is_active: state == "active" }
    };
    machine.names(&folder).into_iter().map(port).collect()
}

fn files(machine: &Machine) -> Finding {
    let names = machine.names("dev/infiniband");
    let uverbs: Vec<_> = names.iter().filter(|name| name.starts_with("uverbs")).collect();
    if uverbs.is_empty() || !names.iter().any(|name| name == "rdma_cm") {
        return FILES.missing("uverbs or rdma_cm is not there", "`modprobe ib_uverbs && modprobe rdma_ucm`");
    }
    let refused = |name: &str| {
        let opened = machine.try_open(&format!("dev/infiniband/{name}"));
        opened.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    match names.iter().find(|name| name.starts_with("uverbs") && refused(name)) {
        Some(name) => FILES.missing(
            format!("no permission on /dev/infiniband/{name}"),
            "run as a user of the group that owns it, or add a udev rule",
        ),
        None => FILES.ok(format!("{} devices, rdma_cm", uverbs.len())),
    }
}

fn library(machine: &Machine) -> Finding {
    match &machine.verbs {
        Ok(devices) => LIBRARY.ok(format!("loaded, lists {} devices", devices.len())),
        Err(why) => LIBRARY.missing(
            why.clone(),
            "`apt-get install libibverbs1 librdmacm1 ibverbs-providers`, and a program built with `--features verbs` (README says \
             how)",
        ),
    }
}
