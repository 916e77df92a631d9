use nvme_spec::ControllerId;
use nvme_spec::identify::{
    DeallocateFeatures, IdentifyController, LbaFormat, NvmController, VolatileWriteCache,
};
use nvme_spec::registers::{Capabilities, Version};

use super::*;

fn info() -> ControllerInfo {
    ControllerInfo {
        id: ControllerId(1),
        capabilities: Capabilities::default(),
        version: Version::V2_1,
        identify: IdentifyController {
            sn: Text::space_padded("S1").unwrap(),
            mn: Text::space_padded("Model").unwrap(),
            fr: Text::space_padded("1.0").unwrap(),
            ..IdentifyController::default()
        },
        limits: NvmController::default(),
    }
}

fn structure() -> IdentifyNamespace {
    let mut structure = IdentifyNamespace { nsze: 1 << 40, nguid: [7; 16], ..IdentifyNamespace::default() };
    structure.lbaf[0] = LbaFormat::new(12, 0);
    structure
}

fn namespace(info: &ControllerInfo, structure: &IdentifyNamespace) -> Result<Namespace, NamespaceError> {
    Namespace::new(Nsid(4), info, structure, &NamespaceIds::default(), 1 << 20)
}

#[test]
fn shape_and_identity() {
    let namespace = namespace(&info(), &structure()).unwrap();
    let geometry = namespace.geometry;
    assert_eq!((geometry.block_size, geometry.blocks), (BlockSize::B4096, 1 << 40));
    assert_eq!(geometry.limits.transfer_blocks_max, 256, "1 MiB");
    assert_eq!(
        (geometry.limits.zeroes_blocks_max, geometry.limits.discard_blocks_max),
        (65536, u32::MAX.into())
    );
    assert_eq!((geometry.write_cache, geometry.atomic_blocks), (WriteCache::Through, 1));
    let identity = namespace.identity;
    assert_eq!((identity.model.as_str(), identity.serial.as_str()), ("Model", "S1"));
    assert_eq!((identity.nguid, identity.uuid, identity.eui64), (Some([7; 16]), None, None));
    assert_eq!(namespace.abilities, Abilities::WRITE);
    assert!(!namespace.is_shared);
}

#[test]
fn vwc_makes_the_cache_volatile() {
    let mut info = info();
    info.identify.vwc = VolatileWriteCache::PRESENT;
    assert_eq!(namespace(&info, &structure()).unwrap().geometry.write_cache, WriteCache::Volatile);
}

#[test]
fn abilities_are_those_of_oncs_and_a_protected_namespace_takes_no_writes() {
    let mut info = info();
    info.identify.oncs = NvmCommands::all();
    let mut structure = structure();
    structure.dlfeat = DeallocateFeatures::new(ReadAfterDeallocate::Zeroes, true);
    let abilities = namespace(&info, &structure).unwrap().abilities;
    assert_eq!(abilities, Abilities::all() - Abilities::EXTENTS - Abilities::EXCLUSIVE);
    structure.nsattr = NamespaceAttributes::WRITE_PROTECTED;
    assert!(!namespace(&info, &structure).unwrap().abilities.contains(Abilities::WRITE));
}

#[test]
fn limits_are_in_blocks() {
    let mut info = info();
    // 2^4 pages of 4 KiB; 1000 blocks in a range, 600 in all.
    (info.limits.wzsl, info.limits.dmrsl, info.limits.dmsl) = (4, 1000, 600);
    let limits = namespace(&info, &structure()).unwrap().geometry.limits;
    assert_eq!((limits.zeroes_blocks_max, limits.discard_blocks_max), (16, 600));
}

#[test]
fn what_cannot_be_used_is_told_in_words() {
    let refused = |change: fn(&mut IdentifyNamespace)| {
        let mut structure = structure();
        change(&mut structure);
        namespace(&info(), &structure).unwrap_err()
    };
    assert_eq!(refused(|s| s.lbaf[0] = LbaFormat::new(12, 8)), NamespaceError::Metadata { bytes: 8 });
    assert_eq!(refused(|s| s.lbaf[0] = LbaFormat::new(8, 0)), NamespaceError::BlockSize { lbads: 8 });
    assert_eq!(refused(|s| s.lbaf[0] = LbaFormat::new(255, 0)), NamespaceError::BlockSize { lbads: 255 });
    let zoned = NamespaceIds { csi: Some(CommandSetId::ZONED), ..NamespaceIds::default() };
    let error = Namespace::new(Nsid(4), &info(), &structure(), &zoned, 1 << 20).unwrap_err();
    assert_eq!(error, NamespaceError::CommandSet(CommandSetId::ZONED));
    let mut large = structure();
    large.lbaf[0] = LbaFormat::new(16, 0);
    let error = Namespace::new(Nsid(4), &info(), &large, &NamespaceIds::default(), 4096).unwrap_err();
    assert_eq!(error, NamespaceError::TransferSize { bytes: 4096 });
}

#[test]
fn another_device_under_the_same_number_is_another_namespace() {
    let first = namespace(&info(), &structure()).unwrap();
    let mut grown = structure();
    grown.nsze *= 2;
    assert!(first.is_same(&namespace(&info(), &grown).unwrap()));
    let mut other = structure();
    other.nguid = [8; 16];
    assert!(!first.is_same(&namespace(&info(), &other).unwrap()));
    other = structure();
    other.lbaf[0] = LbaFormat::new(9, 0);
    assert!(!first.is_same(&namespace(&info(), &other).unwrap()));
}

proptest::proptest! {
    #[test]
    fn any_structure_is_taken_or_refused(
        head in proptest::collection::vec(proptest::prelude::any::<u8>(), 384), csi: Option<u8>,
    ) {
        let mut bytes = [0; 4096];
        bytes[..384].copy_from_slice(&head);
        let structure = IdentifyNamespace::from_array(&bytes);
        let ids = NamespaceIds { csi: csi.map(CommandSetId), ..NamespaceIds::default() };
        if let Ok(namespace) = Namespace::new(Nsid(1), &info(), &structure, &ids, 4096) {
            assert!(namespace.geometry.limits.transfer_blocks_max > 0);
        }
    }
}
