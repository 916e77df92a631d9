//! Where attachments are found: a directory with a socket for each, which lives as long as the process does.
//!
//! A socket that nobody answers at is what a killed process left; it is removed by whoever finds it. A lock on the directory
//! keeps two processes from taking one name at once, and from removing each other's sockets.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use initiator::nbd::ExportName;

use super::error::AttachError;

/// Where system services keep such things.
const SYSTEM_DIRECTORY: &str = "/run";

/// The directory and its content are their owner's only.
const OWNER_ONLY: u32 = 0o700;

/// Most attachments that are listed.
pub(super) const ATTACHMENTS_MAX: usize = 4096;

const SUFFIX: &str = "sock";

/// The directory.
#[derive(Debug)]
pub(super) struct Registry {
    directory: PathBuf,
}

/// An attachment's place in the directory, until it is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    /// Where it is spoken to.
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Registry {
    /// This user's.
    pub(super) fn open() -> Result<Self, AttachError> {
        let base = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
        let base = base.map_or_else(|| PathBuf::from(SYSTEM_DIRECTORY), PathBuf::from);
        Self::at(base.join("remora").join("attachments"))
    }

    /// In a directory, which is made.
    pub(super) fn at(directory: PathBuf) -> Result<Self, AttachError> {
        let made = DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(&directory);
        made.map_err(|source| AttachError::Directory { path: directory.clone(), source })?;
        Ok(Self { directory })
    }

    /// Keeps others out until the file is closed.
    fn lock(&self) -> Result<File, AttachError> {
        let path = self.directory.join(".lock");
        let lock = || {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|source| AttachError::Directory { path: path.clone(), source })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name).with_added_extension(SUFFIX)
    }

    /// Takes a name.
    pub(super) fn register(&self, name: &ExportName) -> Result<Registration, AttachError> {
        let _lock = self.lock()?;
        let path = self.path(name.as_str());
        if connect(&path)?.is_some() {
            return Err(AttachError::NameTaken(name.clone()));
        }
        let failed = |source| AttachError::Directory { path: path.clone(), source };
        let listener = UnixListener::bind(&path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Registration { listener, path })
    }

    /// Speaks to an attachment.
    pub(super) fn find(&self, name: &ExportName) -> Result<UnixStream, AttachError> {
        let _lock = self.lock()?;
        connect(&self.path(name.as_str()))?.ok_or_else(|| AttachError::Unknown(name.clone()))
    }

    /// Speaks to all attachments, in the order of their names.
    pub(super) fn all(&self) -> Result<Vec<(String, UnixStream)>, AttachError> {
        let _lock = self.lock()?;
        let failed = |source| AttachError::Directory { path: self.directory.clone(), source };
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)?.take(ATTACHMENTS_MAX) {
            let path = entry.map_err(failed)?.path();
            let is_ours = path.extension().is_some_and(|extension| extension == SUFFIX);
            let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|_| is_ours) else {
                continue;
            };
            if let Some(stream) = connect(&path)? {
                all.push((name.to_owned(), stream));
            }
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }
}

/// `None` if nobody is there; what a killed process left is removed.
fn connect(path: &Path) -> Result<Option<UnixStream>, AttachError> {
    let failed = |source| AttachError::Directory { path: path.to_owned(), source };
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            remove(path).map_err(failed)?;
            Ok(None)
        }
        Err(error) => Err(failed(error)),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Whoever finds it later removes it otherwise.
        let _ = remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ExportName {
        text.parse().unwrap()
    }

    fn names(registry: &Registry) -> Vec<String> {
        registry.all().unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn names_are_taken_once_and_found() {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::at(directory.path().join("remora/attachments")).unwrap();
        let first = registry.register(&name("a.b")).unwrap();
        let second = registry.register(&name("a")).unwrap();
        assert!(matches!(registry.register(&name("a")), Err(AttachError::NameTaken(_))));
        assert_eq!(names(&registry), ["a", "a.b"]);
        assert!(registry.find(&name("a.b")).is_ok());
        drop(first);
        assert!(matches!(registry.find(&name("a.b")), Err(AttachError::Unknown(_))));
        drop(second);
        assert!(registry.register(&name("a")).is_ok());
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::at(directory.path().to_owned()).unwrap();
        for left in ["a.sock", "b.sock", "c.sock"] {
            drop(UnixListener::bind(directory.path().join(left)).unwrap());
        }
        assert!(matches!(registry.find(&name("a")), Err(AttachError::Unknown(_))));
        let _taken = registry.register(&name("b")).unwrap();
        assert_eq!(names(&registry), ["b"]);
        assert!(!directory.path().join("c.sock").exists());
    }
}
