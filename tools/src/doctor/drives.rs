//! What it takes to drive NVMe drives from userspace: an IOMMU, VFIO, drives.

use std::io::ErrorKind;

use nvme_driver::vfio::{SysfsFunction, VFIO_DRIVER};

use super::finding::{Finding, Topic, Use};
use super::machine::Machine;

const IOMMU: Topic = Topic {
    name: "iommu",
    meaning: "keeps a drive that is driven from userspace away from memory that is not its own",
    uses: &[Use::Nvme],
};

const VFIO: Topic =
    Topic { name: "vfio", meaning: "the kernel's way to hand a drive to a process", uses: &[Use::Nvme] };

const GROUPS: Topic = Topic {
    name: "vfio groups",
    meaning: "the files of drives that are bound to vfio-pci; whoever may open one may drive its drives",
    uses: &[Use::Nvme],
};

const DRIVES: Topic = Topic {
    name: "nvme drives",
    meaning: "the drives of this machine's PCI bus (`remora drives list` says more)",
    uses: &[Use::Nvme],
};

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![iommu(machine), vfio(machine)];
    findings.extend(groups(machine));
    findings.push(drives(machine));
    findings
}

fn iommu(machine: &Machine) -> Finding {
    let groups = machine.names("sys/kernel/iommu_groups").len();
    if groups > 0 {
        return IOMMU.ok(format!("{groups} groups"));
    }
    IOMMU.missing(
        "none, or it is off",
        "enable VT-d or AMD-Vi in the firmware, and start the kernel with intel_iommu=on where that is not the default; in a \
         virtual machine, give it an emulated IOMMU",
    )
}

fn vfio(machine: &Machine) -> Finding {
    if !machine.has("dev/vfio/vfio") {
        return VFIO.missing("/dev/vfio/vfio is not there", "`modprobe vfio-pci`");
    }
    if let Err(error) = machine.try_open("dev/vfio/vfio")
        && error.kind() == ErrorKind::PermissionDenied
    {
        return VFIO
            .missing("no permission on /dev/vfio/vfio", "run as root, or `chmod 0666 /dev/vfio/vfio`");
    }
    if !machine.has(&format!("sys/bus/pci/drivers/{VFIO_DRIVER}")) {
        return VFIO.missing("the kernel's driver vfio-pci is not loaded", "`modprobe vfio-pci`");
    }
    VFIO.ok("/dev/vfio/vfio and vfio-pci are there")
}

fn groups(machine: &Machine) -> Option<Finding> {
    let groups = machine.names("dev/vfio").into_iter().filter(|name| name.parse::<u32>().is_ok());
    let refused = |group: &String| {
        let opened = machine.try_open(&format!("dev/vfio/{group}"));
        opened.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    let (refused, open): (Vec<_>, Vec<_>) = groups.partition(refused);
    let Some(first) = refused.first() else {
        return (!open.is_empty()).then(|| GROUPS.ok(open.join(", ")));
    };
    let mend = format!("`chown $USER /dev/vfio/{first}`, or a udev rule");
    Some(GROUPS.advice(format!("no permission on {}", refused.join(", ")), mend))
}

fn drives(machine: &Machine) -> Finding {
    let functions = SysfsFunction::all(&machine.path("sys"));
    let drives: Vec<_> = functions.iter().filter(|function| function.is_nvme()).collect();
    let bound = drives.iter().filter(|drive| drive.driver().as_deref() == Some(VFIO_DRIVER)).count();
    match (drives.len(), bound) {
        (0, _) => DRIVES.missing("none", "a software SSD stands in for tests: soft-nvme:PATH?size=4GiB"),
        (all, 0) => DRIVES.advice(
            format!("{all}, none with vfio-pci"),
            "`remora drives list` shows which can be taken, `remora drives bind ADDRESS` takes one",
        ),
        (all, bound) => DRIVES.ok(format!("{all}, {bound} with vfio-pci")),
    }
}
