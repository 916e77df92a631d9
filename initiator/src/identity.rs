//! Who this host says that it is: what the user says, what /etc/nvme says, or a name made once and stored.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nvmf::host::{HostIdentity, HostIdentityError};
use thiserror::Error;
use uuid::Uuid;

/// Where nvme-cli keeps the host's name and identifier.
const SYSTEM_FOLDER: &str = "/etc/nvme";
/// A new random UUID at each look.
const RANDOM_UUID: &str = "/proc/sys/kernel/random/uuid";
/// The file's name in the state folder.
const STORED_NAME: &str = "host-uuid";

/// Why there is no host identity.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// What was given or stored is none.
    #[error("{from}: {error}")]
    Invalid {
        /// Where it is from.
        from: String,
        /// What is wrong.
        error: HostIdentityError,
    },
    /// An identifier was given without a name.
    #[error("a host identifier without a host name: give hostnqn besides")]
    IdAlone,
    /// A file that should have it cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no folder to store a new name in.
    #[error(
        "this host has no name: there is no /etc/nvme/hostnqn, and neither XDG_STATE_HOME nor HOME says where to keep one; \
         give hostnqn"
    )]
    NoFolder,
}

/// The identity to use: `nqn` (and `id`) if given, otherwise that of /etc/nvme, otherwise one that was made before, otherwise a
/// new one, which is stored in the user's state folder.
pub fn host_identity(nqn: Option<&str>, id: Option<&str>) -> Result<HostIdentity, IdentityError> {
    match (nqn, id) {
        (Some(nqn), id) => HostIdentity::parse(nqn, id)
            .map_err(|error| IdentityError::Invalid { from: "hostnqn and hostid".to_owned(), error }),
        (None, Some(_)) => Err(IdentityError::IdAlone),
        (None, None) => match system_identity(Path::new(SYSTEM_FOLDER))? {
            Some(identity) => Ok(identity),
            None => stored_identity(&state_folder().ok_or(IdentityError::NoFolder)?),
        },
    }
}

/// What nvme-cli would use; `None` if it has none.
fn system_identity(folder: &Path) -> Result<Option<HostIdentity>, IdentityError> {
    let Some(nqn) = read(&folder.join("hostnqn"))? else { return Ok(None) };
    let id = read(&folder.join("hostid"))?;
    let from = folder.display().to_string();
    HostIdentity::parse(&nqn, id.as_deref()).map(Some).map_err(|error| IdentityError::Invalid { from, error })
}

fn state_folder() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = folder("XDG_STATE_HOME").filter(|path| path.is_absolute());
    Some(state.or_else(|| Some(folder("HOME")?.join(".local/state")))?.join("remora"))
}

/// The identity that was made before, or a new one that is stored first.
fn stored_identity(folder: &Path) -> Result<HostIdentity, IdentityError> {
    let path = folder.join(STORED_NAME);
    if read(&path)?.is_none() {
        store(folder, &path).map_err(|source| IdentityError::File { path: path.clone(), source })?;
    }
    // Another process may have been first: what is there counts.
    let text = read(&path)?.unwrap_or_default();
    let invalid = |error| IdentityError::Invalid { from: path.display().to_string(), error };
    let uuid =
        Uuid::parse_str(text.trim()).map_err(|_| invalid(HostIdentityError::Id(text.trim().to_owned())))?;
    if uuid.is_nil() { Err(invalid(HostIdentityError::ZeroId)) } else { Ok(HostIdentity::of_uuid(uuid)) }
}

/// Stores a new UUID so that a crash leaves all of it or nothing, and two processes agree: whoever links first has won.
fn store(folder: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let draft = folder.join(format!("{STORED_NAME}.{}", std::process::id()));
    let mut file = File::create(&draft)?;
    file.write_all(fs::read_to_string(RANDOM_UUID)?.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(folder)?.sync_all(),
    }
}

fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::File { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";

    #[test]
    fn a_new_name_is_made_once_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a/b");
        let first = stored_identity(&state).unwrap();
        assert_eq!(stored_identity(&state).unwrap(), first);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "no draft is left");
        let other = stored_identity(&folder.path().join("c")).unwrap();
        assert_ne!(other, first);
    }

    #[test]
    fn processes_that_store_at_once_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STORED_NAME);
        fs::write(&path, UUID).unwrap();
        store(folder.path(), &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), UUID, "the first one counts");
    }

    #[test]
    fn the_systems_name_comes_with_its_identifier() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(system_identity(folder.path()).unwrap(), None);
        fs::write(folder.path().join("hostnqn"), "nqn.2024-05.com.example:h\n").unwrap();
        assert!(matches!(system_identity(folder.path()), Err(IdentityError::Invalid { .. })));
        fs::write(folder.path().join("hostid"), format!("{UUID}\n")).unwrap();
        let identity = system_identity(folder.path()).unwrap().unwrap();
        assert_eq!(identity, HostIdentity::parse("nqn.2024-05.com.example:h", Some(UUID)).unwrap());
    }

    #[test]
    fn what_was_spoilt_is_told_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(STORED_NAME), "half a uu").unwrap();
        let error = stored_identity(folder.path()).unwrap_err();
        assert!(
            error.to_string().contains("host-uuid") && error.to_string().contains("half a uu"),
            "{error}"
        );
        assert!(matches!(host_identity(None, Some(UUID)), Err(IdentityError::IdAlone)));
    }
}
