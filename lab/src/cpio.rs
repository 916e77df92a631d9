//! Writes the archive format of the kernel's initramfs ("newc", Documentation/driver-api/early-userspace/buffer-format.rst
//! of the kernel): a header of hexadecimal fields, a name and the contents, each padded to 4 bytes.

/// Type and permission bits of an entry, as stat(2) has them.
const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// Every entry starts at a multiple of this.
const ALIGNMENT: usize = 4;

/// An archive under construction. Directories must be added before what is in them.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a directory.
    pub fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, &[]);
    }

    /// Adds a file that can be executed.
    pub fn file(&mut self, name: &str, contents: &[u8]) {
        self.entry(name, PROGRAM, contents);
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        let links = 1;
        let fields = [
            self.entries as usize, // inode
            mode as usize,
            0, // owner
            0, // group
            links,
            0, // time of modification
            contents.len(),
            0, // device, major and minor
            0,
            0, // device number, major and minor
            0,
            name.len() + 1,
            0, // checksum, of another variant of the format
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_laid_out_as_the_kernel_reads_it() {
        let mut archive = Archive::default();
        archive.file("ab", b"hello");
        let bytes = archive.finish();
        let header = "070701 00000001 000081ED 00000000 00000000 00000001 00000000 00000005 \
                      00000000 00000000 00000000 00000000 00000003 00000000"
            .replace(' ', "");
        assert_eq!(&bytes[..110], header.as_bytes());
        assert_eq!(&bytes[110..116], b"ab\0\0\0\0");
        assert_eq!(&bytes[116..121], b"hello");
        assert_eq!(&bytes[121..124], [0; 3]);
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(&bytes[124 + 110..], b"TRAILER!!!\0\0\0\0");
    }
}
