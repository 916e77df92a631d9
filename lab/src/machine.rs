//! The guest's hardware, as QEMU's command line: an NVMe drive with namespaces of several kinds behind an IOMMU, or an
//! end of a wire to another guest.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, Result};
use crate::image::Image;

/// Where the drive is on the guest's PCI bus.
pub const DRIVE: &str = "0000:00:10.0";

/// Where the drive is in a [`Machine::with_hotplug`].
pub const DRIVE_IN_SLOT: &str = "0000:01:00.0";

/// Where the second controller of the same drive is, of a [`Machine::with_second_controller`].
pub const SECOND: &str = "0000:00:11.0";

/// QEMU's name of the drive's controller, for QMP.
pub const DRIVE_ID: &str = "nvme0";

/// QEMU's name of the end of the wire, for QMP.
pub const WIRE_ID: &str = "wire";

/// What the kernel is told: to be quick, to end with the guest, to be the same on every run.
const KERNEL_OPTIONS: &str = "console=ttyS0 loglevel=5 panic=-1 reboot=t nokaslr mitigations=off tsc=reliable \
    no_timer_check rcupdate.rcu_expedited=1 cryptomgr.notests=1 random.trust_cpu=on \
    nvme_core.multipath=N";

/// What QEMU's log tells of the controller: what a driver set up, not each of its commands.
const TRACED: &[&str] = &[
    "pci_nvme_create_sq",
    "pci_nvme_create_cq",
    "pci_nvme_dbbuf_config",
    "pci_nvme_mmio_start_success",
    "pci_nvme_mmio_stopped",
    "pci_nvme_mmio_shutdown_set",
    "pci_nvme_ns_attachment",
];

const MIB: u64 = 1 << 20;

/// A namespace of the drive.
#[derive(Clone, Copy, Debug)]
pub struct Namespace {
    /// Its number; also QEMU's names of it and of its backend follow: `ns1`, `disk1`.
    pub nsid: u32,
    /// Its size in bytes.
    pub bytes: u64,
    /// More properties of QEMU's `nvme-ns`.
    pub properties: &'static str,
}

/// 512-byte blocks.
pub const NS_512: Namespace = Namespace { nsid: 1, bytes: 64 * MIB, properties: "logical_block_size=512" };

/// 4096-byte blocks.
pub const NS_4096: Namespace =
    Namespace { nsid: 2, bytes: 64 * MIB, properties: "logical_block_size=4096,physical_block_size=4096" };

/// 8 bytes of metadata for each block, with protection information.
pub const NS_METADATA: Namespace =
    Namespace { nsid: 3, bytes: 16 * MIB, properties: "logical_block_size=512,ms=8,pi=1" };

/// Zoned.
pub const NS_ZONED: Namespace = Namespace {
    nsid: 4,
    bytes: 16 * MIB,
    properties: "logical_block_size=4096,physical_block_size=4096,zoned=on,zoned.zone_size=1M",
};

/// There, but attached to no controller at first.
pub const NS_DETACHED: Namespace =
    Namespace { nsid: 5, bytes: 32 * MIB, properties: "logical_block_size=512,shared=on,detached=on" };

/// One end of a wire between two guests, which is a pair of datagram sockets.
#[derive(Clone, Debug)]
pub struct WireEnd {
    /// This guest's socket, which QEMU makes.
    pub local: PathBuf,
    /// The other guest's.
    pub remote: PathBuf,
    /// The last byte of this end's Ethernet address.
    pub number: u8,
}

/// A guest's hardware.
#[derive(Clone, Debug)]
pub struct Machine {
    memory_mib: u32,
    processors: u32,
    has_iommu: bool,
    has_drive: bool,
    wire: Option<WireEnd>,
    has_slot: bool,
    has_second_controller: bool,
    namespaces: Vec<Namespace>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            memory_mib: 1024,
            processors: 2,
            has_iommu: true,
            has_drive: true,
            wire: None,
            has_slot: false,
            has_second_controller: false,
            namespaces: vec![NS_512, NS_4096, NS_METADATA, NS_ZONED, NS_DETACHED],
        }
    }
}

impl Machine {
    /// No IOMMU between the drive and memory.
    pub fn without_iommu(self) -> Self {
        Self { has_iommu: false, ..self }
    }

    /// The drive sits in a slot from which it can be pulled.
    pub fn with_hotplug(self) -> Self {
        Self { has_slot: true, ..self }
    }

    /// Another controller of the same drive, for the administrator's commands while we have the first.
    pub fn with_second_controller(self) -> Self {
        Self { has_second_controller: true, ..self }
    }

    /// One of two guests on a wire: no drive, and one of the host's processors for each.
    pub fn on_wire(end: WireEnd) -> Self {
        Self {
            memory_mib: 512,
            processors: 1,
            has_iommu: false,
            has_drive: false,
            wire: Some(end),
            ..Self::default()
        }
    }

