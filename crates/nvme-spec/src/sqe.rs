//! The submission queue entry (Base, Submission Queue Entry).

use crate::bits::{get32, high16, high32, join16, join32, low8, low32, set32};
use crate::ids::{CommandId, Nsid};
use crate::sgl::SglDescriptor;

/// The size of an entry in bytes; CC.IOSQES and SQES say it as a power of two, 6.
pub const SQE_BYTES: usize = 64;

/// A submission queue entry: sixteen dwords in the host's byte order, which may say anything.
///
/// A cache line, so that a driver copies one line to its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(64))]
pub struct Sqe([u32; 16]);

/// Fused operation (FUSE), bits 9:8 of dword 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Fuse {
    /// Normal operation.
    #[default]
    Normal = 0,
    /// Fused operation, first command.
    First = 1,
    /// Fused operation, second command.
    Second = 2,
}

/// What the data pointer is: PRP or SGL for Data Transfer (PSDT), bits 15:14 of dword 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Psdt {
    /// PRPs; metadata, if any, is one contiguous buffer.
    #[default]
    Prp = 0,
    /// An SGL; metadata, if any, is one contiguous buffer.
    Sgl = 1,
    /// An SGL; MPTR is the address of an SGL segment with one descriptor for the metadata.
    SglMetadataSgl = 2,
}

/// The data pointer (DPTR), dwords 6 to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataPointer {
    /// Two physical region page entries, see [`crate::prp`].
    Prp {
        /// The first page.
        prp1: u64,
        /// The second page, or a list of pages, or nothing.
        prp2: u64,
    },
    /// The first SGL descriptor (SGL1).
    Sgl(SglDescriptor),
}

impl Sqe {
    /// A command with this opcode, everything else being zero.
    #[must_use]
    #[inline]
    pub const fn new(opcode: u8, cid: CommandId, nsid: Nsid) -> Self {
        let mut dwords = [0; 16];
        dwords[0] = join16(opcode as u16, cid.0);
        dwords[1] = nsid.0;
        Self(dwords)
    }

    /// From dwords that are already in the host's byte order.
    #[must_use]
    #[inline]
    pub const fn from_dwords(dwords: [u32; 16]) -> Self {
        Self(dwords)
    }

    /// The sixteen dwords in the host's byte order.
    #[must_use]
    #[inline]
    pub const fn dwords(&self) -> &[u32; 16] {
        &self.0
    }

