//! Moving a drive between the kernel's driver and vfio-pci.
//!
//! `driver_override` says which driver may have the function, whatever the drivers' own tables say; writing the address
//! to `drivers_probe` offers it (Documentation/ABI/testing/sysfs-bus-pci).

use std::io::ErrorKind;

use block::uri::PciAddress;
use nvme_driver::vfio::{SysfsFunction, VFIO_DRIVER};

use super::error::DrivesError;
use super::host::{Host, Kernel};
use super::in_use;

/// The kernel's own driver.
const NVME_DRIVER: &str = "nvme";

/// VFIO's driver for the usual IOMMUs. modprobe loads it beside vfio-pci only where it knows about soft dependencies.
const IOMMU_DRIVER: &str = "vfio_iommu_type1";

/// Ends a driver's exclusive right to a function.
const NO_OVERRIDE: &str = "\n";

/// Gives a drive to vfio-pci. Returns what to tell the user.
pub(super) fn bind<K: Kernel>(host: &Host<K>, address: PciAddress) -> Result<String, DrivesError> {
    let function = find(host, address)?;
    let group = function.iommu_group().ok_or(DrivesError::NoIommu(address))?;
    if function.driver().as_deref() == Some(VFIO_DRIVER) {
        return Ok(format!("{address} is with vfio-pci already (IOMMU group {group})\n"));
    }
    check_group(&function, group)?;
    let claims = in_use::claim(host, &function).map_err(|by| DrivesError::InUse { address, by })?;
    need_driver(host, VFIO_DRIVER)?;
    if !host.sysfs.join("module").join(IOMMU_DRIVER).exists() {
        // It may have another name on this machine: opening the drive will tell.
        let _ = host.kernel.load_module(IOMMU_DRIVER);
    }
    let moved = offer(host, &function, VFIO_DRIVER);
    drop(claims);
    if moved.is_err() {
        // Whatever is wrong, the kernel's driver shall have its drive again, if that can be.
        let _ = write(host, &function, "driver_override", NO_OVERRIDE);
        let _ = probe(host, &function);
    }
    moved.map_err(|error| with_driver_now(&function, error))?;
    let file = host.group_file(group).display().to_string();
    let hint = hint(host, &file);
    Ok(format!("{address} is with vfio-pci now (IOMMU group {group}, {file})\n{hint}"))
}

/// What an ordinary user still lacks; root can open the drive as it is.
fn hint<K: Kernel>(host: &Host<K>, file: &str) -> String {
    let memlock = host.kernel.memlock_bytes().map(|bytes| {
        let limit_kib = bytes / 1024;
        format!(
            ", and more lockable memory than {limit_kib} KiB (`ulimit -l`, or LimitMEMLOCK= of a service)"
        )
    });
    format!(
        "to open it, an ordinary user needs {file} (`chown USER {file}`){}\n",
        memlock.unwrap_or_default()
    )
}

/// Gives a drive back to the kernel. Returns what to tell the user.
pub(super) fn unbind<K: Kernel>(host: &Host<K>, address: PciAddress) -> Result<String, DrivesError> {
    let function = find(host, address)?;
    let driver = function.driver();
    if driver.as_deref() == Some(NVME_DRIVER) {
        return Ok(format!("{address} is with the kernel's nvme driver already\n"));
    }
    if driver.as_deref().is_some_and(|driver| driver != VFIO_DRIVER) {
        return Err(DrivesError::NotOurs { address, driver: driver_words(driver) });
    }
    if let Some(group) = function.iommu_group()
        && let Err(error) = host.kernel.try_group(&host.group_file(group))
        && error.kind() == ErrorKind::ResourceBusy
    {
        // The kernel would wait for that process, and we with it.
        return Err(DrivesError::InUse { address, by: "a process drives it".to_owned() });
    }
    need_driver(host, NVME_DRIVER)?;
    offer(host, &function, NVME_DRIVER)?;
    write(host, &function, "driver_override", NO_OVERRIDE)?;
    Ok(format!("{address} is with the kernel's nvme driver again\n"))
}

