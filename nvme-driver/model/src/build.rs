//! A software SSD from the parameters of a `soft-nvme:` URI.

use std::io;
use std::path::Path;

use block::uri::{ParameterError, ParameterReader};
use nvme_spec::Nsid;
use thiserror::Error;

use crate::controller::NamespaceError;
use crate::media::label::Label;
use crate::media::{FileMedia, ImageError, ImageShape, MemoryMedia};
use crate::options::{ControllerOptions, IO_QUEUE_PAIRS_MAX, NamespaceOptions};
use crate::soft::SoftSsd;

/// The greatest MDTS that can be asked for: 4 KiB << 16 is more than a command of 65536 blocks of 4096 bytes has.
const MDTS_MAX: u64 = 16;

/// Why there is no software SSD.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A parameter is wrong.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// The image cannot be opened.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A memory of that shape cannot be made.
    #[error("{bytes} bytes are not one or more blocks of {block_bytes}")]
    Shape {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes of a block.
        block_bytes: u32,
    },
    /// The namespace was refused.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// There is no identity to be had.
    #[error("cannot find a name for a software SSD: {0}")]
    Random(#[source] io::Error),
    /// There is no thread for it.
    #[error("cannot start the thread of a software SSD: {0}")]
    Thread(#[from] io::Error),
}

/// What a `soft-nvme:` URI says. One namespace, number 1.
///
/// | parameter | default | |
/// |---|---|---|
/// | `size` | that of the file | bytes of the namespace; needed for memory and for a new file |
/// | `bs` | that of the file, or 512 | bytes of a block, 512 or 4096 |
/// | `queues` | 64 | I/O queue pairs, 1 to 127 |
/// | `mdts` | 5 | largest transfer, 4 KiB << `mdts`; 0 is no limit |
/// | `latency_us` | 0 | how long an I/O command takes |
/// | `vwc` | 1 | a volatile write cache |
/// | `sgl` | 1 | SGLs |
/// | `dbbuf` | 1 | shadow doorbells |
#[derive(Clone, Debug)]
pub struct SsdOptions {
    /// The controller's shape.
    pub controller: ControllerOptions,
    /// The namespace's shape.
    pub shape: ImageShape,
}

impl Default for SsdOptions {
    fn default() -> Self {
        let shape = ImageShape { block_bytes: None, bytes: None };
        Self { controller: ControllerOptions::default(), shape }
    }
}

fn number(
    reader: &mut ParameterReader,
    name: &'static str,
    wanted: &'static str,
    range: (u64, u64),
) -> Result<Option<u64>, ParameterError> {
    reader.take(name, wanted, |text| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|value| digits && (range.0..=range.1).contains(value))
    })
}

impl SsdOptions {
    /// Takes the parameters that are the software SSD's.
    ///
    /// # Errors
    /// [`ParameterError`] for a value that is none.
    pub fn take(reader: &mut ParameterReader) -> Result<Self, ParameterError> {
        let mut options = Self::default();
        let controller = &mut options.controller;
        options.shape.bytes = reader.take_size("size")?;
        options.shape.block_bytes = reader.take("bs", "block size (512 or 4096)", |text| match text {
            "512" => Some(512),
            "4096" | "4k" | "4KiB" => Some(4096),
            _ => None,
        })?;
        if let Some(queues) =
            number(reader, "queues", "number from 1 to 127", (1, IO_QUEUE_PAIRS_MAX.into()))?
        {
            controller.io_queue_pairs = u16::try_from(queues).unwrap_or(IO_QUEUE_PAIRS_MAX);
        }
        if let Some(mdts) = number(reader, "mdts", "number from 0 to 16", (0, MDTS_MAX))? {
            controller.mdts = u8::try_from(mdts).unwrap_or(0);
        }
        if let Some(latency_us) = number(reader, "latency_us", "number up to 1000000000", (0, 1_000_000_000))?
        {
            controller.latency_ns = latency_us * 1000;
        }
        controller.volatile_write_cache = reader.take_bool("vwc")?.unwrap_or(true);
        controller.doorbell_buffer = reader.take_bool("dbbuf")?.unwrap_or(true);
        if reader.take_bool("sgl")? == Some(false) {
            controller.sgl = None;
        }
        Ok(options)
    }