    /// Reads an entry as it lies in memory.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; SQE_BYTES]) -> Self {
        let mut dwords = [0; 16];
        for (dword, chunk) in dwords.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *dword = u32::from_le_bytes(*chunk);
        }
        Self(dwords)
    }

    /// The entry as it lies in memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SQE_BYTES] {
        let mut bytes = [0; SQE_BYTES];
        for (chunk, dword) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            *chunk = dword.to_le_bytes();
        }
        bytes
    }

    /// Opcode (OPC).
    #[must_use]
    #[inline]
    pub const fn opcode(&self) -> u8 {
        low8(self.0[0])
    }

    /// Fused operation (FUSE); `None` is the reserved value 3.
    #[must_use]
    pub const fn fuse(&self) -> Option<Fuse> {
        match get32(self.0[0], 8, 2) {
            0 => Some(Fuse::Normal),
            1 => Some(Fuse::First),
            2 => Some(Fuse::Second),
            _ => None,
        }
    }

    /// PRP or SGL for Data Transfer (PSDT); `None` is the reserved value 3.
    #[must_use]
    pub const fn psdt(&self) -> Option<Psdt> {
        match get32(self.0[0], 14, 2) {
            0 => Some(Psdt::Prp),
            1 => Some(Psdt::Sgl),
            2 => Some(Psdt::SglMetadataSgl),
            _ => None,
        }
    }

    /// Command identifier (CID).
    #[must_use]
    #[inline]
    pub const fn cid(&self) -> CommandId {
        CommandId(high16(self.0[0]))
    }

    /// Namespace identifier (NSID).
    #[must_use]
    #[inline]
    pub const fn nsid(&self) -> Nsid {
        Nsid(self.0[1])
    }

    /// Fabrics command type (FCTYPE), byte 4 of a fabrics command, which has no namespace identifier.
    #[must_use]
    pub const fn fctype(&self) -> u8 {
        low8(self.0[1])
    }

    /// Metadata pointer (MPTR).
    #[must_use]
    pub const fn mptr(&self) -> u64 {
        join32(self.0[4], self.0[5])
    }

    /// The data pointer as PSDT says to read it; `None` when PSDT is reserved.
    #[must_use]
    pub const fn data_pointer(&self) -> Option<DataPointer> {
        match self.psdt() {
            Some(Psdt::Prp) => Some(DataPointer::Prp { prp1: self.prp1(), prp2: self.prp2() }),
            Some(Psdt::Sgl | Psdt::SglMetadataSgl) => Some(DataPointer::Sgl(self.sgl1())),
            None => None,
        }
    }

    /// The first PRP entry, if the data pointer has PRPs.
    #[must_use]
    pub const fn prp1(&self) -> u64 {
        join32(self.0[6], self.0[7])
    }

    /// The second PRP entry, if the data pointer has PRPs.
    #[must_use]
    pub const fn prp2(&self) -> u64 {
        join32(self.0[8], self.0[9])
    }

    /// The SGL descriptor, if the data pointer has one.
    #[must_use]
    pub const fn sgl1(&self) -> SglDescriptor {
        SglDescriptor::from_dwords([self.0[6], self.0[7], self.0[8], self.0[9]])
    }

    /// Command dword 2.
    #[must_use]
    pub const fn cdw2(&self) -> u32 {
        self.0[2]
    }

    /// Command dword 3.
    #[must_use]
    pub const fn cdw3(&self) -> u32 {
        self.0[3]
    }

    /// Command dword 10.
    #[must_use]
    #[inline]
    pub const fn cdw10(&self) -> u32 {
        self.0[10]
    }

    /// Command dword 11.
    #[must_use]
    #[inline]
    pub const fn cdw11(&self) -> u32 {
        self.0[11]
    }

    /// Command dword 12.
    #[must_use]
    #[inline]
    pub const fn cdw12(&self) -> u32 {
        self.0[12]
    }

    /// Command dword 13.
    #[must_use]
    #[inline]
    pub const fn cdw13(&self) -> u32 {
        self.0[13]
    }

    /// Command dword 14.
    #[must_use]
    #[inline]
    pub const fn cdw14(&self) -> u32 {
        self.0[14]
    }

    /// Command dword 15.
    #[must_use]
    #[inline]
    pub const fn cdw15(&self) -> u32 {
        self.0[15]
    }

    /// With another command identifier.
    #[must_use]
    #[inline]
    pub const fn with_cid(mut self, cid: CommandId) -> Self {
        self.set_cid(cid);
        self
    }

    /// Replaces the command identifier.
    #[inline]
    pub const fn set_cid(&mut self, cid: CommandId) {
        self.0[0] = (self.0[0] & 0xFFFF) | (cid.0 as u32) << 16;
    }

    /// With another namespace identifier.
    #[must_use]
    #[inline]
    pub const fn with_nsid(mut self, nsid: Nsid) -> Self {
        self.0[1] = nsid.0;
        self
    }

    /// With a fused operation.
    #[must_use]
    pub const fn with_fuse(mut self, fuse: Fuse) -> Self {
        self.0[0] = set32(self.0[0], 8, 2, fuse as u32);
        self
    }

    /// With PRPs as the data pointer; PSDT says so.
    #[must_use]
    #[inline]
    pub const fn with_prps(mut self, prp1: u64, prp2: u64) -> Self {
        self.set_prps(prp1, prp2);
        self
    }

    /// Replaces the data pointer by PRPs; PSDT says so.
    #[inline]
    pub const fn set_prps(&mut self, prp1: u64, prp2: u64) {
        self.0[0] = set32(self.0[0], 14, 2, Psdt::Prp as u32);
        self.0[6] = low32(prp1);
        self.0[7] = high32(prp1);
        self.0[8] = low32(prp2);
        self.0[9] = high32(prp2);
    }

    /// With an SGL descriptor as the data pointer; PSDT says so.
    #[must_use]
    #[inline]
    pub const fn with_sgl(mut self, descriptor: SglDescriptor) -> Self {
        self.set_sgl(descriptor);
        self
    }

    /// Replaces the data pointer by an SGL descriptor; PSDT says so.
    #[inline]
    pub const fn set_sgl(&mut self, descriptor: SglDescriptor) {
        let [a, b, c, d] = descriptor.dwords();
        self.0[0] = set32(self.0[0], 14, 2, Psdt::Sgl as u32);
        self.0[6] = a;
        self.0[7] = b;
        self.0[8] = c;
        self.0[9] = d;
    }

    /// With another PSDT: after `with_sgl`, to say that MPTR is an SGL too.
    #[must_use]
    pub const fn with_psdt(mut self, psdt: Psdt) -> Self {
        self.0[0] = set32(self.0[0], 14, 2, psdt as u32);
        self
    }

    /// With a metadata pointer.
    #[must_use]
    #[inline]
    pub const fn with_mptr(mut self, mptr: u64) -> Self {
        self.0[4] = low32(mptr);
        self.0[5] = high32(mptr);
        self
    }

    /// With command dwords 2 and 3.
    #[must_use]
    pub const fn with_cdw2_3(mut self, cdw2: u32, cdw3: u32) -> Self {
        self.0[2] = cdw2;
        self.0[3] = cdw3;
        self
    }

    /// With command dword 10.
    #[must_use]
    #[inline]
    pub const fn with_cdw10(mut self, value: u32) -> Self {
        self.0[10] = value;
        self
    }

    /// With command dword 11.
    #[must_use]
    #[inline]
    pub const fn with_cdw11(mut self, value: u32) -> Self {
        self.0[11] = value;
        self
    }

    /// With command dword 12.
    #[must_use]
    #[inline]
    pub const fn with_cdw12(mut self, value: u32) -> Self {
        self.0[12] = value;
        self
    }

    /// With command dword 13.
    #[must_use]
    #[inline]
    pub const fn with_cdw13(mut self, value: u32) -> Self {
        self.0[13] = value;
        self
    }

    /// With command dword 14.
    #[must_use]
    #[inline]
    pub const fn with_cdw14(mut self, value: u32) -> Self {
        self.0[14] = value;
        self
    }

    /// With command dword 15.
    #[must_use]
    #[inline]
    pub const fn with_cdw15(mut self, value: u32) -> Self {
        self.0[15] = value;
        self
    }
}

#[cfg(test)]
mod tests;
