//! Every decoder takes any bytes of any length without a panic; what it takes, its encoder gives back.
#![allow(clippy::expect_used, reason = "a test may")]

use nvme_spec::command::{AdminCommand, DsmRange, NvmCommand};
use nvme_spec::features::{HostBehaviorSupport, HostIdentifier};
use nvme_spec::identify::{
    IdentifyController, IdentifyNamespace, IndependentNamespace, NamespaceIds, NamespaceList, NvmController,
    NvmNamespace,
};
use nvme_spec::log::{
    AnaGroups, AnaHeader, AnaWriter, ChangedNamespaces, CommandsSupported, DiscoveryEntry, DiscoveryHeader,
    ErrorEntry, FirmwareSlots, ReservationNotification, SmartHealth,
};
use nvme_spec::protection::ProtectionTuple;
use nvme_spec::reservation::{AcquireData, RegisterData, ReleaseData, ReservationStatus, StatusReport};
use nvme_spec::sgl::{Sgl, SglDescriptor};
use nvme_spec::{Cqe, Nsid, Sqe};
use proptest::array::{uniform4, uniform8, uniform16};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes for a structure of this size: three in four are enough for it, or somewhat more.
fn around(size: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => vec(any::<u8>(), size..size + 16), 1 => vec(any::<u8>(), 0..size)]
}

/// A decoded structure encodes to the same bytes, but for reserved ones, which become zero; short data is an
/// error that says how much was needed.
macro_rules! structures {
    ($($test:ident: $structure:ty;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            $(
                #[test]
                fn $test(bytes in around(<$structure>::BYTES)) {
                    match <$structure>::from_bytes(&bytes) {
                        Ok(value) => {
                            let encoded = value.to_bytes();
                            for (at, (&new, &old)) in encoded.iter().zip(&bytes).enumerate() {
                                prop_assert!(new == old || new == 0, "byte {at}: {old:#x} became {new:#x}");
                            }
                            prop_assert_eq!(<$structure>::from_array(&encoded), value);
                        }
                        Err(error) => {
                            prop_assert!(bytes.len() < <$structure>::BYTES);
                            prop_assert_eq!((error.got, error.needed), (bytes.len(), <$structure>::BYTES));
                        }
                    }
                }
            )*
        }
    };
}

structures! {
    identify_controller: IdentifyController;
    identify_namespace: IdentifyNamespace;
    nvm_namespace: NvmNamespace;
    nvm_controller: NvmController;
    independent_namespace: IndependentNamespace;
    error_entry: ErrorEntry;
    smart_health: SmartHealth;
    firmware_slots: FirmwareSlots;
    commands_supported: CommandsSupported;
    discovery_header: DiscoveryHeader;
    discovery_entry: DiscoveryEntry;
    reservation_notification: ReservationNotification;
    host_behavior: HostBehaviorSupport;
    dsm_range: DsmRange;
    register_data: RegisterData;
    acquire_data: AcquireData;
    release_data: ReleaseData;
}

/// Dwords 10 to 15 of `encoded` have no bit that `original` lacks.
fn adds_no_bits(original: &Sqe, encoded: &Sqe) -> bool {
    let dwords = original.dwords()[10..].iter().zip(&encoded.dwords()[10..]);
    dwords.fold(0, |added, (old, new)| added | (new & !old)) == 0
}