    /// Starts a software SSD on an image, or on memory if there is no path.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn start(mut self, path: Option<&Path>) -> Result<SoftSsd, BuildError> {
        match path {
            Some(path) => self.start_on_image(path),
            None => self.start_on_memory(),
        }
    }

    fn start_on_image(&mut self, path: &Path) -> Result<SoftSsd, BuildError> {
        let media = FileMedia::open(path, self.shape)?;
        let namespace = self.take_identity(media.label());
        self.controller.name = format!("soft-nvme:{}", path.display());
        // What Write Uncorrectable marks is not kept in the image.
        self.controller.write_uncorrectable = false;
        let ssd = SoftSsd::start(self.controller.clone())?;
        ssd.ssd().add_namespace(Nsid(1), namespace, media)?;
        Ok(ssd)
    }

    fn start_on_memory(&mut self) -> Result<SoftSsd, BuildError> {
        let block_bytes = self.shape.block_bytes.unwrap_or(512);
        let missing = ParameterError::Missing { name: "size", example: "4GiB" };
        let bytes = self.shape.bytes.ok_or(missing)?;
        let blocks = bytes / u64::from(block_bytes);
        if blocks == 0 || !bytes.is_multiple_of(block_bytes.into()) {
            return Err(BuildError::Shape { bytes, block_bytes });
        }
        // What is lost with the process is another drive each time.
        let label = Label::with_random_identity(block_bytes, blocks).map_err(BuildError::Random)?;
        let namespace = self.take_identity(&label);
        let ssd = SoftSsd::start(self.controller.clone())?;
        ssd.ssd().add_namespace(Nsid(1), namespace, MemoryMedia::new(block_bytes, blocks))?;
        Ok(ssd)
    }

    fn take_identity(&mut self, label: &Label) -> NamespaceOptions {
        self.controller.serial = String::from_utf8_lossy(&label.serial).trim_end().to_owned();
        self.controller.subnqn = format!("nqn.2014-08.org.nvmexpress:uuid:{}", label.uuid);
        NamespaceOptions::from(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::DeviceUri;

    fn options(uri: &str) -> Result<SsdOptions, ParameterError> {
        let uri: DeviceUri = uri.parse().unwrap();
        let mut reader = uri.parameters().reader();
        let options = SsdOptions::take(&mut reader)?;
        reader.finish().map(|()| options)
    }

    #[test]
    fn parameters_become_options() {
        let uri = "soft-nvme:?size=1MiB&bs=4096&queues=3&mdts=2&latency_us=7&vwc=0&sgl=0&dbbuf=0";
        let taken = options(uri).unwrap();
        let controller = &taken.controller;
        assert_eq!((taken.shape.bytes, taken.shape.block_bytes), (Some(1 << 20), Some(4096)));
        assert_eq!((controller.io_queue_pairs, controller.mdts, controller.latency_ns), (3, 2, 7000));
        assert!(!controller.volatile_write_cache && !controller.doorbell_buffer && controller.sgl.is_none());
        for wrong in ["bs=1024", "queues=0", "queues=128", "mdts=17", "latency_us=-1", "vwc=2", "speed=1"] {
            assert!(options(&format!("soft-nvme:?size=1MiB&{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_memory_needs_a_size_of_whole_blocks() {
        let start = |uri| options(uri).unwrap().start(None);
        assert!(matches!(start("soft-nvme:"), Err(BuildError::Parameter(ParameterError::Missing { .. }))));
        assert!(matches!(start("soft-nvme:?size=1000"), Err(BuildError::Shape { .. })));
        assert!(start("soft-nvme:?size=1MiB&bs=4096").is_ok());
    }

    #[test]
    fn an_image_gives_its_identity() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let shape = ImageShape { block_bytes: None, bytes: Some(1 << 20) };
        let first = SsdOptions { shape, ..SsdOptions::default() }.start(Some(&path)).unwrap();
        assert!(matches!(
            SsdOptions::default().start(Some(&path)),
            Err(BuildError::Image(ImageError::InUse { .. }))
        ));
        let serial = first.ssd().lock().options.serial.clone();
        drop(first);
        let second = SsdOptions::default().start(Some(&path)).unwrap();
        assert_eq!(second.ssd().lock().options.serial, serial);
        assert!(serial.starts_with("RS") && serial.len() == 18);
    }
}
