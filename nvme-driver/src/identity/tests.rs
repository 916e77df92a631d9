//! What a device says, byte by byte (Base, Identify Controller Data Structure; NVM, Identify Namespace Data Structure
//! and I/O Command Set specific Identify Controller), against what we make of it.

use super::*;

/// The data that a device answers Identify with.
struct Device {
    controller: [u8; 4096],
    limits: [u8; 4096],
    namespace: [u8; 4096],
    ids: Vec<u8>,
}

/// 0102030405060708h blocks of 4096 bytes, no limits, no optional commands.
fn device() -> Device {
    let zeroes = [0; 4096];
    Device { controller: zeroes, limits: zeroes, namespace: zeroes, ids: Vec::new() }
        .namespace(0, &[8, 7, 6, 5, 4, 3, 2, 1])
        .namespace(128, &[0, 0, 12, 0])
}

impl Device {
    fn controller(mut self, at: usize, bytes: &[u8]) -> Self {
        self.controller[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn limits(mut self, at: usize, bytes: &[u8]) -> Self {
        self.limits[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn namespace(mut self, at: usize, bytes: &[u8]) -> Self {
        self.namespace[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Adds a Namespace Identification Descriptor.
    fn id(mut self, descriptor_type: u8, value: &[u8]) -> Self {
        self.ids.extend([descriptor_type, u8::try_from(value.len()).unwrap(), 0, 0]);
        self.ids.extend(value);
        self
    }

    fn info(&self) -> ControllerInfo {
        let identify = IdentifyController::from_array(&self.controller);
        let mut info = ControllerInfo::new("0000:01:00.0", Version::from_raw(0x0002_0000), identify);
        info.limits = NvmController::from_array(&self.limits);
        info
    }

    fn shape(&self, sgls: bool) -> Result<NamespaceShape, NamespaceError> {
        let structure = IdentifyNamespace::from_array(&self.namespace);
        shape_of(&self.info(), &structure, &NamespaceIds::from_bytes(&self.ids).unwrap(), sgls)
    }

    fn geometry(&self) -> Geometry {
        self.shape(false).unwrap().geometry
    }

    fn abilities(&self) -> Abilities {
        self.shape(false).unwrap().abilities
    }

    fn identity(&self) -> Identity {
        self.shape(false).unwrap().identity
    }
}

#[test]
fn a_device_that_says_little_has_our_own_limits() {
    let expected = Geometry {
        block_size: BlockSize::B4096,
        blocks: 0x0102_0304_0506_0708,
        limits: Limits {
            transfer_blocks_max: 512,
            zeroes_blocks_max: 65536,
            discard_blocks_max: 0xFFFF_FFFF,
            boundary_blocks: 0,
            segments_max: 512,
            segment_alignment: 4,
            seam_alignment: 4096,
        },
        atomic_blocks: 1,
        write_cache: WriteCache::Through,
    };
    assert_eq!(device().geometry(), expected);
    let identity = device().identity();
    assert_eq!((identity.uuid, identity.nguid, identity.eui64), (None, None, None));
    assert_eq!((identity.model.as_str(), identity.serial.as_str(), identity.firmware.as_str()), ("", "", ""));
}

#[test]
fn sgls_free_the_seams() {
    let limits = device().shape(true).unwrap().geometry.limits;
    assert_eq!((limits.segments_max, limits.seam_alignment, limits.segment_alignment), (256, 4, 4));
    // SGLS bits 1:0: 00b none, 01b any alignment, 10b dwords, 11b reserved.
    for (sgls, taken) in [(0, false), (1, true), (2, true), (3, false), (0xFC, false)] {
        assert_eq!(device().controller(536, &[sgls]).info().takes_sgls(), taken, "{sgls}");
    }
}

#[test]
fn blocks_have_512_to_65536_bytes() {
    let sized = |lbads| device().namespace(128, &[0, 0, lbads, 0]).shape(false);
    for lbads in 9..=16 {
        let geometry = sized(lbads).unwrap().geometry;
        assert_eq!(geometry.block_size.bytes(), 1 << lbads);
        // 2 MiB of a command that the controller does not limit.
        assert_eq!(geometry.limits.transfer_blocks_max, 1 << (21 - lbads));
    }
    for lbads in [0, 1, 8, 17, 21, 22, 30, 31, 32, 63, 64, 255] {
        assert_eq!(sized(lbads), Err(NamespaceError::BlockSize { lbads }), "{lbads}");
    }
}

#[test]
fn the_format_is_the_one_in_use() {
    // FLBAS: the index' low bits in 3:0, its high bits in 6:5.
    let formats = device().namespace(128 + 18 * 4, &[0, 0, 13, 0]).namespace(128 + 2 * 4, &[0, 0, 9, 0]);
    let formats = formats.namespace(26, &[0x22]);
    assert_eq!(formats.geometry().block_size.bytes(), 8192);
    assert_eq!(formats.namespace(26, &[2]).geometry().block_size.bytes(), 512);
}

#[test]
fn metadata_is_refused() {
    let with = |low, high| device().namespace(128, &[low, high, 12, 0]).shape(false);
    assert_eq!(with(8, 0), Err(NamespaceError::Metadata { bytes: 8 }));
    assert_eq!(with(0, 1), Err(NamespaceError::Metadata { bytes: 256 }));
    // RP, the relative performance, is no metadata.
    assert!(device().namespace(128, &[0, 0, 12, 3]).shape(false).is_ok());
}

#[test]
fn only_the_nvm_command_set() {
    let of = |csi| device().id(4, &[csi]).shape(false).map(|_| ());
    assert_eq!(of(0), Ok(()));
    for csi in [1, 2, 255] {
        assert_eq!(of(csi), Err(NamespaceError::CommandSet(CommandSetId(csi))));
    }
}

#[test]
fn a_command_moves_what_mdts_allows() {
    let limited = |mdts: u8, lbads| device().controller(77, &[mdts]).namespace(128, &[0, 0, lbads, 0]);
    // MDTS: 2^n pages of 4 KiB. Above 2 MiB the list page of a command limits.
    let cases = [(0, 4096), (1, 16), (3, 64), (8, 2048), (9, 4096), (10, 4096), (51, 4096), (52, 4096)];
    for (mdts, blocks) in cases.into_iter().chain([(63, 4096), (64, 4096), (255, 4096)]) {
        assert_eq!(limited(mdts, 9).geometry().limits.transfer_blocks_max, blocks, "MDTS {mdts}");
    }
    assert_eq!(limited(4, 16).geometry().limits.transfer_blocks_max, 1);
    for (mdts, bytes) in [(3, 32768), (1, 8192)] {
        assert_eq!(limited(mdts, 16).shape(false), Err(NamespaceError::TransferSize { bytes }));
    }
}

#[test]
fn write_zeroes_has_a_limit_of_its_own() {
    // WZSL: 2^n pages of 4 KiB; the command counts 65536 blocks at most. MDTS does not limit it.
    let cases = [(0, 65536), (1, 16), (3, 64), (12, 32768), (13, 65536), (14, 65536), (52, 65536)];
    for (wzsl, blocks) in cases.into_iter().chain([(63, 65536), (64, 65536), (255, 65536)]) {
        let device = device().limits(1, &[wzsl]).controller(77, &[2]).namespace(128, &[0, 0, 9, 0]);
        assert_eq!(device.geometry().limits.zeroes_blocks_max, blocks, "WZSL {wzsl}");
    }
    assert_eq!(device().limits(1, &[1]).geometry().limits.zeroes_blocks_max, 2);
    let large_blocks = device().limits(1, &[1]).namespace(128, &[0, 0, 16, 0]);
    assert_eq!(large_blocks.geometry().limits.zeroes_blocks_max, 1, "a limit is one block at least");
}

#[test]
fn the_lesser_discard_limit_counts() {
    let discard = |dmrsl: [u8; 4], dmsl: [u8; 8]| {
        device().limits(4, &dmrsl).limits(8, &dmsl).geometry().limits.discard_blocks_max
    };
    const NONE: [u8; 4] = [0; 4];
    assert_eq!(discard([0, 1, 0, 0], [0; 8]), 256);
    assert_eq!(discard(NONE, [0, 2, 0, 0, 0, 0, 0, 0]), 512);
    assert_eq!(discard([0, 1, 0, 0], [0, 2, 0, 0, 0, 0, 0, 0]), 256);
    assert_eq!(discard([0, 4, 0, 0], [0, 2, 0, 0, 0, 0, 0, 0]), 512);
    assert_eq!(discard([255; 4], [255; 8]), 0xFFFF_FFFF);
    assert_eq!(discard(NONE, [0, 0, 0, 0, 1, 0, 0, 0]), 0xFFFF_FFFF, "a range has 32 bits");
}

#[test]
fn the_optimal_boundary_is_told() {
    assert_eq!(device().namespace(46, &[0x00, 0x01]).geometry().limits.boundary_blocks, 256);
}

#[test]
fn the_namespace_s_own_atomic_unit_counts_if_it_is_defined() {
    // AWUPF and NAWUPF are 0-based; NSFEAT bit 1 (NSABP) defines the latter.
    let both = || device().controller(528, &[15, 0]).namespace(36, &[7, 0]);
    for (nsfeat, blocks) in [(0, 16), (2, 8), (0xFD, 16), (0xFF, 8)] {
        assert_eq!(both().namespace(24, &[nsfeat]).geometry().atomic_blocks, blocks, "NSFEAT {nsfeat:#x}");
    }
    assert_eq!(device().controller(528, &[255; 2]).geometry().atomic_blocks, 65536);
}

#[test]
fn a_volatile_write_cache_is_told() {
    // VWC: bit 0 present, bits 2:1 the behaviour of Flush.
    for (vwc, cache) in [
        (1, WriteCache::Volatile),
        (7, WriteCache::Volatile),
        (6, WriteCache::Through),
        (0, WriteCache::Through),
    ] {
        assert_eq!(device().controller(525, &[vwc]).geometry().write_cache, cache, "VWC {vwc}");
    }
}

#[test]
fn each_optional_command_is_an_ability() {
    assert_eq!(device().abilities(), Abilities::WRITE);
    // ONCS, bits 0 to 8.
    let by_bit = [
        Abilities::COMPARE,
        Abilities::empty(),
        Abilities::DISCARD,
        Abilities::WRITE_ZEROES,
        Abilities::empty(),
        Abilities::RESERVATIONS,
        Abilities::empty(),
        Abilities::VERIFY,
        Abilities::empty(),
    ];
    for (bit, ability) in by_bit.into_iter().enumerate() {
        let oncs = (1u16 << bit).to_le_bytes();
        assert_eq!(device().controller(520, &oncs).abilities(), Abilities::WRITE | ability, "bit {bit}");
    }
}

#[test]
fn a_write_protected_namespace_takes_no_writes() {
    // NSATTR bit 0.
    assert_eq!(device().namespace(99, &[1]).abilities(), Abilities::empty());
    assert_eq!(device().namespace(99, &[0xFE]).abilities(), Abilities::WRITE);
}

#[test]
fn discards_read_as_zeroes_if_the_device_can_discard_and_says_so() {
    // DLFEAT bits 2:0: not reported, zeroes, ones, reserved; bit 3 is of Write Zeroes.
    let zeroes = |dlfeat, oncs| {
        let device = device().namespace(33, &[dlfeat]).controller(520, &[oncs]);
        device.abilities().contains(Abilities::DISCARD_ZEROES)
    };
    for (dlfeat, expected) in
        [(0, false), (1, true), (2, false), (3, false), (5, false), (8, false), (0x19, true)]
    {
        assert_eq!(zeroes(dlfeat, 4), expected, "DLFEAT {dlfeat:#x}");
        assert!(!zeroes(dlfeat, 8), "without Dataset Management");
    }
}

#[test]
fn the_descriptors_count_before_the_structure() {
    let nguid = [0x11; 16];
    let structure = device().namespace(104, &[0x22; 16]).namespace(120, &[0x33; 8]);
    let identity = structure.identity();
    assert_eq!((identity.uuid, identity.nguid, identity.eui64), (None, Some([0x22; 16]), Some([0x33; 8])));
    let uuid = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let identity = structure.id(1, &[0x44; 8]).id(2, &nguid).id(3, &uuid).identity();
    assert_eq!((identity.nguid, identity.eui64), (Some(nguid), Some([0x44; 8])));
    assert_eq!(identity.uuid.unwrap().to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
}

#[test]
fn each_text_is_from_its_own_field() {
    let device = device()
        .controller(4, b"SERIAL-0123456789   ")
        .controller(24, b"  Model of forty characters, less two   ")
        .controller(64, b"1.2 beta");
    let identity = device.identity();
    assert_eq!(identity.serial, "SERIAL-0123456789");
    assert_eq!(identity.model, "Model of forty characters, less two");
    assert_eq!(identity.firmware, "1.2 beta");
}

#[test]
fn hostile_text_reaches_nobody() {
    let device = device()
        .controller(64, b"\x1b[2J\x7f\xff~ ")
        .controller(4, b"a\nb\0hidden")
        .controller(24, &[0xFF; 40]);
    let identity = device.identity();
    assert_eq!(identity.firmware, "\u{fffd}[2J\u{fffd}\u{fffd}~");
    assert_eq!(identity.serial, "a\u{fffd}b");
    assert_eq!(identity.model, "\u{fffd}".repeat(40));
}

/// Once, two drives that filled their identifiers with zeroes had the same identity.
#[test]
fn zeroes_are_no_identifier() {
    let zeroes = device().id(1, &[0; 8]).id(2, &[0; 16]).id(3, &[0; 16]);
    let identity = zeroes.identity();
    assert_eq!((identity.uuid, identity.nguid, identity.eui64), (None, None, None));
}
