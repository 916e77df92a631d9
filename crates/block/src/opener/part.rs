//! Parts of devices: `?offset=1GiB&length=2GiB`.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use nvme_spec::Lba;

use super::OpenError;
use crate::claim::Access;
use crate::device::BlockDevice;
use crate::geometry::Geometry;
use crate::request::BlockRange;
use crate::slice::{SliceDevice, SliceError};
use crate::uri::DeviceUri;

/// Bytes of a device.
pub(super) struct Part {
    offset: u64,
    /// Up to the device's end if not given.
    length: Option<u64>,
}

/// The URI without offset and length, and the part that they name, if any.
pub(super) fn take_part(uri: &DeviceUri) -> Result<(DeviceUri, Option<Part>), OpenError> {
    let mut parameters = uri.parameters().reader();
    let offset = parameters.take_size("offset")?;
    let length = parameters.take_size("length")?;
    let part = (offset.is_some() || length.is_some()).then_some(Part { offset: offset.unwrap_or(0), length });
    Ok((uri.with_parameters(parameters.into_rest()), part))
}

impl Part {
    pub(super) fn open(
        &self,
        parent: Arc<dyn BlockDevice>,
        uri: &DeviceUri,
        access: Access,
    ) -> Result<Arc<dyn BlockDevice>, OpenError> {
        let device = || uri.to_string();
        let range = self.range(&parent.geometry()).ok_or_else(|| OpenError::Shape {
            device: device(),
            reason: format!(
                "offset and length must be multiples of {} bytes",
                parent.geometry().block_size.bytes()
            ),
        })?;
        let slice = SliceDevice::new(parent, &device(), range, access).map_err(|error| match error {
            SliceError::Claim(source) => OpenError::Claim { device: device(), source },
            SliceError::Range { .. } => OpenError::Shape { device: device(), reason: error.to_string() },
        })?;
        Ok(Arc::new(slice))
    }

    fn range(&self, geometry: &Geometry) -> Option<BlockRange> {
        let start = geometry.block_size.blocks_in(self.offset)?;
        let blocks = match self.length {
            Some(length) => geometry.block_size.blocks_in(length)?,
            None => geometry.blocks.saturating_sub(start),
        };
        Some(BlockRange::new(Lba(start), blocks))
    }
}

/// Devices of which parts are open, for as long as one is.
#[derive(Default)]
pub(super) struct Divided {
    open: Mutex<Vec<Whole>>,
}

struct Whole {
    name: String,
    access: Access,
    device: Weak<dyn BlockDevice>,
}

impl Divided {
    pub(super) fn get_or_open(
        &self,
        whole: &DeviceUri,
        access: Access,
        open: impl FnOnce() -> Result<Arc<dyn BlockDevice>, OpenError>,
    ) -> Result<Arc<dyn BlockDevice>, OpenError> {
        // Held while the device is opened, so that two threads do not both try; a panic leaves the list as it was.
        let mut devices = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        devices.retain(|whole| whole.device.strong_count() > 0);
        let name = whole.to_string();
        let known = devices.iter().find(|whole| whole.name == name && whole.access == access);
        if let Some(device) = known.and_then(|whole| whole.device.upgrade()) {
            return Ok(device);
        }
        let device = open()?;
        devices.push(Whole { name, access, device: Arc::downgrade(&device) });
        Ok(device)
    }
}
