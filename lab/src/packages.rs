//! Fetches Debian packages with everything they depend on, and unpacks them into a directory. Nothing is installed on
//! the machine: apt works in a directory of the cache, on a list of sources made from the machine's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, LabError, Result};
use crate::program::output_of;

/// Archive keys as Debian's own package of them installs them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Directories which a merged Debian system has as links into /usr.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// An apt that knows only the cache directory.
#[derive(Debug)]
pub struct Apt {
    home: PathBuf,
}

impl Apt {
    /// Sets up apt in a directory and fetches the lists of packages.
    pub fn new(home: &Path) -> Result<Self> {
        let apt = Self { home: home.to_owned() };
        for directory in ["lists/partial", "archives/partial"] {
            let directory = home.join(directory);
            fs::create_dir_all(&directory).about("create", &directory)?;
        }
        for (name, text) in [("sources.list", sources()?), ("status", String::new())] {
            let path = home.join(name);
            fs::write(&path, text).about("write", &path)?;
        }
        // By itself apt takes lists that it cannot fetch for none, and then knows no package.
        output_of(apt.command("apt-get").args(["-o", "APT::Update::Error-Mode=any", "update"]))?;
        Ok(apt)
    }

    /// Names of packages that match a regular expression.
    pub fn search(&self, pattern: &str) -> Result<Vec<String>> {
        let output = output_of(self.command("apt-cache").args(["search", "--names-only", pattern]))?;
        let text = String::from_utf8_lossy(&output);
        Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Fetches packages, with what they depend on if so wished, and unpacks them under `root`.
    pub fn unpack(&self, packages: &[&str], dependencies: bool, root: &Path) -> Result<()> {
        let store = tempfile::tempdir_in(&self.home).about("create a directory in", &self.home)?;
        let partial = store.path().join("partial");
        fs::create_dir(&partial).about("create", &partial)?;
        let mut fetch = self.command("apt-get");
        if dependencies {
            fetch.arg("-o").arg(format!("Dir::Cache::archives={}", store.path().display()));
            fetch.args(["install", "--yes", "--download-only", "--no-install-recommends"]);
        } else {
            fetch.current_dir(store.path()).arg("download");
        }
        output_of(fetch.args(packages))?;
        make_merged_root(root)?;
        let mut unpacked = 0;
        for entry in fs::read_dir(store.path()).about("read", store.path())? {
            let path = entry.about("read", store.path())?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                unpack_one(&path, root)?;
                unpacked += 1;
            }
        }
        if unpacked < packages.len() {
            return Err(LabError::Machine(format!("apt fetched {unpacked} packages for {packages:?}")));
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let home = self.home.display();
        let mut command = Command::new(program);
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        for (key, value) in [
            ("Dir::Etc::sourcelist", format!("{home}/sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
            ("Dir::Etc::preferences", "/dev/null".to_owned()),
            ("Dir::Etc::preferencesparts", "/dev/null".to_owned()),
            ("Dir::State", home.to_string()),
            ("Dir::State::lists", format!("{home}/lists")),
            // An empty status: dependencies come complete, whatever the machine has installed.
            ("Dir::State::status", format!("{home}/status")),
            ("Dir::Cache", home.to_string()),
            ("Dir::Cache::archives", format!("{home}/archives")),
            ("APT::Sandbox::User", "".to_owned()),
            ("Debug::NoLocking", "1".to_owned()),
        ] {
            command.arg("-o").arg(format!("{key}={value}"));
        }
        command
    }
}

/// The machine's release and its backports, from the archive that the machine itself uses for the release.
fn sources() -> Result<String> {
    let release = release_name()?;
    let format =
        ["indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages", "Component: main"];
    let targets = output_of(Command::new("apt-get").args(format))
        .map_err(|error| LabError::Machine(format!("it fetches its packages by apt, and {error}")))?;
    let text = String::from_utf8_lossy(&targets);
    let archive = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(suite, _)| [release.as_str(), "stable", "oldstable", "testing"].contains(suite))
        .map(|(_, archive)| archive.to_owned())
        .ok_or_else(|| LabError::Machine(format!("apt's sources have no main component of {release}")))?;
    if !Path::new(KEYRING).exists() {
        return Err(LabError::Machine(format!("{KEYRING} is missing (package debian-archive-keyring)")));
    }
    let line = |suite: &str| format!("deb [signed-by={KEYRING}] {archive} {suite} main\n");
    Ok(line(&release) + &line(&format!("{release}-backports")))
}

fn release_name() -> Result<String> {
    let path = Path::new("/etc/os-release");
    let text = fs::read_to_string(path).about("read", path)?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    match (value("ID"), value("VERSION_CODENAME")) {
        (Some("debian"), Some(name)) => Ok(name.trim_matches('"').to_owned()),
        _ => Err(LabError::Machine(
            "it takes kernel, QEMU and guest programs from Debian, and this is none".to_owned(),
        )),
    }
}

fn make_merged_root(root: &Path) -> Result<()> {
    for name in MERGED {
        let target = root.join("usr").join(name);
        fs::create_dir_all(&target).about("create", &target)?;
        let link = root.join(name);
        if !link.is_symlink() {
            std::os::unix::fs::symlink(Path::new("usr").join(name), &link).about("link", &link)?;
        }
    }
    Ok(())
}

/// `dpkg-deb --extract` would replace the links of the merged root by directories, tar can be told not to.
fn unpack_one(package: &Path, root: &Path) -> Result<()> {
    let mut reader = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .about("start dpkg-deb for", package)?;
    let archive = reader.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let unpacked = Command::new("tar")
        .args(["--extract", "--keep-directory-symlink", "--no-same-owner", "--file", "-", "--directory"])
        .arg(root)
        .stdin(archive)
        .status()
        .about("start tar for", package)?;
    let read = reader.wait().about("wait for dpkg-deb of", package)?;
    if read.success() && unpacked.success() {
        Ok(())
    } else {
        Err(LabError::Machine(format!("{} cannot be unpacked", package.display())))
    }
}
