use super::*;

const ADDRESS: u64 = 0x0102_0304_0506_0708;

/// Bytes as Base, SGL Descriptor Format and its descriptors, lays them out: address 7:0, length 11:8 (keyed:
/// 10:8), key 14:11, type and sub type in byte 15.
fn table() -> Vec<([u8; 16], Sgl)> {
    let length = 0x0B0A_0900;
    let address = ADDRESS;
    vec![
        ([8, 7, 6, 5, 4, 3, 2, 1, 0x00, 0x09, 0x0A, 0x0B, 0, 0, 0, 0x00], Sgl::DataBlock { address, length }),
        (
            [8, 7, 6, 5, 4, 3, 2, 1, 0x00, 0x09, 0x0A, 0x0B, 0, 0, 0, 0x01],
            Sgl::InCapsule { offset: address, length },
        ),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x09, 0x0A, 0x0B, 0, 0, 0, 0x10], Sgl::BitBucket { length }),
        ([8, 7, 6, 5, 4, 3, 2, 1, 0x00, 0x09, 0x0A, 0x0B, 0, 0, 0, 0x20], Sgl::Segment { address, length }),
        (
            [8, 7, 6, 5, 4, 3, 2, 1, 0x00, 0x09, 0x0A, 0x0B, 0, 0, 0, 0x30],
            Sgl::LastSegment { address, length },
        ),
        (
            [8, 7, 6, 5, 4, 3, 2, 1, 0x00, 0x09, 0x0A, 0x0B, 0, 0, 0, 0x31],
            Sgl::LastSegmentInCapsule { offset: address, length },
        ),
        (
            [8, 7, 6, 5, 4, 3, 2, 1, 0x01, 0x02, 0x03, 0xAA, 0xBB, 0xCC, 0xDD, 0x40],
            Sgl::KeyedDataBlock {
                address,
                length: KeyedLength(0x0003_0201),
                key: 0xDDCC_BBAA,
                invalidate: false,
            },
        ),
        (
            [8, 7, 6, 5, 4, 3, 2, 1, 0xFF, 0xFF, 0xFF, 0xAA, 0xBB, 0xCC, 0xDD, 0x4F],
            Sgl::KeyedDataBlock { address, length: KeyedLength::MAX, key: 0xDDCC_BBAA, invalidate: true },
        ),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x09, 0x0A, 0x0B, 0, 0, 0, 0x5A], Sgl::TransportDataBlock { length }),
    ]
}

#[test]
fn both_directions_by_the_figures() {
    for (bytes, sgl) in table() {
        assert_eq!(Sgl::try_from(SglDescriptor::from_bytes(bytes)), Ok(sgl));
        assert_eq!(SglDescriptor::from(sgl).to_bytes(), bytes, "{sgl:?}");
    }
}

#[test]
fn only_the_defined_identifiers_decode() {
    let defined: Vec<u8> = table().iter().map(|(bytes, _)| bytes[15]).collect();
    for identifier in 0..=u8::MAX {
        let descriptor = SglDescriptor([0, 0, 16, u32::from(identifier) << 24]);
        match Sgl::try_from(descriptor) {
            Ok(_) => assert!(defined.contains(&identifier), "{identifier:#x}"),
            Err(error) => {
                assert!(!defined.contains(&identifier), "{identifier:#x}");
                assert_eq!(error.status_code(), StatusCode::SGL_DESCRIPTOR_TYPE_INVALID);
            }
        }
    }
}

#[test]
fn segments_hold_whole_aligned_descriptors() {
    for (length, address, ok) in [(0, 0, false), (8, 0, false), (17, 0, false), (32, 4, false), (32, 8, true)]
    {
        let descriptor = SglDescriptor::with_type(address, length, TYPE_SEGMENT, 0);
        match Sgl::try_from(descriptor) {
            Ok(sgl) => assert!(ok, "{sgl:?}"),
            Err(error) => {
                assert!(!ok, "{error}");
                assert_eq!(error.status_code(), StatusCode::INVALID_SGL_SEGMENT_DESCRIPTOR);
            }
        }
    }
}

#[test]
fn keyed_length_has_24_bits() {
    assert_eq!(KeyedLength::new(0xFF_FFFF), Some(KeyedLength::MAX));
    assert_eq!(KeyedLength::new(0x100_0000), None);
}
