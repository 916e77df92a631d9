//! `nvme:` devices: namespaces of PCIe drives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use block::opener::{OpenError, OpenOptions};
use block::uri::{DeviceUri, PciAddress, Target};
use block::{Access, BlockDevice};
use nvme_spec::Nsid;

use super::{VfioError, VfioFunction};
use crate::controller::{ControllerError, Handle, NvmeController};
use crate::namespace::NvmeNamespace;
use crate::options::DriverOptions;

/// The controllers that this process drives, and what it has open of them. VFIO gives a drive to one opener only, so
/// that namespaces of one controller have to share it.
static CONTROLLERS: Mutex<BTreeMap<PciAddress, Driven>> = Mutex::new(BTreeMap::new());

/// One controller, for as long as somebody uses it.
#[derive(Default)]
struct Driven {
    handle: Weak<Handle<VfioFunction>>,
    open: OpenNamespaces<NvmeNamespace<VfioFunction>>,
}

/// The namespaces of a controller that are open, and how.
#[derive(Debug)]
struct OpenNamespaces<T>(Vec<(Nsid, Access, Weak<T>)>);

impl<T> Default for OpenNamespaces<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Opens an `nvme:` URI. Parameters are those of [`DriverOptions::take`]; all namespaces of a controller that are open
/// at once have the same.
///
/// # Errors
/// [`OpenError`], with the device's URI and what helps.
pub fn open_nvme(uri: &DeviceUri, options: &OpenOptions) -> Result<Arc<dyn BlockDevice>, OpenError> {
    let Target::Nvme { address, nsid } = uri.target() else {
        return Err(OpenError::NoOpener { scheme: uri.scheme(), known: "nvme:".to_owned() });
    };
    let driver = take_options(uri)?;
    let mut controllers = lock();
    let driven = controllers.entry(*address).or_default();
    let controller = driven.controller(*address, driver, uri)?;
    if !driven.open.is_free(*nsid, options.access) {
        return Err(OpenError::InUse { device: uri.to_string(), by: "this process".to_owned() });
    }
    let namespace = controller
        .namespace(*nsid, options.access)
        .map_err(|why| OpenError::Failed { device: uri.to_string(), reason: why.to_string() })?;
    let namespace = Arc::new(namespace.named(&uri.to_string()));
    driven.open.0.push((*nsid, options.access, Arc::downgrade(&namespace)));
    Ok(namespace)
}

/// The controller behind an `nvme:` URI, whatever its namespaces are.
///
/// # Errors
/// [`OpenError`], with the device's URI and what helps.
pub fn open_nvme_controller(uri: &DeviceUri) -> Result<NvmeController<VfioFunction>, OpenError> {
    let Target::Nvme { address, .. } = uri.target() else {
        return Err(OpenError::NoOpener { scheme: uri.scheme(), known: "nvme:".to_owned() });
    };
    let driver = take_options(uri)?;
    lock().entry(*address).or_default().controller(*address, driver, uri)
}

fn take_options(uri: &DeviceUri) -> Result<DriverOptions, OpenError> {
    let mut reader = uri.parameters().reader();
    let options = DriverOptions::take(&mut reader)?;
    reader.finish()?;
    Ok(options)
}

fn lock() -> MutexGuard<'static, BTreeMap<PciAddress, Driven>> {
    // Entries are only added, and each is a hint: what is gone is opened anew.
    CONTROLLERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driven {
    /// The controller that is driven already, or a newly attached one.
    fn controller(
        &mut self,
        address: PciAddress,
        options: DriverOptions,
        uri: &DeviceUri,
    ) -> Result<NvmeController<VfioFunction>, OpenError> {
        if let Some(handle) = self.handle.upgrade() {
            if handle.shared().options != options.clamped() {
                let by = "another namespace of this drive, which was opened with other parameters".to_owned();
                return Err(OpenError::InUse { device: uri.to_string(), by });
            }
            return Ok(NvmeController::of(handle));
        }
        let function = VfioFunction::open(address).map_err(|why| open_error(uri, why))?;
        let failed =
            |why: ControllerError| OpenError::Failed { device: uri.to_string(), reason: why.to_string() };
        let controller = NvmeController::attach(function, options).map_err(failed)?;
        self.handle = controller.downgrade();
        Ok(controller)
    }
}