fn find<K: Kernel>(host: &Host<K>, address: PciAddress) -> Result<SysfsFunction, DrivesError> {
    let function = host.function(address);
    if !function.exists() {
        return Err(DrivesError::Absent(address));
    }
    if function.is_nvme() { Ok(function) } else { Err(DrivesError::NotNvme(address)) }
}

fn check_group(function: &SysfsFunction, group: u32) -> Result<(), DrivesError> {
    let obstacles = function.group_obstacles();
    if obstacles.is_empty() {
        return Ok(());
    }
    let others = obstacles.into_iter().map(|(mate, driver)| format!("{mate} ({driver})"));
    let others = others.collect::<Vec<_>>().join(", ");
    Err(DrivesError::SharedGroup { address: function.address(), group, others })
}

fn need_driver<K: Kernel>(host: &Host<K>, driver: &'static str) -> Result<(), DrivesError> {
    let folder = host.sysfs.join("bus/pci/drivers").join(driver);
    if folder.exists() {
        return Ok(());
    }
    let answer = host.kernel.load_module(driver);
    if folder.exists() {
        return Ok(());
    }
    let reason = answer.err().unwrap_or_else(|| "it is not there although modprobe succeeded".to_owned());
    Err(DrivesError::NoDriver { driver, reason })
}

/// Takes the function from whatever driver has it, and offers it to this one.
fn offer<K: Kernel>(
    host: &Host<K>,
    function: &SysfsFunction,
    driver: &'static str,
) -> Result<(), DrivesError> {
    write(host, function, "driver_override", driver)?;
    if function.driver().is_some() {
        write(host, function, "driver/unbind", &function.address().to_string())?;
    }
    probe(host, function)?;
    let now = function.driver();
    if now.as_deref() == Some(driver) {
        return Ok(());
    }
    Err(DrivesError::NotTaken { address: function.address(), driver, now: driver_words(now) })
}

fn probe<K: Kernel>(host: &Host<K>, function: &SysfsFunction) -> Result<(), DrivesError> {
    let path = host.sysfs.join("bus/pci/drivers_probe");
    let answer = host.kernel.write(&path, &function.address().to_string());
    // A driver that refuses the function is an error of this write as well; whose it is now is what counts.
    match answer {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(DrivesError::at(path, error)),
        _ => Ok(()),
    }
}

fn write<K: Kernel>(
    host: &Host<K>,
    function: &SysfsFunction,
    attribute: &str,
    text: &str,
) -> Result<(), DrivesError> {
    let path = function.folder().join(attribute);
    host.kernel.write(&path, text).map_err(|error| DrivesError::at(path, error))
}

/// A failed move was undone: tells what the function is bound to after that.
fn with_driver_now(function: &SysfsFunction, error: DrivesError) -> DrivesError {
    match error {
        DrivesError::NotTaken { address, driver, .. } => {
            DrivesError::NotTaken { address, driver, now: driver_words(function.driver()) }
        }
        other => other,
    }
}

