use super::*;
use crate::ids::ControllerId;

#[test]
fn every_reservation_type() {
    // Base, Reservation Type Encoding.
    let types = [
        ReservationType::WriteExclusive,
        ReservationType::ExclusiveAccess,
        ReservationType::WriteExclusiveRegistrantsOnly,
        ReservationType::ExclusiveAccessRegistrantsOnly,
        ReservationType::WriteExclusiveAllRegistrants,
        ReservationType::ExclusiveAccessAllRegistrants,
    ];
    for raw in 0..=u8::MAX {
        let expected = raw.checked_sub(1).and_then(|index| types.get(usize::from(index))).copied();
        assert_eq!(ReservationType::try_from(raw).ok(), expected);
        assert!(expected.is_none_or(|expected| expected as u8 == raw));
    }
}

#[test]
fn command_data() {
    // Base, Reservation Register, Acquire and Release Data Structures.
    let bytes = [8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11];
    let (first, second) = (ReservationKey(0x0102_0304_0506_0708), ReservationKey(0x1112_1314_1516_1718));
    let register = RegisterData { current: first, new: second };
    assert_eq!((RegisterData::from_bytes(&bytes), register.to_bytes()), (Ok(register), bytes));
    let acquire = AcquireData { current: first, preempt: second };
    assert_eq!((AcquireData::from_bytes(&bytes), acquire.to_bytes()), (Ok(acquire), bytes));
    let release = ReleaseData { current: first };
    assert_eq!((ReleaseData::from_bytes(&bytes), release.to_bytes().as_slice()), (Ok(release), &bytes[..8]));
    assert!(RegisterData::from_bytes(&bytes[..15]).is_err() && ReleaseData::from_bytes(&bytes[..7]).is_err());
}

/// Base, Reservation Status and Registrant Data Structures: generation 10, Write Exclusive - Registrants
/// Only, two registrants, PTPLS 1.
const SHORT: [u8; 72] = [
    10, 0, 0, 0, 3, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
    1, 0, 1, 0, 0, 0, 0, 0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 1, 2, 3, 4, 5, 6, 7, 8, //
    2, 0, 0, 0, 0, 0, 0, 0, 0xB1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
];

fn short_registrants() -> [Registrant; 2] {
    [
        Registrant {
            cntlid: ControllerId(1),
            holds_reservation: true,
            host: HostId::Short(0xA8A7_A6A5_A4A3_A2A1),
            key: ReservationKey(0x0807_0605_0403_0201),
        },
        Registrant {
            cntlid: ControllerId(2),
            holds_reservation: false,
            host: HostId::Short(0xB1),
            key: ReservationKey(9),
        },
    ]
}

fn short_report(registrants: &[Registrant]) -> StatusReport<'_> {
    StatusReport {
        generation: 10,
        rtype: Some(ReservationType::WriteExclusiveRegistrantsOnly),
        persist_through_power_loss: true,
        registrants,
    }
}

#[test]
fn short_status_both_ways() {
    let status = ReservationStatus::from_bytes(false, &SHORT).unwrap();
    assert_eq!((status.generation, status.registrants), (10, 2));
    assert_eq!(status.rtype, Some(ReservationType::WriteExclusiveRegistrantsOnly));
    assert!(status.persist_through_power_loss);
    assert_eq!(status.iter().collect::<Vec<_>>(), short_registrants());
    let mut bytes = [0xEE; 80];
    short_report(&short_registrants()).encode(false, &mut bytes);
    assert_eq!((&bytes[..72], &bytes[72..]), (&SHORT[..], &[0; 8][..]));
}

#[test]
fn extended_status_both_ways() {
    // Base, Reservation Status Extended Data Structure: the header has 64 bytes, an entry CNTLID, RCSTS, RKEY
    // 15:8, HOSTID 31:16.
    let mut figure = [0; 128];
    figure[..10].copy_from_slice(&[1, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    figure[64..67].copy_from_slice(&[0xFF, 0xFF, 0]);
    figure[72..80].copy_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
    figure[80..96].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    let registrant = Registrant {
        cntlid: ControllerId(0xFFFF),
        holds_reservation: false,
        host: HostId::Extended([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        key: ReservationKey(0x0102_0304_0506_0708),
    };
    let status = ReservationStatus::from_bytes(true, &figure).unwrap();
    assert_eq!((status.rtype, status.persist_through_power_loss, status.registrants), (None, false, 1));
    assert_eq!(status.iter().collect::<Vec<_>>(), [registrant]);
    let report = StatusReport {
        generation: 1,
        rtype: None,
        persist_through_power_loss: false,
        registrants: &[registrant],
    };
    let mut bytes = [0xEE; 128];
    report.encode(true, &mut bytes);
    assert_eq!(bytes, figure);
}

#[test]
fn a_short_buffer_gets_a_prefix() {
    let registrants = short_registrants();
    for length in 0..SHORT.len() {
        let mut bytes = vec![0xEE; length];
        short_report(&registrants).encode(false, &mut bytes);
        assert_eq!(bytes, SHORT[..length]);
    }
    let status = ReservationStatus::from_bytes(false, &SHORT[..50]).unwrap();
    assert_eq!((status.registrants, status.iter().count()), (2, 1));
}

#[test]
fn what_cannot_be_read() {
    assert!(matches!(
        ReservationStatus::from_bytes(false, &SHORT[..23]),
        Err(ReservationStatusError::TooShort(error)) if error.needed == 24
    ));
    assert!(matches!(
        ReservationStatus::from_bytes(true, &SHORT[..63]),
        Err(ReservationStatusError::TooShort(error)) if error.needed == 64
    ));
    let mut undefined = SHORT;
    undefined[4] = 7;
    let error = ReservationStatusError::Type(UnknownReservationType(7));
    assert_eq!(ReservationStatus::from_bytes(false, &undefined), Err(error));
}