impl<T> OpenNamespaces<T> {
    /// Whether a namespace may be opened so: one writer, or several readers.
    fn is_free(&mut self, nsid: Nsid, access: Access) -> bool {
        self.0.retain(|(_, _, namespace)| namespace.strong_count() > 0);
        let conflicts = |(open, other, _): &(Nsid, Access, Weak<T>)| {
            *open == nsid && (access == Access::ReadWrite || *other == Access::ReadWrite)
        };
        !self.0.iter().any(conflicts)
    }
}

fn open_error(uri: &DeviceUri, why: VfioError) -> OpenError {
    let device = uri.to_string();
    let reason = why.to_string();
    match why {
        VfioError::Absent(_) => OpenError::NotFound { device },
        VfioError::Permission { path } => {
            let reason = format!("on {path}: run as root, or `chown $USER {path}`");
            OpenError::Permission { device, reason }
        }
        VfioError::InUse { path } => {
            let by = format!("another process, or another drive of the same IOMMU group, has {path} open");
            OpenError::InUse { device, by }
        }
        VfioError::Os { action, source, .. } => OpenError::Io { device, action, source },
        VfioError::NotNvme(_)
        | VfioError::NoIommu(_)
        | VfioError::Driver { .. }
        | VfioError::NoVfio { .. }
        | VfioError::NotViable { .. }
        | VfioError::NoInterruptRemapping { .. }
        | VfioError::Shape { .. } => OpenError::Failed { device, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(uri: &str) -> String {
        let uri: DeviceUri = uri.parse().unwrap();
        open_nvme(&uri, &OpenOptions::READ).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        // No machine has a domain of this number.
        assert_eq!(said("nvme:fffffff0:00:1f.7/1"), "nvme:fffffff0:00:1f.7/1: not found");
    }

    #[test]
    fn parameters_are_checked_first() {
        assert!(said("nvme:fffffff0:00:1f.7/1?colour=red").contains("colour"));
        assert!(said("nvme:fffffff0:00:1f.7/1?io_queues=0").contains("io_queues"));
    }

    #[test]
    fn a_namespace_has_one_writer_or_several_readers() {
        let mut open = OpenNamespaces::default();
        let (reader, writer) = (Arc::new(()), Arc::new(()));
        open.0.push((Nsid(1), Access::Read, Arc::downgrade(&reader)));
        open.0.push((Nsid(2), Access::ReadWrite, Arc::downgrade(&writer)));
        assert!(open.is_free(Nsid(1), Access::Read) && !open.is_free(Nsid(1), Access::ReadWrite));
        assert!(!open.is_free(Nsid(2), Access::Read) && open.is_free(Nsid(3), Access::ReadWrite));
        drop((reader, writer));
        assert!(open.is_free(Nsid(1), Access::ReadWrite) && open.is_free(Nsid(2), Access::Read));
    }

    #[test]
    fn every_reason_reaches_the_user() {
        let uri: DeviceUri = "nvme:0000:81:00.0/1".parse().unwrap();
        let address = "81:00.0".parse().unwrap();
        let permission = open_error(&uri, VfioError::Permission { path: "/dev/vfio/17".to_owned() });
        assert!(matches!(permission, OpenError::Permission { .. }));
        assert!(permission.to_string().contains("/dev/vfio/17"), "{permission}");
        let driver = open_error(&uri, VfioError::Driver { address, driver: Some("nvme".to_owned()) });
        assert!(driver.to_string().contains("remora drives bind 0000:81:00.0"), "{driver}");
    }
}