    /// So many processors. Linux's NVMe hosts make no more queues than these.
    pub fn with_processors(self, processors: u32) -> Self {
        Self { processors, ..self }
    }

    /// The drive behind an IOMMU, for a guest that is on a wire besides.
    pub fn with_drive(self) -> Self {
        Self { memory_mib: 1024, has_iommu: true, has_drive: true, ..self }
    }

    /// QEMU with this hardware; `home` is the guest's own directory, where the sockets and disks are.
    pub fn command(&self, image: &Image, home: &Path) -> Result<Command> {
        let mut qemu = image.toolbox().qemu();
        self.add_board(&mut qemu, image);
        add_channels(&mut qemu, home);
        if self.has_drive {
            self.add_drive(&mut qemu, home)?;
        }
        if let Some(end) = &self.wire {
            add_wire(&mut qemu, end);
        }
        Ok(qemu)
    }

    fn add_board(&self, qemu: &mut Command, image: &Image) {
        let iommu_option = if self.has_iommu { " intel_iommu=on" } else { "" };
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "q35"]);
        qemu.args(["-name", "lab,debug-threads=on"]);
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"]);
        qemu.arg("-smp").arg(self.processors.to_string());
        qemu.arg("-m").arg(format!("{}M", self.memory_mib));
        qemu.arg("-kernel").arg(image.kernel()).arg("-initrd").arg(image.initramfs());
        qemu.arg("-append").arg(format!("{KERNEL_OPTIONS}{iommu_option}"));
        if self.has_iommu {
            device(qemu, "intel-iommu,intremap=on,eim=off,caching-mode=on,device-iotlb=off,aw-bits=48");
        }
        for event in TRACED {
            qemu.args(["-trace", event]);
        }
        drive(qemu, "root", &image.root(), ",readonly=on");
        device(qemu, "virtio-blk-pci,drive=root");
    }

    fn add_drive(&self, qemu: &mut Command, home: &Path) -> Result<()> {
        let place = if self.has_slot {
            device(qemu, "pcie-root-port,id=slot0,bus=pcie.0,addr=10.0,chassis=1,slot=1");
            "bus=slot0,addr=00.0"
        } else {
            "bus=pcie.0,addr=10.0"
        };
        device(qemu, "nvme-subsys,id=ss0,nqn=lab");
        let limits = "max_ioqpairs=8,msix_qsize=9,mdts=7";
        device(qemu, &format!("nvme,id={DRIVE_ID},serial=LAB0,subsys=ss0,{place},cmb_size_mb=16,{limits}"));
        for namespace in &self.namespaces {
            let nsid = namespace.nsid;
            let path = home.join(format!("disk{nsid}"));
            let file = File::create(&path).about("create", &path)?;
            file.set_len(namespace.bytes).about("size", &path)?;
            drive(qemu, &format!("disk{nsid}"), &path, ",cache=writeback");
            let properties = namespace.properties;
            device(
                qemu,
                &format!("nvme-ns,id=ns{nsid},drive=disk{nsid},bus={DRIVE_ID},nsid={nsid},{properties}"),
            );
        }
        if self.has_second_controller {
            device(qemu, &format!("nvme,id=nvme1,serial=LAB0,subsys=ss0,bus=pcie.0,addr=11.0,{limits}"));
        }
        Ok(())
    }
}

/// Sockets to which QEMU connects, the console's log, and the shared directory.
fn add_channels(qemu: &mut Command, home: &Path) {
    let home = home.display();
    qemu.arg("-serial").arg(format!("file:{home}/serial.log"));
    qemu.arg("-chardev").arg(format!("socket,id=agent,path={home}/agent"));
    qemu.args(["-serial", "chardev:agent"]);
    qemu.arg("-chardev").arg(format!("socket,id=qmp,path={home}/qmp"));
    qemu.args(["-mon", "chardev=qmp,mode=control"]);
    qemu.arg("-fsdev").arg(format!("local,id=lab,path={home}/share,security_model=none,multidevs=remap"));
    device(qemu, "virtio-9p-pci,fsdev=lab,mount_tag=lab");
}

/// A network card at the end of a wire. The sockets are local ones: they hold a packet until the other guest takes it,
/// where UDP would drop it.
fn add_wire(qemu: &mut Command, end: &WireEnd) {
    let (local, remote) = (end.local.display(), end.remote.display());
    qemu.arg("-netdev").arg(format!(
        "dgram,id={WIRE_ID},local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"
    ));
    device(qemu, &format!("virtio-net-pci,netdev={WIRE_ID},mac=52:54:00:00:00:{:02x},romfile=", end.number));
}

fn device(qemu: &mut Command, description: &str) {
    qemu.arg("-device").arg(description);
}

fn drive(qemu: &mut Command, id: &str, path: &Path, more: &str) {
    qemu.arg("-drive").arg(format!("if=none,id={id},file={},format=raw{more}", path.display()));
}
