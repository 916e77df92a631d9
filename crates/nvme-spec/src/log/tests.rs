use super::*;
use crate::identify::NamespaceList;
use crate::ids::{CommandId, ControllerId, Nsid, QueueId};
use crate::lba::Lba;
use crate::status::StatusCode;
use crate::text::Text;

/// A structure of zeroes with these bytes at these offsets, as a figure of the specification gives them.
fn image<const N: usize>(fields: &[(usize, &[u8])]) -> [u8; N] {
    let mut bytes = [0; N];
    for (at, field) in fields {
        bytes[*at..at + field.len()].copy_from_slice(field);
    }
    bytes
}

#[test]
fn error_entry() {
    // Base, Error Information Log Entry. Status Info 8502h: status bits 15:1 are 4281h, Unrecovered Read
    // Error with DNR.
    let bytes: [u8; 64] = image(&[
        (0, &[5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0x34, 0x12, 0x02, 0x85, 0x28, 0x00]),
        (16, &[8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0xC0, 3, 1, 2]),
        (32, &[1, 0, 0, 0, 0, 0, 0, 2, 7, 0]),
    ]);
    let entry = ErrorEntry {
        error_count: 5,
        sqid: QueueId(3),
        cid: CommandId(0x1234),
        status_info: 0x8502,
        parameter_location: 0x28,
        lba: Lba(0x0102_0304_0506_0708),
        nsid: Nsid(9),
        vendor_log: 0xC0,
        trtype: 3,
        csi: 1,
        opcode: 2,
        command_specific: 0x0200_0000_0000_0001,
        transport_specific: 7,
    };
    assert_eq!((ErrorEntry::from_bytes(&bytes), entry.to_bytes()), (Ok(entry.clone()), bytes));
    assert_eq!(entry.status().code(), StatusCode::UNRECOVERED_READ_ERROR);
    assert!(entry.status().dnr() && entry.is_valid() && !ErrorEntry::default().is_valid());
}

#[test]
fn smart_health() {
    // Base, SMART / Health Information Log Page: each counter has 16 bytes.
    let mut bytes: [u8; 512] = image(&[(0, &[0x09, 0x2C, 0x01, 100, 10, 3, 2])]);
    for (index, at) in (32..192).step_by(16).enumerate() {
        bytes[at] = index as u8 + 1;
        bytes[at + 15] = 0x80;
    }
    bytes[192..200].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0]);
    bytes[200..216].copy_from_slice(&[1, 1, 2, 1, 3, 1, 4, 1, 5, 1, 6, 1, 7, 1, 8, 1]);
    bytes[216..232].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]);
    let counter = |low: u128| low | 0x80 << 120;
    let health = SmartHealth {
        critical_warning: CriticalWarning::SPARE | CriticalWarning::READ_ONLY,
        composite_temperature_k: 300,
        available_spare: 100,
        available_spare_threshold: 10,
        percentage_used: 3,
        endurance_warning: 2,
        data_units_read: counter(1),
        data_units_written: counter(2),
        host_reads: counter(3),
        host_writes: counter(4),
        busy_min: counter(5),
        power_cycles: counter(6),
        power_on_hours: counter(7),
        unsafe_shutdowns: counter(8),
        media_errors: counter(9),
        error_log_entries: counter(10),
        warning_temperature_min: 1,
        critical_temperature_min: 2,
        temperature_sensors_k: [0x101, 0x102, 0x103, 0x104, 0x105, 0x106, 0x107, 0x108],
        thermal_transitions: [1, 2],
        thermal_time_s: [3, 4],
    };
    assert_eq!((SmartHealth::from_bytes(&bytes), health.to_bytes()), (Ok(health), bytes));
}

#[test]
fn firmware_slots() {
    // Base, Firmware Slot Information Log Page: AFI bits 2:0 active, 6:4 next; FRS1 from byte 8.
    let bytes: [u8; 512] = image(&[(0, &[0x21]), (8, b"1.0     "), (56, b"7.0     ")]);
    let slots = FirmwareSlots::from_array(&bytes);
    assert_eq!((slots.active(), slots.next()), (1, Some(2)));
    assert_eq!((slots.frs[0].as_str(), slots.frs[6].as_str()), (Some("1.0"), Some("7.0")));
    assert_eq!(slots.to_bytes(), bytes);
    assert_eq!(FirmwareSlots::default().next(), None);
}

