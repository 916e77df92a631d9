//! What RDMA in userspace lives on: addresses, their MTU, UDP port 4791, socket buffers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rdma::{DeviceInfo, PathMtu, PortState};

use super::finding::{Finding, Topic, Use};
use super::machine::{Machine, bytes};

/// RoCEv2's port.
const ROCE_PORT: u16 = 4791;

/// The kernel's default receive buffer, which the window of a sender is made for.
const BUFFER_BYTES_MIN: u64 = 212_992;

const ADDRESSES: Topic = Topic {
    name: "soft addresses",
    meaning: "RDMA in userspace (RoCEv2 over UDP) can be used at these addresses, and at all of 127.0.0.0/8 for trials",
    uses: &[Use::Soft, Use::Target],
};

const MTU: Topic = Topic {
    name: "mtu",
    meaning: "packets carry 1024 bytes where the MTU is 1500, and 4096 from 4200 on: a quarter as many packets",
    uses: &[Use::Soft, Use::Rdma, Use::Target],
};

const PORT: Topic = Topic {
    name: "udp port 4791",
    meaning: "each address has one owner of RoCEv2's port: one process, or the kernel's rdma_rxe on all addresses at once",
    uses: &[Use::Soft],
};

const BUFFERS: Topic = Topic {
    name: "socket buffers",
    meaning: "what a sender may have under way fits the kernel's default receive buffer; a smaller one loses packets",
    uses: &[Use::Soft],
};

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![addresses(machine)];
    findings.extend(mtu(machine));
    findings.extend([port(machine), buffers(machine)]);
    findings
}

fn addresses(machine: &Machine) -> Finding {
    let devices = match &machine.soft {
        Ok(devices) => devices,
        Err(why) => return ADDRESSES.missing(why.clone(), "look at `ip address`"),
    };
    let is_up = |device: &&DeviceInfo| device.state == PortState::Active;
    let described = devices.iter().filter(is_up).map(|device| {
        let addresses: Vec<_> = device.addresses.iter().map(ToString::to_string).collect();
        format!("{} {}", device.name, addresses.join(" "))
    });
    let list = described.collect::<Vec<_>>().join(", ");
    if list.is_empty() {
        return ADDRESSES.missing("no interface is up", "`ip link set lo up`, or another interface");
    }
    ADDRESSES.ok(list)
}

/// Interfaces that carry small packets. The loopback interface needs no cable and no advice.
fn mtu(machine: &Machine) -> Option<Finding> {
    let devices = machine.soft.as_ref().ok()?;
    let others: Vec<_> = devices.iter().filter(|device| device.name != "lo").collect();
    let small = others.iter().find(|device| device.mtu < PathMtu::Bytes4096);
    let words = others.iter().map(|device| {
        let link = machine.number(&format!("sys/class/net/{}/mtu", device.name));
        let link = link.map_or_else(|| "?".to_owned(), |mtu| mtu.to_string());
        format!("{} {link} (packets of {})", device.name, device.mtu.bytes())
    });
    let words = words.collect::<Vec<_>>().join(", ");
    match small {
        None if others.is_empty() => None,
        None => Some(MTU.ok(words)),
        Some(small) => {
            let mend = format!(
                "`ip link set {} mtu 9000`, where the network's switches and other machines have it too",
                small.name
            );
            Some(MTU.advice(words, mend))
        }
    }
}

fn port(machine: &Machine) -> Finding {
    let sockets = ["proc/net/udp", "proc/net/udp6"].map(|path| machine.text(path).unwrap_or_default());
    let owned: Vec<_> = sockets.iter().flat_map(|text| text.lines()).filter_map(owner_of_port).collect();
    if owned.iter().any(IpAddr::is_unspecified) {
        return PORT.missing(
            "taken on all addresses",
            "if that is the kernel's software RDMA, `rdma link delete` its links and `modprobe -r rdma_rxe`; or use --provider verbs \
             on its device",
        );
    }
    if owned.is_empty() {
        return PORT.ok("free on all addresses");
    }
    let mut owned: Vec<_> = owned.iter().map(ToString::to_string).collect();
    owned.sort_unstable();
    owned.dedup();
    PORT.ok(format!("in use at {}, free elsewhere", owned.join(", ")))
}

/// The address of a line of `/proc/net/udp` or `udp6` whose port is RoCEv2's. Addresses are written as the machine's words,
/// in hexadecimal.
fn owner_of_port(line: &str) -> Option<IpAddr> {
    let local = line.split_whitespace().nth(1)?;
    let (address, port) = local.split_once(':')?;
    if u16::from_str_radix(port, 16).ok()? != ROCE_PORT {
        return None;
    }
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match address.len() {
        8 => word(0).map(|octets| Ipv4Addr::from(octets).into()),
        32 => {
            let mut octets = [0; 16];
            for (at, part) in octets.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                *part = word(at)?;
            }
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

fn buffers(machine: &Machine) -> Finding {
    let mend = format!("`sysctl net.core.rmem_default={BUFFER_BYTES_MIN}`");
    match machine.number("proc/sys/net/core/rmem_default") {
        Some(size) if size >= BUFFER_BYTES_MIN => BUFFERS.ok(format!("{} by default", bytes(size))),
        Some(size) => BUFFERS.advice(format!("{} by default, which is little", bytes(size)), mend),
        // Network namespaces hide it; theirs is the machine's.
        None => BUFFERS.ok("not shown in this network namespace"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_as_the_kernel_writes_them() {
        let line = "  88: 0200007F:12B7 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 5 2 0 0";
        assert_eq!(owner_of_port(line), Some("127.0.0.2".parse().unwrap()));
        let six = " 1: B80D0120000000000000000001000000:12B7 00000000000000000000000000000000:0000 07";
        assert_eq!(owner_of_port(six), Some("2001:db8::1".parse().unwrap()));
        for other in
            ["", "x", "1: 0200007F:12B8 ", "1: 0200007F ", "1: 02:12B7 ", "1: ÿÿÿÿ:12B7", "1: 0200007G:12B7"]
        {
            assert_eq!(owner_of_port(other), None, "{other}");
        }
    }
}