proptest! {
    #[test]
    fn commands(mut dwords in uniform16(any::<u32>()), opcode in 0_u32..0x90, wild in 0..8) {
        // One in eight keeps its random FUSE and PSDT, the others get past that check.
        let kept = if wild == 0 { 0xFFFF_FF00 } else { 0xFFFF_0000 };
        dwords[0] = (dwords[0] & kept) | opcode;
        let sqe = Sqe::from_dwords(dwords);
        prop_assert_eq!(Sqe::from_bytes(&sqe.to_bytes()), sqe);
        if let Ok(command) = NvmCommand::try_from(&sqe) {
            prop_assert_eq!(NvmCommand::try_from(&command.sqe(sqe.cid())), Ok(command));
            prop_assert!(adds_no_bits(&sqe, &command.sqe(sqe.cid())));
        }
        if let Ok(command) = AdminCommand::try_from(&sqe) {
            prop_assert_eq!(AdminCommand::try_from(&command.sqe(sqe.cid())), Ok(command));
            prop_assert!(adds_no_bits(&sqe, &command.sqe(sqe.cid())));
        }
    }

    #[test]
    fn completions(bytes in uniform16(any::<u8>())) {
        let cqe = Cqe::from_bytes(bytes);
        prop_assert_eq!(cqe.to_bytes(), bytes);
        let last = u16::from_le_bytes([bytes[14], bytes[15]]);
        prop_assert_eq!(u16::from(cqe.phase()) | cqe.status().raw() << 1, last);
    }

    #[test]
    fn sgl_descriptors(mut dwords in uniform4(any::<u32>()), identifier in 0_u32..0x60) {
        dwords[3] = (dwords[3] & 0x00FF_FFFF) | identifier << 24;
        let descriptor = SglDescriptor::from_dwords(dwords);
        prop_assert_eq!(SglDescriptor::from_bytes(descriptor.to_bytes()), descriptor);
        if let Ok(sgl) = Sgl::try_from(descriptor) {
            let encoded = SglDescriptor::from(sgl).dwords();
            prop_assert!(encoded.iter().zip(&dwords).all(|(new, old)| new & !old == 0));
            prop_assert_eq!(Sgl::try_from(SglDescriptor::from_dwords(encoded)), Ok(sgl));
        }
    }

    #[test]
    fn protection_tuples(bytes in uniform8(any::<u8>())) {
        prop_assert_eq!(ProtectionTuple::from_bytes(&bytes).to_bytes(), bytes);
    }

    #[test]
    fn host_identifiers(bytes in vec(any::<u8>(), 0..20), extended: bool) {
        let size = if extended { 16 } else { 8 };
        match HostIdentifier::from_bytes(extended, &bytes) {
            Ok(id) => prop_assert_eq!(&id.to_bytes().0[..size], &bytes[..size]),
            Err(_) => prop_assert!(bytes.len() < size),
        }
    }

    #[test]
    fn namespace_lists(nsids in vec(any::<u32>(), 1024)) {
        let bytes: Vec<u8> = nsids.iter().flat_map(|nsid| nsid.to_le_bytes()).collect();
        let list = NamespaceList::from_bytes(&bytes).expect("4096 bytes");
        let nonzero = nsids.iter().take_while(|&&nsid| nsid != 0);
        let expected: Vec<Nsid> = nonzero.map(|&nsid| Nsid(nsid)).collect();
        prop_assert_eq!(list.iter().collect::<Vec<_>>(), expected);
        prop_assert!(ChangedNamespaces::from_bytes(&bytes).is_ok());
    }

    #[test]
    fn namespace_descriptors(
        pieces in vec((0_u8..6, prop_oneof![Just(1_u8), Just(8), Just(16), any::<u8>()]), 0..8),
        cut in 0_usize..300,
    ) {
        let mut bytes = Vec::new();
        for (descriptor_type, length) in pieces {
            bytes.extend([descriptor_type, length, 0, 0]);
            bytes.resize(bytes.len() + usize::from(length), 0xA5);
        }
        bytes.truncate(cut);
        if let Ok(ids) = NamespaceIds::from_bytes(&bytes) {
            prop_assert_eq!(NamespaceIds::from_bytes(&ids.to_bytes()), Ok(ids));
        }
    }

    #[test]
    fn ana_groups(words in vec(prop_oneof![0_u32..6, any::<u32>()], 0..200), groups in 0_u16..20) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let _ = AnaHeader::from_bytes(&bytes);
        let mut copy = vec![0; bytes.len()];
        let mut writer = AnaWriter::new(&mut copy);
        for group in AnaGroups::new(groups, &bytes).map_while(Result::ok) {
            let nsids: Vec<Nsid> = group.nsids().collect();
            prop_assert!(writer.push(group.anagrpid, group.change_count, group.state, &nsids).is_ok());
        }
        let written = writer.written();
        prop_assert!(copy[..written].iter().zip(&bytes).all(|(new, old)| new & !old == 0));
    }

    #[test]
    fn reservation_statuses(
        mut bytes in vec(any::<u8>(), 0..400),
        extended: bool,
        rtype in 0_u8..8,
        count in 0_u8..8,
    ) {
        if let Some(header) = bytes.get_mut(4..7) {
            header.copy_from_slice(&[rtype, count, 0]);
        }
        if let Ok(status) = ReservationStatus::from_bytes(extended, &bytes) {
            let registrants: Vec<_> = status.iter().collect();
            prop_assert!(registrants.len() <= usize::from(status.registrants));
            let mut copy = vec![0; bytes.len()];
            let report = StatusReport {
                generation: status.generation,
                rtype: status.rtype,
                persist_through_power_loss: status.persist_through_power_loss,
                registrants: &registrants,
            };
            report.encode(extended, &mut copy);
            let again = ReservationStatus::from_bytes(extended, &copy).expect("what was encoded decodes");
            prop_assert_eq!(again.iter().collect::<Vec<_>>(), registrants);
        }
    }
}
