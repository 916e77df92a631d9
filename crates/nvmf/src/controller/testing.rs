//! What tests of the controller's side share: a host's bytes, written down.

use nvme_spec::Sqe;

/// Controller 0x0102, queue 1, 32 entries.
pub(crate) const IO_CONNECT: (u16, u16, u16) = (0x0102, 1, 31);

pub(crate) const SUBSYSTEM: &str = "nqn.2024-05.com.example:drives";
pub(crate) const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:00112233-4455-6677-8899-aabbccddeeff";

/// The 1024 bytes of Connect data, by the figure of the specification.
pub(crate) fn connect_data(controller: u16, subsystem: &str, host: &str) -> Vec<u8> {
    let mut data = vec![0; 1024];
    data[..16].fill(0x5a);
    data[16..18].copy_from_slice(&controller.to_le_bytes());
    data[256..256 + subsystem.len()].copy_from_slice(subsystem.as_bytes());
    data[512..512 + host.len()].copy_from_slice(host.as_bytes());
    data
}

/// A Connect entry: CID BEEFh, no data pointer.
pub(crate) fn connect_entry(queue: u16, sq_size: u16, attributes: u8, keep_alive_ms: u32) -> [u8; 64] {
    let mut entry = [0; 64];
    entry[0] = 0x7f;
    entry[1] = 0x40;
    entry[2..4].copy_from_slice(&[0xef, 0xbe]);
    entry[4] = 0x01;
    entry[42..44].copy_from_slice(&queue.to_le_bytes());
    entry[44..46].copy_from_slice(&sq_size.to_le_bytes());
    entry[46] = attributes;
    entry[48..52].copy_from_slice(&keep_alive_ms.to_le_bytes());
    entry
}

/// A keyed descriptor with remote invalidation, of key 11223344h.
pub(crate) fn keyed(bytes: u32) -> [u8; 16] {
    let mut descriptor = [0; 16];
    descriptor[..8].copy_from_slice(&0x7f00_0000_1000_u64.to_le_bytes());
    descriptor[8..11].copy_from_slice(&bytes.to_le_bytes()[..3]);
    descriptor[11..15].copy_from_slice(&[0x44, 0x33, 0x22, 0x11]);
    descriptor[15] = 0x4f;
    descriptor
}

/// The key of [`keyed`].
pub(crate) const KEY: u32 = 0x1122_3344;

/// An entry with this opcode, namespace, data and command dwords 10 to 15; CID F005h, as Linux makes them.
pub(crate) fn entry(opcode: u8, nsid: u32, dptr: [u8; 16], dwords: [u32; 6]) -> Sqe {
    let mut bytes = [0; 64];
    bytes[0] = opcode;
    bytes[1] = 0x40;
    bytes[2..4].copy_from_slice(&[0x05, 0xf0]);
    bytes[4..8].copy_from_slice(&nsid.to_le_bytes());
    bytes[24..40].copy_from_slice(&dptr);
    for (chunk, dword) in bytes[40..].as_chunks_mut::<4>().0.iter_mut().zip(dwords) {
        *chunk = dword.to_le_bytes();
    }
    Sqe::from_bytes(&bytes)
}

/// An I/O Connect whose data is in the capsule.
pub(crate) fn io_connect_capsule((controller, queue, sq_size): (u16, u16, u16)) -> Vec<u8> {
    let mut capsule = connect_entry(queue, sq_size, 0, 0).to_vec();
    capsule[32..36].copy_from_slice(&1024_u32.to_le_bytes());
    capsule[39] = 0x01;
    capsule.extend_from_slice(&connect_data(controller, SUBSYSTEM, HOST));
    capsule
}
