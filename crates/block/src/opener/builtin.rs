//! Openers of the devices of this crate.

use std::sync::Arc;

use super::{OpenError, OpenOptions};
use crate::device::BlockDevice;
use crate::file::{FileDevice, FileOptions};
use crate::geometry::BlockSize;
use crate::mem::MemDevice;
use crate::null::NullDevice;
use crate::uri::{DeviceUri, ParameterError, ParameterReader, Target, parse_size};

type Opened = Result<Arc<dyn BlockDevice>, OpenError>;

pub(super) fn open_mem(uri: &DeviceUri, options: &OpenOptions) -> Opened {
    let Target::Mem { bytes } = *uri.target() else { return Err(wrong_kind(uri)) };
    let mut parameters = uri.parameters().reader();
    let block_size = take_block_size(&mut parameters)?.unwrap_or(BlockSize::B512);
    parameters.finish()?;
    let name = uri.to_string();
    let device = MemDevice::new(&name, block_size, bytes, options.access);
    Ok(Arc::new(device.map_err(|error| shape(uri, error.to_string()))?))
}

pub(super) fn open_null(uri: &DeviceUri, options: &OpenOptions) -> Opened {
    let Target::Null { bytes } = *uri.target() else { return Err(wrong_kind(uri)) };
    let mut parameters = uri.parameters().reader();
    let block_size = take_block_size(&mut parameters)?.unwrap_or(BlockSize::B512);
    parameters.finish()?;
    let blocks =
        bytes.map_or(Some(u64::MAX), |bytes| block_size.blocks_in(bytes)).filter(|blocks| *blocks != 0);
    let wrong = || shape(uri, format!("whole blocks of {} bytes, at least one", block_size.bytes()));
    let blocks = blocks.ok_or_else(wrong)?;
    Ok(Arc::new(NullDevice::new(&uri.to_string(), block_size, blocks, options.access)))
}

pub(super) fn open_file(uri: &DeviceUri, options: &OpenOptions) -> Opened {
    let Target::File { path } = uri.target() else { return Err(wrong_kind(uri)) };
    let mut parameters = uri.parameters().reader();
    let options = FileOptions {
        access: options.access,
        block_size: take_block_size(&mut parameters)?,
        size: parameters.take_size("size")?,
        direct: parameters.take_bool("direct")?,
    };
    parameters.finish()?;
    Ok(Arc::new(FileDevice::open(path, &uri.to_string(), options)?))
}

/// Takes `bs`, the bytes of a block.
pub(crate) fn take_block_size(parameters: &mut ParameterReader) -> Result<Option<BlockSize>, ParameterError> {
    parameters.take("bs", "block size (a power of two from 512 to 64k)", |value| {
        parse_size(value).ok().and_then(|bytes| BlockSize::try_from(bytes).ok())
    })
}

fn shape(uri: &DeviceUri, reason: String) -> OpenError {
    OpenError::Shape { device: uri.to_string(), reason }
}

/// An opener that was registered for another scheme.
fn wrong_kind(uri: &DeviceUri) -> OpenError {
    OpenError::NoOpener {
        scheme: uri.scheme(),
        known: "the opener of another kind is registered for it".to_owned(),
    }
}
