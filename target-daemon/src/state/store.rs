//! Where changes are kept, and how: a new file is written beside the old one, made durable, and takes its name. A crash finds
//! either the one or the other, whole.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::format::{self, FormatError};
use super::{CHANGES_MAX, Changes};

/// The file of changes.
const CHANGES: &str = "changes";

/// The one that is being written. Found after a crash it means nothing.
const CHANGES_NEW: &str = "changes.new";

/// Whoever has it locked owns the directory.
const LOCK: &str = "lock";

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Why changes cannot be kept, or found again.
#[derive(Debug, Error)]
pub enum StateError {
    /// Another target has the directory.
    #[error("{}: another target uses it", folder.display())]
    InUse {
        /// Which.
        folder: PathBuf,
    },
    /// The system refuses.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// What is there is not what was written.
    #[error(
        "{}: {source}. Without it the target would forget what was changed at run time: restore it, or move it away to start \
         with what the configuration says",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: FormatError,
    },
    /// More than anybody needs.
    #[error("more than {CHANGES_MAX} changes at run time: write them into the configuration")]
    TooMany,
}

/// A directory of state that is ours.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// Locked until it is closed, which the end of the process does too.
    _lock: File,
}

impl Store {
    /// Takes the directory, which is made if need be, and reads what is there.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Changes), StateError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(io_error(folder, "make the directory"))?;
        let path = folder.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.map_err(io_error(&path, "open"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(io_error(&path, "lock")(source)),
        }
        let store = Self { folder: folder.to_owned(), _lock: lock };
        let changes = store.load()?;
        Ok((store, changes))
    }

    fn load(&self) -> Result<Changes, StateError> {
        let path = self.folder.join(CHANGES);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Changes::default()),
            Err(error) => return Err(io_error(&path, "open")(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(io_error(&path, "read"))?;
        format::decode(&bytes).map_err(|source| StateError::Damaged { path, source })
    }

    /// Keeps these changes from now on. When it returns they are durable; if it fails, either these or the former ones are.
    pub(crate) fn save(&self, changes: &Changes) -> Result<(), StateError> {
        if changes.len() > CHANGES_MAX {
            return Err(StateError::TooMany);
        }
        let (new, path) = (self.folder.join(CHANGES_NEW), self.folder.join(CHANGES));
        let damaged = |source| StateError::Damaged { path: new.clone(), source };
        let bytes = format::encode(changes).map_err(damaged)?;
        let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new);
        let mut file = file.map_err(io_error(&new, "make"))?;
        file.write_all(&bytes).map_err(io_error(&new, "write"))?;
        file.sync_all().map_err(io_error(&new, "make durable"))?;
        fs::rename(&new, &path).map_err(io_error(&path, "replace"))?;
        let folder = File::open(&self.folder).map_err(io_error(&self.folder, "open"))?;
        folder.sync_all().map_err(io_error(&self.folder, "make durable"))
    }
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { path, action, source }
}
