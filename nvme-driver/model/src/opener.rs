//! `soft-nvme:` devices: the userspace driver on the software SSD.

use std::sync::Arc;

use block::BlockDevice;
use block::opener::{OpenError, OpenOptions};
use block::uri::{DeviceUri, Target};
use nvme_driver::{DriverOptions, NvmeController};
use nvme_spec::Nsid;

use crate::build::{BuildError, SsdOptions};
use crate::media::ImageError;
use crate::soft::SoftSsd;

/// The namespace that a software SSD has.
pub const SOFT_NSID: Nsid = Nsid(1);

/// Opens a `soft-nvme:` URI. Parameters are those of [`SsdOptions`] and of [`DriverOptions::take`].
///
/// # Errors
/// [`OpenError`], with the device's URI.
pub fn open_soft_nvme(uri: &DeviceUri, options: &OpenOptions) -> Result<Arc<dyn BlockDevice>, OpenError> {
    let controller = open_soft_nvme_controller(uri)?;
    let namespace = controller
        .namespace(SOFT_NSID, options.access)
        .map_err(|why| OpenError::Failed { device: uri.to_string(), reason: why.to_string() })?;
    Ok(Arc::new(namespace.named(&uri.to_string())))
}

/// Starts the software SSD of a `soft-nvme:` URI, and drives it.
///
/// # Errors
/// [`OpenError`], with the device's URI.
pub fn open_soft_nvme_controller(uri: &DeviceUri) -> Result<NvmeController<SoftSsd>, OpenError> {
    let Target::SoftNvme { path } = uri.target() else {
        return Err(OpenError::NoOpener { scheme: uri.scheme(), known: "soft-nvme:".to_owned() });
    };
    let mut reader = uri.parameters().reader();
    let ssd = SsdOptions::take(&mut reader)?;
    let driver = DriverOptions::take(&mut reader)?;
    reader.finish()?;
    let ssd = ssd.start(path.as_deref()).map_err(|why| open_error(uri, why))?;
    NvmeController::attach(ssd, driver)
        .map_err(|why| OpenError::Failed { device: uri.to_string(), reason: why.to_string() })
}

fn open_error(uri: &DeviceUri, why: BuildError) -> OpenError {
    let device = uri.to_string();
    match why {
        BuildError::Parameter(why) => why.into(),
        BuildError::Image(ImageError::InUse { path }) => {
            OpenError::InUse { device, by: format!("another software SSD has {} open", path.display()) }
        }
        BuildError::Image(ImageError::Io { action, source, .. }) => OpenError::Io { device, action, source },
        BuildError::Shape { .. } | BuildError::Image(_) => {
            OpenError::Shape { device, reason: why.to_string() }
        }
        BuildError::Namespace(_) | BuildError::Thread(_) | BuildError::Random(_) => {
            OpenError::Failed { device, reason: why.to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::opener::Openers;
    use block::uri::Scheme;
    use block::{Access, BlockRange, Lba, MonotonicClock, Op, QueueOptions, Request, WakeMode};
    use dma::{MemoryOptions, Pool, PoolOptions};
    use std::collections::VecDeque;

    fn openers() -> Openers {
        let mut openers = Openers::with_builtin();
        openers.register(Scheme::SoftNvme, Box::new(open_soft_nvme));
        openers
    }

    fn execute(device: &dyn BlockDevice, pool: &Pool, op: Op, byte: u8) -> u8 {
        let mut queue = device.open_queue(QueueOptions { depth: 8, wake: WakeMode::Polled }).unwrap();
        device.attach_memory(pool.region()).unwrap();
        let clock = MonotonicClock::start();
        let mut buffer = pool.take().unwrap();
        buffer.fill(0, 4096, byte).unwrap();
        let request = Request::new(op, BlockRange::new(Lba(8), 8), buffer.into_segment().into());
        let mut completions = Vec::new();
        queue.submit(&mut VecDeque::from([request]), clock.now());
        while completions.is_empty() {
            queue.poll(&mut completions, clock.now());
        }
        assert_eq!(completions[0].result, Ok(()));
        let mut byte = [0];
        completions[0].request.data.read(4095, &mut byte).unwrap();
        byte[0]
    }

    #[test]
    fn data_and_identity_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drive");
        let uri = format!("soft-nvme:{}", path.display());
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: 4096, chunks: 1, memory }).unwrap();
        let first = openers().open_text(&format!("{uri}?size=1MiB"), &OpenOptions::READ_WRITE).unwrap();
        execute(&*first, &pool, Op::Write { fua: true }, 0x5a);
        let identity = first.identity();
        let again = openers().open_text(&uri, &OpenOptions::READ_WRITE);
        assert!(matches!(again, Err(OpenError::InUse { .. })));
        drop(first);
        let second = openers().open_text(&uri, &OpenOptions { access: Access::Read }).unwrap();
        assert_eq!((second.identity(), second.name()), (identity, uri.as_str()));
        assert_eq!(execute(&*second, &pool, Op::Read, 0), 0x5a);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let said = |uri: &str| {
            openers().open_text(uri, &OpenOptions::READ_WRITE).map(|_| ()).unwrap_err().to_string()
        };
        assert!(said("soft-nvme:").contains("size"), "{}", said("soft-nvme:"));
        assert!(said("soft-nvme:?size=1MiB&colour=red").contains("colour"));
        assert!(said("soft-nvme:/nowhere/drive?size=1MiB").contains("/nowhere/drive"));
        assert!(said("soft-nvme:?size=1000").contains("512"));
    }
}