#[test]
fn changed_namespaces() {
    let bytes: [u8; 4096] = image(&[(0, &[3, 0, 0, 0, 7, 0, 0, 0])]);
    let ChangedNamespaces::Some(list) = ChangedNamespaces::from_bytes(&bytes).unwrap() else {
        panic!("two namespaces are not too many");
    };
    assert_eq!(list.iter().collect::<Vec<_>>(), [Nsid(3), Nsid(7)]);
    let too_many: [u8; 4096] = image(&[(0, &[0xFF; 4])]);
    assert!(matches!(ChangedNamespaces::from_bytes(&too_many), Ok(ChangedNamespaces::TooMany)));
    assert_eq!(ChangedNamespaces::encode_too_many(), too_many);
    assert_eq!(NamespaceList::encode([Nsid(3), Nsid(7)]), bytes);
    assert!(ChangedNamespaces::from_bytes(&bytes[1..]).is_err());
}

#[test]
fn commands_supported() {
    // Base, Commands Supported and Effects Log Page: ACS from byte 0, IOCS from byte 1024; CSE bits 18:16.
    let bytes: [u8; 4096] = image(&[(0x0D * 4, &[0x09, 0, 2, 0]), (1024 + 4, &[3, 0, 0, 0])]);
    let commands = CommandsSupported::from_array(&bytes);
    assert_eq!(commands.admin[0x0D].exclusiveness(), 2);
    assert!(commands.admin[0x0D].contains(CommandEffects::NAMESPACE_INVENTORY_CHANGE));
    assert_eq!(commands.io[1], CommandEffects::SUPPORTED | CommandEffects::CONTENT_CHANGE);
    assert_eq!(commands.to_bytes(), bytes);
}

