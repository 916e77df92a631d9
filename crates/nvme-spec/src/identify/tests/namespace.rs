use super::super::*;
use super::image;
use crate::command::CommandSetId;
use crate::ids::Nsid;
use crate::protection::{ProtectionSettings, ProtectionType};

/// NVM, Identify Namespace Data Structure.
const NAMESPACE: &[(usize, &[u8])] = &[
    (0, &[0, 0, 0, 0x10, 0, 0, 0, 0]),
    (8, &[0, 0, 0, 0x0F, 0, 0, 0, 0]),
    (16, &[0, 0, 0, 0x0E, 0, 0, 0, 0]),
    (24, &[0x1C, 1, 0x31, 3, 0x1F, 0x0A, 1, 0xFF, 0x80, 0x09]),
    (34, &[7, 0, 8, 0, 9, 0, 10, 0, 11, 0, 12, 0, 0, 1]),
    (48, &[0, 0, 0, 0, 0, 0, 0, 0, 2]),
    (64, &[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 0, 0, 8, 0, 9]),
    (92, &[13, 0, 0, 0]),
    (99, &[1, 14, 0, 15, 0]),
    (104, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    (120, &[0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8]),
    (128, &[0, 0, 9, 2, 8, 0, 12, 0]),
    (128 + 17 * 4, &[64, 0, 12, 1]),
    (128 + 63 * 4, &[1, 0, 10, 0]),
];

fn namespace_value() -> IdentifyNamespace {
    let mut lbaf = [LbaFormat::default(); 64];
    lbaf[0] = LbaFormat::new(9, 0).with_relative_performance(2);
    lbaf[1] = LbaFormat::new(12, 8);
    lbaf[17] = LbaFormat::new(12, 64).with_relative_performance(1);
    lbaf[63] = LbaFormat::new(10, 1);
    IdentifyNamespace {
        nsze: 0x1000_0000,
        ncap: 0x0F00_0000,
        nuse: 0x0E00_0000,
        nsfeat: NamespaceFeatures::DEALLOCATED_ERROR
            | NamespaceFeatures::IDENTIFIERS_NOT_REUSED
            | NamespaceFeatures::OPTIMAL_PERFORMANCE,
        nlbaf: 1,
        flbas: FormattedLba::new(17, true),
        mc: 3,
        dpc: 0x1F,
        dps: ProtectionSettings::new(ProtectionType::Type2, true),
        nmic: NamespaceSharing::SHARED,
        rescap: ReservationCapabilities::all(),
        fpi: 0x80,
        dlfeat: DeallocateFeatures::new(ReadAfterDeallocate::Zeroes, true),
        nawun: 7,
        nawupf: 8,
        nacwu: 9,
        nabsn: 10,
        nabo: 11,
        nabspf: 12,
        noiob: 256,
        nvmcap_bytes: 2 << 64,
        npwg: 1,
        npwa: 2,
        npdg: 3,
        npda: 4,
        nows: 5,
        mssrl: 6,
        mcl: 7,
        msrc: 8,
        nulbaf: 9,
        anagrpid: 13,
        nsattr: NamespaceAttributes::WRITE_PROTECTED,
        nvmsetid: 14,
        endgid: 15,
        nguid: std::array::from_fn(|index| index as u8 + 1),
        eui64: [0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8],
        lbaf,
    }
}

#[test]
fn namespace_both_ways() {
    assert_eq!(IdentifyNamespace::from_bytes(&image(NAMESPACE)), Ok(namespace_value()));
    assert_eq!(namespace_value().to_bytes(), image(NAMESPACE));
    let namespace = namespace_value();
    assert_eq!((namespace.format().metadata_bytes(), namespace.format().data_bytes()), (64, Some(4096)));
    assert!(namespace.is_active() && namespace.nguid().is_some() && namespace.eui64().is_some());
    let inactive = IdentifyNamespace::default();
    assert!(!inactive.is_active() && inactive.nguid().is_none() && inactive.eui64().is_none());
}

#[test]
fn formatted_lba_index_has_two_parts() {
    // NVM, Identify Namespace Data Structure, FLBAS: bits 3:0 low, 6:5 high, 4 extended.
    assert_eq!(FormattedLba::from_raw(0b0110_0011).index(), 0b11_0011);
    assert!(!FormattedLba::from_raw(0b0110_0011).is_extended());
    for raw in 0..0x80 {
        let flbas = FormattedLba::from_raw(raw);
        assert_eq!(FormattedLba::new(flbas.index(), flbas.is_extended()), flbas);
        let bits = (raw % 16) + (raw / 32) * 16;
        assert_eq!(flbas.index(), bits);
    }
}

#[test]
fn lba_sizes_of_a_lying_device() {
    let sizes: Vec<u8> =
        (0..=u8::MAX).filter(|&shift| LbaFormat::new(shift, 0).data_bytes().is_some()).collect();
    assert_eq!(sizes, (9..=30).collect::<Vec<u8>>());
    assert_eq!(LbaFormat::new(9, 0).data_bytes(), Some(512));
    assert_eq!(LbaFormat::from_raw(0x030C_0008).relative_performance(), 3);
}

#[test]
fn deallocate_features_by_value() {
    // NVM, Identify Namespace Data Structure, DLFEAT: bits 2:0 000b not reported, 001b zeroes, 010b ones; bit
    // 3 Write Zeroes.
    use ReadAfterDeallocate::{NotReported, Ones, Zeroes};
    let reads = [Some(NotReported), Some(Zeroes), Some(Ones), None, None, None, None, None];
    for raw in 0..16 {
        let features = DeallocateFeatures::from_raw(raw);
        assert_eq!(features.reads_as(), reads[usize::from(raw % 8)]);
        assert_eq!(features.write_zeroes_deallocates(), raw >= 8);
    }
}

#[test]
fn command_set_structures() {
    // NVM, I/O Command Set specific Identify Namespace (CNS 05h): LBSTM 7:0, PIC 8, PIFA 9, ELBAF from 12,
    // NPDGL 271:268, up to NPDAL 287:284.
    let bytes = image(&[
        (0, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (16, &[0x8A, 0, 0, 0]),
        (268, &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0]),
    ]);
    let namespace = NvmNamespace::from_array(&bytes);
    assert_eq!((namespace.lbstm, namespace.pic, namespace.pifa), (0x0807_0605_0403_0201, 9, 10));
    assert_eq!((namespace.elbaf[1].storage_tag_bits(), namespace.elbaf[1].protection_format()), (10, 1));
    assert_eq!((namespace.npdgl, namespace.nprg, namespace.npra), (1, 2, 3));
    assert_eq!((namespace.nors, namespace.npdal), (4, 5));
    assert_eq!(namespace.to_bytes(), bytes);
    // NVM, I/O Command Set specific Identify Controller (CNS 06h).
    let bytes = image(&[(0, &[1, 2, 3, 4, 5, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 1])]);
    let limits = NvmController { vsl: 1, wzsl: 2, wusl: 3, dmrl: 4, dmrsl: 5, dmsl: 0x0100_0000_0000_0006 };
    assert_eq!(NvmController::from_bytes(&bytes), Ok(limits.clone()));
    assert_eq!(limits.to_bytes(), bytes);
}

#[test]
fn independent_namespace() {
    // Base, I/O Command Set Independent Identify Namespace (CNS 08h).
    let bytes = image(&[(0, &[0x28, 1, 2, 0x80, 3, 0, 0, 0, 1, 0, 4, 0, 5, 0, 1])]);
    let namespace = IndependentNamespace {
        nsfeat: 0x28,
        nmic: NamespaceSharing::SHARED,
        rescap: ReservationCapabilities::WRITE_EXCLUSIVE,
        fpi: 0x80,
        anagrpid: 3,
        nsattr: NamespaceAttributes::WRITE_PROTECTED,
        nvmsetid: 4,
        endgid: 5,
        nstat: NamespaceStatus::READY,
    };
    assert_eq!(IndependentNamespace::from_bytes(&bytes), Ok(namespace.clone()));
    assert_eq!(namespace.to_bytes(), bytes);
}

#[test]
fn namespace_lists() {
    let bytes = image(&[(0, &[1, 0, 0, 0, 4, 3, 2, 1, 0, 0, 0, 0, 9, 0, 0, 0])]);
    let list = NamespaceList::from_bytes(&bytes).unwrap();
    assert_eq!(list.iter().collect::<Vec<_>>(), [Nsid(1), Nsid(0x0102_0304)]);
    assert!(!list.is_empty() && !list.is_full() && list.len() == 2);
    assert_eq!(NamespaceList::encode([Nsid(1), Nsid(0x0102_0304)])[..8], [1, 0, 0, 0, 4, 3, 2, 1]);
    let full = NamespaceList::encode((1..=2000).map(Nsid));
    let full = NamespaceList::from_bytes(&full).unwrap();
    assert!(full.is_full() && full.iter().last() == Some(Nsid(1024)));
    assert!(NamespaceList::from_bytes(&[0; 4096]).unwrap().is_empty());
}

#[test]
fn descriptors_both_ways() {
    // Base, Namespace Identification Descriptor: NIDT, NIDL, two reserved bytes, NID.
    let bytes = image(&[
        (0, &[1, 8, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (12, &[2, 16, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]),
        (32, &[3, 16, 0, 0, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4]),
        (52, &[4, 1, 0, 0, 2]),
    ]);
    let ids = NamespaceIds {
        eui64: Some([1, 2, 3, 4, 5, 6, 7, 8]),
        nguid: Some([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]),
        uuid: Some([3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4]),
        csi: Some(CommandSetId::ZONED),
    };
    assert_eq!(NamespaceIds::from_bytes(&bytes), Ok(ids));
    assert_eq!(ids.to_bytes(), bytes);
    assert_eq!(NamespaceIds::default().to_bytes(), [0; 4096]);
}

#[test]
fn descriptors_of_a_lying_device() {
    let read = NamespaceIds::from_bytes;
    assert_eq!(read(&[]), Ok(NamespaceIds::default()));
    assert_eq!(read(&[1, 8, 0, 0, 1]), Err(DescriptorError::Truncated { at: 0 }));
    assert_eq!(
        read(&[3, 8, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
        Err(DescriptorError::Length { descriptor_type: 3, got: 8 })
    );
    assert_eq!(read(&[4, 2, 0, 0, 0, 0]), Err(DescriptorError::Length { descriptor_type: 4, got: 2 }));
    let after_unknown = [9, 1, 0, 0, 7, 4, 1, 0, 0, 2];
    assert_eq!(read(&after_unknown).map(|ids| ids.csi), Ok(Some(CommandSetId::ZONED)));
    assert_eq!(read(&[9, 200, 0, 0]), Err(DescriptorError::Truncated { at: 0 }));
}
