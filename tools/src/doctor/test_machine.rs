//! A machine in a temporary folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rdma::{DeviceInfo, DeviceLimits, PathMtu, PortState};
use tempfile::TempDir;

use super::machine::Machine;

/// The files of a machine that lacks nothing: a server with a drive, two adapters' ports and two NUMA nodes.
const FILES: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "6.12.0-1-amd64\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    ("proc/sys/net/core/rmem_default", "212992\n"),
    (
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n\
         Max locked memory         unlimited            unlimited            bytes     \n\
         Max open files            65536                1048576              files     \n",
    ),
    ("proc/self/status", "Name:\tremora\nCapEff:\t0000000000000000\nCpus_allowed_list:\t0-63\n"),
    ("proc/self/cgroup", "0::/system.slice/remora.service\n"),
    ("sys/fs/cgroup/system.slice/remora.service/cpu.max", "max 100000\n"),
    ("proc/net/udp", "  sl  local_address rem_address   st\n   88: 0200007F:12B7 00000000:0000 07 0\n"),
    ("proc/net/udp6", "  sl  local_address rem_address   st\n"),
    ("sys/devices/system/cpu/online", "0-63\n"),
    ("sys/devices/system/cpu/isolated", "8-15\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
    ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "1024\n"),
    ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "1000\n"),
    ("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "512\n"),
    ("sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "512\n"),
    ("sys/devices/system/node/has_cpu", "0-1\n"),
    ("sys/kernel/iommu_groups/17/devices/0000:81:00.0", ""),
    ("sys/bus/pci/devices/0000:81:00.0/class", "0x010802\n"),
    ("sys/bus/pci/drivers/vfio-pci/bind", ""),
    ("dev/vfio/vfio", ""),
    ("dev/vfio/17", ""),
    ("sys/class/infiniband/mlx5_0/ports/1/state", "4: ACTIVE\n"),
    ("sys/class/infiniband/mlx5_0/ports/1/link_layer", "Ethernet\n"),
    ("sys/class/infiniband/mlx5_1/ports/1/state", "1: DOWN\n"),
    ("sys/class/infiniband/mlx5_1/ports/1/link_layer", "Ethernet\n"),
    ("dev/infiniband/uverbs0", ""),
    ("dev/infiniband/rdma_cm", ""),
    ("sys/class/net/eth0/mtu", "9000\n"),
];

pub(super) struct TestMachine {
    root: TempDir,
    pub(super) machine: Machine,
}

impl TestMachine {
    /// One that lacks nothing.
    pub(super) fn whole() -> Self {
        let this = Self::empty();
        for (path, text) in FILES {
            this.put(path, text.as_bytes());
        }
        symlink("../../drivers/vfio-pci", this.path("sys/bus/pci/devices/0000:81:00.0/driver")).unwrap();
        this
    }

    /// One without a single file.
    pub(super) fn empty() -> Self {
        let root = tempfile::tempdir().unwrap();
        let soft = vec![device("lo", "127.0.0.1"), device("eth0", "192.0.2.7")];
        let machine = Machine::below(root.path(), Ok(soft), Ok(vec![device("mlx5_0", "192.0.2.7")]));
        Self { root, machine }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    pub(super) fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Takes a file or a folder away.
    pub(super) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }

    /// The paths of all files, as they are written in [`FILES`].
    pub(super) fn files() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(path, _)| *path).filter(|path| Path::new(path).parent().is_some())
    }
}

/// An address that RDMA can be used at.
pub(super) fn device(name: &str, address: &str) -> DeviceInfo {
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
    DeviceInfo {
        name: name.to_owned(),
        provider: "soft",
        addresses: vec![address.parse().unwrap()],
        guid: 0,
        mtu: PathMtu::Bytes4096,
        state: PortState::Active,
        limits,
    }
}
