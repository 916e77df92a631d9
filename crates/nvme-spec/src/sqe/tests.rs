use super::*;

/// Base, Common Command Format: CDW0, NSID, CDW2, CDW3, MPTR, DPTR, CDW10..15. CDW0: OPC 02h, FUSE 01b, PSDT
/// 01b, CID 1234h.
fn figure() -> [u8; 64] {
    let mut bytes = std::array::from_fn(|index| index as u8);
    bytes[..4].copy_from_slice(&[0x02, 0x41, 0x34, 0x12]);
    bytes
}

#[test]
fn decodes_every_field() {
    let sqe = Sqe::from_bytes(&figure());
    assert_eq!((sqe.opcode(), sqe.cid()), (2, CommandId(0x1234)));
    assert_eq!((sqe.fuse(), sqe.psdt()), (Some(Fuse::First), Some(Psdt::Sgl)));
    assert_eq!((sqe.nsid(), sqe.fctype()), (Nsid(0x0706_0504), 4));
    assert_eq!((sqe.cdw2(), sqe.cdw3()), (0x0B0A_0908, 0x0F0E_0D0C));
    assert_eq!(sqe.mptr(), 0x1716_1514_1312_1110);
    assert_eq!((sqe.prp1(), sqe.prp2()), (0x1F1E_1D1C_1B1A_1918, 0x2726_2524_2322_2120));
    assert_eq!((sqe.cdw10(), sqe.cdw11(), sqe.cdw12()), (0x2B2A_2928, 0x2F2E_2D2C, 0x3332_3130));
    assert_eq!((sqe.cdw13(), sqe.cdw14(), sqe.cdw15()), (0x3736_3534, 0x3B3A_3938, 0x3F3E_3D3C));
    assert_eq!(sqe.to_bytes(), figure());
}

#[test]
fn encodes_every_field() {
    let sqe = Sqe::new(2, CommandId(0xFFFF), Nsid(1))
        .with_cid(CommandId(0x1234))
        .with_nsid(Nsid(0x0706_0504))
        .with_fuse(Fuse::First)
        .with_cdw2_3(0x0B0A_0908, 0x0F0E_0D0C)
        .with_mptr(0x1716_1514_1312_1110)
        .with_sgl(SglDescriptor::from_dwords([0x1B1A_1918, 0x1F1E_1D1C, 0x2322_2120, 0x2726_2524]))
        .with_cdw10(0x2B2A_2928)
        .with_cdw11(0x2F2E_2D2C)
        .with_cdw12(0x3332_3130)
        .with_cdw13(0x3736_3534)
        .with_cdw14(0x3B3A_3938)
        .with_cdw15(0x3F3E_3D3C);
    assert_eq!(sqe.to_bytes(), figure());
    let prps = sqe.with_prps(0x1F1E_1D1C_1B1A_1918, 0x2726_2524_2322_2120);
    assert_eq!(prps.to_bytes()[..4], [0x02, 0x01, 0x34, 0x12]);
    assert_eq!(prps.to_bytes()[4..], figure()[4..]);
}

#[test]
fn every_fuse_and_psdt_value() {
    let dw0 = |raw| Sqe::from_dwords([raw, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let fuses = [Some(Fuse::Normal), Some(Fuse::First), Some(Fuse::Second), None];
    let psdts = [Some(Psdt::Prp), Some(Psdt::Sgl), Some(Psdt::SglMetadataSgl), None];
    for raw in 0..4 {
        assert_eq!(dw0(raw << 8).fuse(), fuses[raw as usize]);
        assert_eq!(dw0(raw << 14).psdt(), psdts[raw as usize]);
    }
    assert_eq!(dw0(3 << 14).data_pointer(), None);
    assert_eq!(dw0(0).data_pointer(), Some(DataPointer::Prp { prp1: 0, prp2: 0 }));
    assert_eq!(dw0(2 << 14).data_pointer(), Some(DataPointer::Sgl(SglDescriptor::default())));
    assert_eq!(dw0(1 << 14).with_psdt(Psdt::SglMetadataSgl).dwords()[0], 2 << 14);
}

#[test]
fn an_entry_is_one_cache_line() {
    assert_eq!((size_of::<Sqe>(), align_of::<Sqe>()), (64, 64));
}
