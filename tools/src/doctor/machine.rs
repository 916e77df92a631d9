//! The machine that is looked at: its files, and what our RDMA providers say of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rdma::soft::Soft;
use rdma::{DeviceInfo, Provider};

/// Most bytes that are read of a file; the longest that are looked at, lists of sockets, have 150 bytes for each.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Most names that are read of a folder.
const NAMES_MAX: usize = 4096;

/// What a provider says: its devices, or why there are none.
pub(super) type Devices = Result<Vec<DeviceInfo>, String>;

/// See the module.
#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
    /// The addresses that RDMA in userspace can use.
    pub(super) soft: Devices,
    /// What libibverbs lists.
    pub(super) verbs: Devices,
}

impl Machine {
    /// The one that we run on.
    pub(super) fn this() -> Self {
        let soft = Soft.devices().map_err(|error| error.to_string());
        let verbs = rdma::verbs_devices().map_err(|error| error.to_string());
        Self::below(Path::new("/"), soft, verbs)
    }

    /// The one whose files are below `root`.
    pub(super) fn below(root: &Path, soft: Devices, verbs: Devices) -> Self {
        Self { root: root.to_owned(), soft, verbs }
    }

    /// A path such as `sys/module` on this machine.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// A file's text, without what a terminal would obey; `None` if it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        File::open(self.path(path)).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let harmless = |letter: char| letter == '\n' || letter == '\t' || !letter.is_control();
        let text = String::from_utf8_lossy(&bytes);
        Some(text.chars().map(|letter| if harmless(letter) { letter } else { '?' }).collect())
    }

    /// A file's first line, without white space around it.
    pub(super) fn word(&self, path: &str) -> Option<String> {
        self.text(path)?.lines().next().map(|line| line.trim().to_owned())
    }

    /// A file that holds a number.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.word(path)?.parse().ok()
    }

    /// The names in a folder, sorted; none if it is not there.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> =
            names.filter(|name| !name.chars().any(char::is_control)).take(NAMES_MAX).collect();
        names.sort_unstable();
        names
    }

    /// Opens a device file for reading and writing, and closes it.
    pub(super) fn try_open(&self, path: &str) -> io::Result<()> {
        OpenOptions::new().read(true).write(true).open(self.path(path)).map(|_| ())
    }

    /// The soft limit of a line of `/proc/self/limits`; `Some(None)` is none.
    #[allow(clippy::option_option, reason = "unknown, and known to be unlimited")]
    pub(super) fn limit(&self, line: &str) -> Option<Option<u64>> {
        let limits = self.text("proc/self/limits")?;
        let rest = limits.lines().find_map(|text| text.strip_prefix(line))?;
        match rest.split_whitespace().next()? {
            "unlimited" => Some(None),
            number => number.parse().ok().map(Some),
        }
    }

    /// Whether this process has a capability, by its number.
    pub(super) fn is_capable(&self, capability: u32) -> bool {
        let status = self.text("proc/self/status").unwrap_or_default();
        let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
        set.checked_shr(capability).is_some_and(|rest| rest % 2 == 1)
    }
}

/// Bytes in the largest unit that divides them without a rest: 8 MiB.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut number = bytes;
    let mut unit = 0;
    while number >= 1024 && number.is_multiple_of(1024) && unit + 1 < UNITS.len() {
        number /= 1024;
        unit += 1;
    }
    format!("{number} {}", UNITS[unit])
}