fn driver_words(driver: Option<String>) -> String {
    driver.unwrap_or_else(|| "no driver".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::test_machine::{DRIVE, MATE, Machine};
    use super::*;

    fn bound(machine: &Machine) -> Result<String, String> {
        bind(&machine.host, DRIVE).map_err(|error| error.to_string())
    }

    fn unbound(machine: &Machine) -> Result<String, String> {
        unbind(&machine.host, DRIVE).map_err(|error| error.to_string())
    }

    #[test]
    fn a_drive_goes_to_vfio_and_back() {
        let machine = Machine::new();
        assert!(bound(&machine).unwrap().contains("is with vfio-pci now (IOMMU group 17"));
        assert_eq!(machine.driver().as_deref(), Some("vfio-pci"));
        assert!(bound(&machine).unwrap().contains("already"));
        assert!(unbound(&machine).unwrap().contains("again"));
        assert_eq!(machine.driver().as_deref(), Some("nvme"));
        assert_eq!(machine.driver_override(), "", "the kernel is free again in its choice");
        assert!(unbound(&machine).unwrap().contains("already"));
    }

    #[test]
    fn an_ordinary_user_learns_what_is_missing() {
        let said = bound(&Machine::new()).unwrap();
        assert!(
            said.contains("chown USER") && said.contains("dev/vfio/17") && said.contains("8192 KiB"),
            "{said}"
        );
        let machine = Machine::new();
        machine.lift_memlock();
        assert!(!bound(&machine).unwrap().contains("lockable"));
    }

    #[test]
    fn missing_modules_are_loaded() {
        let machine = Machine::new();
        machine.remove_driver("vfio-pci");
        assert!(bound(&machine).is_ok());
        assert_eq!(machine.loaded(), ["vfio-pci", "vfio_iommu_type1"]);
        let machine = Machine::new();
        machine.remove_driver("vfio-pci");
        machine.forbid_modules();
        assert!(bound(&machine).unwrap_err().contains("modprobe vfio-pci"), "{:?}", bound(&machine));
        assert_eq!(machine.driver().as_deref(), Some("nvme"));
    }

    #[test]
    fn a_drive_in_use_stays() {
        let machine = Machine::new();
        machine.put("proc/self/mountinfo", "36 35 259:1 / /home rw - xfs /dev/nvme0n1p1 rw\n");
        let said = bound(&machine).unwrap_err();
        assert_eq!(said, "0000:81:00.0 is in use: nvme0n1p1 is mounted on /home");
        assert_eq!(machine.written(), 0, "nothing was touched");
    }

    #[test]
    fn without_an_iommu_nothing_is_touched() {
        let machine = Machine::new();
        machine.remove_iommu();
        assert!(bound(&machine).unwrap_err().contains("intel_iommu=on"));
        assert_eq!(machine.written(), 0);
    }

    #[test]
    fn a_shared_group_is_refused_unless_its_others_are_harmless() {
        let machine = Machine::new();
        machine.add_group_mate("mlx5_core");
        let said = bound(&machine).unwrap_err();
        assert!(said.contains("0000:81:00.1 (mlx5_core)"), "{said}");
        let machine = Machine::new();
        machine.add_group_mate("pcieport");
        assert!(bound(&machine).is_ok());
    }

    #[test]
    fn what_is_no_drive_is_left_alone() {
        let machine = Machine::new();
        machine.add_group_mate("mlx5_core");
        assert!(matches!(bind(&machine.host, MATE), Err(DrivesError::NotNvme(_))));
        let absent = "0000:ff:1f.7".parse().unwrap();
        assert!(matches!(bind(&machine.host, absent), Err(DrivesError::Absent(_))));
    }

    #[test]
    fn a_refused_drive_goes_back_to_its_driver() {
        let machine = Machine::new();
        machine.let_refuse("vfio-pci");
        let said = bound(&machine).unwrap_err();
        assert!(
            said.contains("vfio-pci, which did not take it") && said.contains("bound to nvme now"),
            "{said}"
        );
        assert_eq!((machine.driver().as_deref(), machine.driver_override().as_str()), (Some("nvme"), ""));
    }

    #[test]
    fn an_ordinary_user_is_told_to_be_root() {
        let machine = Machine::new();
        machine.forbid_writing();
        let said = bound(&machine).unwrap_err();
        assert!(said.starts_with("permission denied on") && said.ends_with("needs root"), "{said}");
        assert_eq!(machine.driver().as_deref(), Some("nvme"));
    }

    #[test]
    fn a_driven_drive_is_not_pulled_away() {
        let machine = Machine::with_vfio();
        machine.make_busy("17");
        assert_eq!(unbound(&machine).unwrap_err(), "0000:81:00.0 is in use: a process drives it");
        assert_eq!(machine.written(), 0);
    }

    #[test]
    fn only_what_vfio_has_is_given_back() {
        let machine = Machine::new();
        machine.set_driver("uio_pci_generic");
        assert!(unbound(&machine).unwrap_err().contains("bound to uio_pci_generic"));
    }
}
