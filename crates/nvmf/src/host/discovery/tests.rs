use nvme_spec::CommandId;
use nvme_spec::Sqe;
use nvme_spec::command::AdminCommand;

use super::*;

fn header_bytes(genctr: u8, numrec: u8) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    (bytes[0], bytes[8]) = (genctr, numrec);
    bytes
}

/// An entry: RDMA over IPv4, an NVM subsystem (or another subtype) at 10.0.0.`host`:4420.
fn entry_bytes(subtype: u8, host: u8) -> [u8; 1024] {
    let mut bytes = [0; 1024];
    bytes[..3].copy_from_slice(&[1, 1, subtype]);
    bytes[6..8].copy_from_slice(&[0xff, 0xff]);
    bytes[32..64].fill(b' ');
    bytes[32..36].copy_from_slice(b"4420");
    bytes[256..281].copy_from_slice(b"nqn.2024-05.com.example:s");
    bytes[512..768].fill(b' ');
    let address = format!("10.0.0.{host}");
    bytes[512..512 + address.len()].copy_from_slice(address.as_bytes());
    bytes
}

fn entries(subtype: u8, hosts: std::ops::Range<u8>) -> Vec<u8> {
    hosts.flat_map(|host| entry_bytes(subtype, host)).collect()
}

fn log(entries: &[[u8; 1024]]) -> DiscoveryLog {
    DiscoveryLog { generation: 1, entries: entries.iter().map(DiscoveryEntry::from_array).collect() }
}

fn sqe(reader: &DiscoveryReader) -> Sqe {
    AdminCommand::GetLogPage(reader.command()).sqe(CommandId(0))
}

#[test]
fn the_log_is_read_by_header_entries_of_4_kib_and_header_again() {
    let mut reader = DiscoveryReader::default();
    // LID 70h, RAE, NUMD 255: 1024 bytes.
    assert_eq!((sqe(&reader).cdw10(), sqe(&reader).cdw12()), (0x00ff_8070, 0));
    assert_eq!(reader.answered(Status::SUCCESS, &header_bytes(7, 6)), Ok(None));
    assert_eq!((sqe(&reader).cdw10(), sqe(&reader).cdw12()), (0x03ff_8070, 1024), "four entries");
    assert_eq!(reader.answered(Status::SUCCESS, &entries(2, 1..5)), Ok(None));
    assert_eq!((sqe(&reader).cdw10(), sqe(&reader).cdw12()), (0x01ff_8070, 5120), "two entries");
    assert_eq!(reader.answered(Status::SUCCESS, &entries(2, 5..7)), Ok(None));
    assert_eq!(sqe(&reader).cdw10(), 0x00ff_0070, "the last one arms the event again");
    let log = reader.answered(Status::SUCCESS, &header_bytes(7, 6)).unwrap().unwrap();
    assert_eq!((log.generation, log.entries.len()), (7, 6));
    assert_eq!(log.entries[5].traddr.to_string(), "10.0.0.6");
}

#[test]
fn an_empty_log_is_a_log() {
    let mut reader = DiscoveryReader::default();
    assert_eq!(reader.answered(Status::SUCCESS, &header_bytes(1, 0)), Ok(None));
    let log = reader.answered(Status::SUCCESS, &header_bytes(1, 0));
    assert_eq!(log, Ok(Some(DiscoveryLog { generation: 1, entries: Vec::new() })));
}

#[test]
fn a_changed_genctr_begins_anew_but_not_for_ever() {
    let mut reader = DiscoveryReader::default();
    for restart in 0..RESTARTS_MAX {
        let generation = u8::try_from(restart).unwrap();
        assert_eq!(reader.answered(Status::SUCCESS, &header_bytes(generation, 1)), Ok(None));
        assert_eq!(reader.answered(Status::SUCCESS, &entries(2, 1..2)), Ok(None));
        let again = reader.answered(Status::SUCCESS, &header_bytes(generation + 1, 1));
        let last = restart + 1 == RESTARTS_MAX;
        assert_eq!(again, if last { Err(DiscoveryError::Restless) } else { Ok(None) });
    }
}

#[test]
fn numrec_that_changes_under_one_genctr_is_an_error() {
    let mut reader = DiscoveryReader::default();
    reader.answered(Status::SUCCESS, &header_bytes(1, 1)).unwrap();
    reader.answered(Status::SUCCESS, &entries(2, 1..2)).unwrap();
    let again = reader.answered(Status::SUCCESS, &header_bytes(1, 2));
    assert_eq!(again, Err(DiscoveryError::Inconsistent { before: 1, after: 2 }));
}

