//! Which shard a packet belongs to: the one whose number is in the upper bits of its destination queue pair.
//!
//! The kernel finds it with a program of the classic BPF (attached to the group of sockets that share the port), which
//! sees the UDP payload from the BTH on. A batch that was sent with UDP_SEGMENT is steered whole, by its first packet, so
//! senders put packets of one shard into a batch, and a packet that lands elsewhere is handed over.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_RSH, BPF_W, sock_filter,
};

use crate::soft::wire::Qpn;

/// Bits of a queue pair's number that tell the shard.
pub const SHARD_BITS: u32 = 6;
/// Most shards of an address.
pub const SHARDS_MAX: u16 = 1 << SHARD_BITS;
/// How far the shard's bits are from the right of a queue pair's number of 24 bits.
pub const SHARD_SHIFT: u32 = 24 - SHARD_BITS;

/// Returns the accumulator (`BPF_A` of linux/bpf_common.h).
const BPF_A: u32 = 0x10;
/// Where the BTH has one reserved byte and the destination queue pair.
const BTH_DESTINATION: u32 = 4;

/// The shard that a queue pair's number belongs to, if its owner is of our kind. Queue pair 1 (and 0) is shard 0's.
#[inline]
#[must_use]
pub fn shard_of(queue_pair: Qpn) -> u32 {
    queue_pair.value() >> SHARD_SHIFT
}

/// The steering program for so many sockets. What belongs to none goes to the first, and so does what is too short to tell.
pub(super) fn program(shards: u16) -> [sock_filter; 6] {
    [
        step(BPF_LD | BPF_W | BPF_ABS, BTH_DESTINATION),
        step(BPF_ALU | BPF_AND | BPF_K, 0x00ff_ffff),
        step(BPF_ALU | BPF_RSH | BPF_K, SHARD_SHIFT),
        sock_filter { jt: 1, ..step(BPF_JMP | BPF_JGE | BPF_K, u32::from(shards)) },
        step(BPF_RET | BPF_A, 0),
        step(BPF_RET | BPF_K, 0),
    ]
}

fn step(code: u32, k: u32) -> sock_filter {
    let code = u16::try_from(code).unwrap_or_else(|_| unreachable!("codes of the classic BPF have 16 bits"));
    sock_filter { code, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_what_the_kernel_runs() {
        let words = program(5).map(|step| (step.code, step.jt, step.jf, step.k));
        let expected = [
            (0x20, 0, 0, 4),
            (0x54, 0, 0, 0x00ff_ffff),
            (0x74, 0, 0, 18),
            (0x35, 1, 0, 5),
            (0x16, 0, 0, 0),
            (0x06, 0, 0, 0),
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn the_upper_bits_are_the_shard() {
        let of = |number| shard_of(Qpn::try_from(number).unwrap());
        assert_eq!([of(0), of(1), of(0x03_ffff), of(0x04_0000), of(0xff_ffff)], [0, 0, 0, 1, 63]);
    }
}
