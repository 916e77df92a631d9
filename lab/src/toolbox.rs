//! Programs for the host that are run from where their packages were unpacked, with their own loader and libraries, so
//! that the lab changes nothing on the machine and every machine runs the same QEMU.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages that the host's part of the lab needs.
pub const PACKAGES: &[&str] =
    &["qemu-system-x86", "seabios", "ipxe-qemu", "kmod", "squashfs-tools", "tshark"];

/// Where Debian puts libraries of this architecture.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// A tree of unpacked packages.
#[derive(Clone, Debug)]
pub struct Toolbox {
    root: PathBuf,
}

impl Toolbox {
    /// The tree under this directory.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// A program of the tree, by its path in it; `name` is what it takes for its own.
    pub fn command(&self, name: &str, program: &str) -> Command {
        let libraries = self.root.join(LIBRARIES);
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries).args(["--argv0", name]).arg(self.root.join(program));
        command
    }

    /// QEMU, told where its firmware is.
    pub fn qemu(&self) -> Command {
        let mut command = self.command("qemu-system-x86_64", "usr/bin/qemu-system-x86_64");
        for firmware in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            command.arg("-L").arg(self.root.join(firmware));
        }
        command.env("QEMU_MODULE_DIR", self.root.join(LIBRARIES).join("qemu"));
        command
    }

    /// The decoder of captures, told where its data are. It finds no configuration of the user's.
    pub fn tshark(&self) -> Command {
        let mut command = self.command("tshark", "usr/bin/tshark");
        command.env("WIRESHARK_DATA_DIR", self.root.join("usr/share/wireshark"));
        command.env("WIRESHARK_PLUGIN_DIR", self.root.join(LIBRARIES).join("wireshark/plugins"));
        command.env("WIRESHARK_CONFIG_DIR", self.root.join("nothing"));
        command
    }

    /// Where the tree is.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