#[test]
fn discover_restart_begins_anew_and_other_refusals_end() {
    let mut reader = DiscoveryReader::default();
    reader.answered(Status::SUCCESS, &header_bytes(1, 1)).unwrap();
    let restart = Status::from(StatusCode::FABRICS_DISCOVER_RESTART);
    assert_eq!(reader.answered(restart, &[]), Ok(None));
    assert_eq!(sqe(&reader).cdw12(), 0, "from the header");
    let refusal = Status::permanent(StatusCode::INVALID_LOG_PAGE);
    assert_eq!(reader.answered(refusal, &[]), Err(DiscoveryError::Refused(refusal)));
}

#[test]
fn a_log_that_cannot_be_is_refused() {
    let answered = |bytes: &[u8]| DiscoveryReader::default().answered(Status::SUCCESS, bytes);
    assert_eq!(answered(&header_bytes(1, 1)[..1023]), Err(DiscoveryError::Truncated));
    let mut header = header_bytes(1, 1);
    header[16] = 1;
    assert_eq!(answered(&header), Err(DiscoveryError::RecordFormat(1)));
    let mut header = header_bytes(1, 0);
    header[15] = 0x80;
    assert_eq!(answered(&header), Err(DiscoveryError::TooLarge(0x80 << 56)));
    let mut reader = DiscoveryReader::default();
    reader.answered(Status::SUCCESS, &header_bytes(1, 2)).unwrap();
    assert_eq!(reader.answered(Status::SUCCESS, &entries(2, 1..2)), Err(DiscoveryError::Truncated));
}

#[test]
fn entries_become_addresses_and_never_any_address() {
    let endpoint = |change: fn(&mut [u8; 1024])| {
        let mut bytes = entry_bytes(2, 1);
        change(&mut bytes);
        RdmaEndpoint::try_from(&DiscoveryEntry::from_array(&bytes))
    };
    let right = endpoint(|_| {}).unwrap();
    assert_eq!(right.address, "10.0.0.1:4420".parse().unwrap());
    assert_eq!(right.subsystem.as_str(), "nqn.2024-05.com.example:s");
    assert_eq!(endpoint(|bytes| bytes[0] = 3), Err(EntryError::Transport));
    assert_eq!(endpoint(|bytes| bytes[1] = 4), Err(EntryError::Transport));
    let any = endpoint(|bytes| bytes[512..520].copy_from_slice(b"0.0.0.0 "));
    assert_eq!(any, Err(EntryError::Address("0.0.0.0".to_owned())));
    let other_family = endpoint(|bytes| bytes[1] = 2);
    assert_eq!(other_family, Err(EntryError::Address("10.0.0.1".to_owned())));
    assert_eq!(endpoint(|bytes| bytes[32] = b'x'), Err(EntryError::Port("x420".to_owned())));
    assert_eq!(endpoint(|bytes| bytes[256] = 0), Err(EntryError::Name(NqnError::Empty)));
    let v6 = endpoint(|bytes| {
        bytes[1] = 2;
        bytes[512..520].copy_from_slice(b"fe80::1 ");
    });
    assert_eq!(v6.unwrap().address, "[fe80::1]:4420".parse().unwrap());
}

#[test]
fn referrals_are_followed_once_each_and_within_bounds() {
    let first = RdmaEndpoint { address: "10.0.0.1:4420".parse().unwrap(), subsystem: Nqn::discovery() };
    let mut walk = ReferralWalk::new(first.clone());
    assert_eq!(walk.next_service(), Some(first));
    // Itself (3), a subsystem (2), a referral (1) twice, and one to itself.
    let entries =
        [entry_bytes(3, 1), entry_bytes(2, 9), entry_bytes(1, 2), entry_bytes(1, 2), entry_bytes(1, 1)];
    let subsystems = walk.read(&log(&entries));
    assert_eq!(subsystems.len(), 1);
    assert_eq!(subsystems[0].address, "10.0.0.9:4420".parse().unwrap());
    assert_eq!(walk.next_service().unwrap().address, "10.0.0.2:4420".parse().unwrap());
    assert_eq!(walk.next_service(), None);
    let many: Vec<_> = (3..203).map(|host| entry_bytes(1, host)).collect();
    walk.read(&log(&many));
    let mut asked = 2;
    while walk.next_service().is_some() {
        asked += 1;
    }
    assert_eq!((asked, walk.left_out()), (SERVICES_MAX, 202 - SERVICES_MAX));
}

proptest::proptest! {
    #[test]
    fn any_answer_is_taken_or_refused(
        answers in proptest::collection::vec(proptest::collection::vec(0u8..3, 1024..5000), 1..12),
    ) {
        let mut reader = DiscoveryReader::default();
        for answer in answers {
            assert!(reader.command().length.bytes() <= 4096);
            match reader.answered(Status::SUCCESS, &answer) {
                Ok(None) => {}
                Ok(Some(log)) => assert!(log.entries.len() <= ENTRIES_MAX),
                Err(_) => break,
            }
        }
    }
}