/// Base, Asymmetric Namespace Access Log Page: the header, then group 1 (optimized, namespaces 1 and 2),
/// group 7 (inaccessible, none).
const ANA: [u8; 88] = [
    9, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, //
    1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
    1, 0, 0, 0, 2, 0, 0, 0, //
    7, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

#[test]
fn ana_page_decodes() {
    let header = AnaHeader::from_bytes(&ANA).unwrap();
    assert_eq!(header, AnaHeader { change_count: 9, groups: 2 });
    let groups: Vec<_> = AnaGroups::new(header.groups, &ANA[16..]).map(Result::unwrap).collect();
    assert_eq!((groups[0].anagrpid, groups[0].change_count, groups[0].state), (1, 5, AnaState::Optimized));
    assert_eq!(groups[0].nsids().collect::<Vec<_>>(), [Nsid(1), Nsid(2)]);
    assert_eq!((groups[1].anagrpid, groups[1].change_count, groups[1].state), (7, 6, AnaState::Inaccessible));
    assert_eq!((groups[1].nsids().count(), groups.len()), (0, 2));
}

#[test]
fn ana_page_encodes() {
    let mut bytes = [0xEE; 88];
    bytes[..16].copy_from_slice(&AnaHeader { change_count: 9, groups: 2 }.to_bytes());
    let mut writer = AnaWriter::new(&mut bytes[16..]);
    writer.push(1, 5, AnaState::Optimized, &[Nsid(1), Nsid(2)]).unwrap();
    let too_large = writer.push(2, 0, AnaState::Change, &[Nsid(3)]);
    assert_eq!(too_large, Err(AnaError::Truncated { at: 40 }));
    writer.push(7, 6, AnaState::Inaccessible, &[]).unwrap();
    assert_eq!(writer.written(), 72);
    assert_eq!(bytes, ANA);
}

#[test]
fn ana_page_of_a_lying_controller() {
    let mut walk = AnaGroups::new(3, &ANA[16..]).skip(2);
    assert_eq!(walk.next(), Some(Err(AnaError::Truncated { at: 72 })));
    assert_eq!(walk.next(), None);
    let mut huge = ANA;
    huge[20..24].copy_from_slice(&[0xFF; 4]);
    let error = AnaError::TooManyNamespaces { anagrpid: 1, count: u32::MAX };
    assert_eq!(AnaGroups::new(2, &huge[16..]).collect::<Vec<_>>(), [Err(error)]);
    let mut state = ANA;
    state[32] = 0xF5;
    assert_eq!(AnaGroups::new(1, &state[16..]).next(), Some(Err(AnaError::State { anagrpid: 1, state: 5 })));
    let defined: Vec<u8> = (0..16).filter(|&raw| AnaState::from_raw(raw).is_some()).collect();
    assert_eq!(defined, [1, 2, 3, 4, 15]);
}

#[test]
fn discovery_page() {
    // Base, Discovery Log Page; TSAS as the RDMA transport has it.
    let header: [u8; 1024] = image(&[(0, &[7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0])]);
    let value = DiscoveryHeader { genctr: 7, numrec: 2, recfmt: DISCOVERY_RECORD_FORMAT };
    assert_eq!((DiscoveryHeader::from_bytes(&header), value.to_bytes()), (Ok(value.clone()), header));
    let mut bytes: [u8; 1024] = image(&[
        (0, &[1, 1, 2, 4, 5, 0, 0xFF, 0xFF, 0x20, 0, 3, 0]),
        (256, b"nqn.2014-08.org.example:a\0"),
        (768, &[1, 4, 1, 0, 0, 0, 0, 0, 0xFF, 0x7F]),
    ]);
    bytes[32..64].copy_from_slice(b"4420                            ");
    bytes[512..768].fill(b' ');
    bytes[512..521].copy_from_slice(b"192.0.2.1");
    let entry = DiscoveryEntry {
        trtype: TransportType::RDMA,
        adrfam: AddressFamily::IPV4,
        subtype: SubsystemType::NVM,
        treq: TransportRequirements::SQ_FLOW_CONTROL_DISABLE,
        portid: 5,
        cntlid: ControllerId::DYNAMIC,
        asqsz: 32,
        eflags: ExtendedFlags::DUPLICATE_RETURNED_INFORMATION | ExtendedFlags::EXPLICIT_PERSISTENT_CONNECTION,
        trsvcid: Text::space_padded("4420").unwrap(),
        subnqn: Text::nul_terminated("nqn.2014-08.org.example:a").unwrap(),
        traddr: Text::space_padded("192.0.2.1").unwrap(),
        tsas: RdmaTsas {
            qptype: RdmaQpType::RELIABLE_CONNECTED,
            prtype: RdmaProvider::ROCE_V2,
            cms: RdmaCms::RDMA_CM,
            pkey: 0x7FFF,
        },
    };
    assert_eq!(DiscoveryEntry::from_bytes(&bytes), Ok(entry.clone()));
    assert_eq!(entry.to_bytes(), bytes);
    assert_eq!((entry.trtype.to_string(), entry.adrfam.to_string()), ("RDMA".into(), "IPv4".into()));
}

#[test]
fn reservation_notification() {
    // Base, Reservation Notification Log Page: LPC 7:0, RNLPT 8, NALP 9, NSID 15:12.
    let bytes: [u8; 64] = image(&[(0, &[2, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 9, 0, 0, 0])]);
    let page = ReservationNotification { lpc: 2, rnlpt: 3, nalp: 1, nsid: Nsid(9) };
    assert_eq!((ReservationNotification::from_bytes(&bytes), page.to_bytes()), (Ok(page.clone()), bytes));
    use ReservationNotificationType::{
        Empty, RegistrationPreempted, ReservationPreempted, ReservationReleased,
    };
    let kinds = [Empty, RegistrationPreempted, ReservationReleased, ReservationPreempted];
    for rnlpt in 0..=u8::MAX {
        let kind = ReservationNotification { rnlpt, ..page.clone() }.kind();
        assert_eq!(kind, kinds.get(usize::from(rnlpt)).copied());
    }
}
