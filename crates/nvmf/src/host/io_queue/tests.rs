use block::{BlockRange, Op};
use nvme_spec::{Lba, Nsid, QueueId, Status, StatusCode};

use super::*;
use crate::host::{Association, KeyedMemory};

fn parameters(entries: u16, head: Option<u16>) -> IoQueueParameters {
    IoQueueParameters {
        association: Association(1),
        queue: QueueId(1),
        entries,
        head,
        in_capsule_bytes: 8192,
        transfer_bytes_max: 1 << 20,
    }
}

fn read() -> IoCommand {
    IoCommand { nsid: Nsid(1), op: Op::Read, range: BlockRange::new(Lba(0), 8) }
}

fn memory(key: u32, invalidate: bool) -> Placement {
    Placement::Memory(KeyedMemory { address: 0x1000, key, bytes: 4096, invalidate })
}

fn send(queue: &mut HostIoQueue) -> Prepared {
    queue.prepare(&read(), &memory(7, true)).unwrap().expect("room")
}

fn answer(command: Prepared, sqhd: u16, status: Status) -> Cqe {
    Cqe::new(QueueId(0), sqhd, command.sqe.cid(), status)
}

#[test]
fn as_many_commands_as_entries_less_one_are_in_flight() {
    for head in [Some(1), None] {
        let mut queue = HostIoQueue::new(parameters(4, head));
        let commands: Vec<_> = (0..3).map(|_| send(&mut queue)).collect();
        let mut slots: Vec<_> = commands.iter().map(|command| command.slot).collect();
        slots.sort();
        assert_eq!(slots, [Slot(0), Slot(1), Slot(2)]);
        assert!(!queue.has_room());
        assert_eq!(queue.prepare(&read(), &memory(7, true)), Ok(None));
        let done = queue.handle_response(&answer(commands[1], 2, Status::SUCCESS), Some(7)).unwrap();
        assert_eq!((done.slot, done.result), (commands[1].slot, Ok(())));
        assert!(queue.has_room());
    }
}

#[test]
fn the_head_of_the_submission_queue_advances_modulo_its_entries() {
    let mut queue = HostIoQueue::new(parameters(4, Some(1)));
    let mut head = 1;
    for _ in 0..20 {
        let commands = [send(&mut queue), send(&mut queue), send(&mut queue)];
        for command in commands {
            head = (head + 1) % 4;
            queue.handle_response(&answer(command, head, Status::SUCCESS), Some(7)).unwrap();
        }
    }
    assert_eq!(queue.in_flight(), 0);
}

#[test]
fn a_head_that_stands_still_closes_the_queue_until_all_is_answered() {
    let mut queue = HostIoQueue::new(parameters(4, Some(1)));
    let commands = [send(&mut queue), send(&mut queue), send(&mut queue)];
    queue.handle_response(&answer(commands[0], 1, Status::SUCCESS), Some(7)).unwrap();
    assert!(!queue.has_room(), "the controller says that it has fetched none");
    queue.handle_response(&answer(commands[1], 77, Status::SUCCESS), Some(7)).unwrap();
    assert!(!queue.has_room(), "a head outside of the queue says nothing");
    queue.handle_response(&answer(commands[2], 1, Status::SUCCESS), Some(7)).unwrap();
    assert!(queue.has_room(), "what was answered was fetched");
}

#[test]
fn without_flow_control_the_head_means_nothing() {
    let mut queue = HostIoQueue::new(parameters(4, None));
    let commands = [send(&mut queue), send(&mut queue), send(&mut queue)];
    queue.handle_response(&answer(commands[0], 0, Status::SUCCESS), Some(7)).unwrap();
    assert!(queue.has_room());
}

#[test]
fn a_response_by_a_plain_send_leaves_the_key_to_be_invalidated_here() {
    let mut queue = HostIoQueue::new(parameters(4, None));
    let command = send(&mut queue);
    let done = queue.handle_response(&answer(command, 0, Status::SUCCESS), None).unwrap();
    assert_eq!(done.live_key, Some(7));
    let command = send(&mut queue);
    let done = queue.handle_response(&answer(command, 0, Status::SUCCESS), Some(7)).unwrap();
    assert_eq!(done.live_key, None);
}

#[test]
fn an_unsolicited_or_wrong_key_ends_the_association() {
    let wrong = |placement: Placement, key| {
        let mut queue = HostIoQueue::new(parameters(4, None));
        let command = queue.prepare(&read(), &placement).unwrap().unwrap();
        queue.handle_response(&answer(command, 0, Status::SUCCESS), Some(key)).unwrap_err()
    };
    assert_eq!(wrong(memory(7, true), 8), QueueError::WrongKey { command: 0, key: 8 });
    assert_eq!(wrong(memory(7, false), 7), QueueError::WrongKey { command: 0, key: 7 });
    let mut queue = HostIoQueue::new(parameters(4, None));
    let flush = IoCommand { op: Op::Flush, ..read() };
    let command = queue.prepare(&flush, &Placement::None).unwrap().unwrap();
    let error = queue.handle_response(&answer(command, 0, Status::SUCCESS), Some(0));
    assert_eq!(error, Err(QueueError::WrongKey { command: 0, key: 0 }));
}

#[test]
fn a_response_counts_once() {
    let mut queue = HostIoQueue::new(parameters(4, None));
    let first = send(&mut queue);
    let cqe = answer(first, 0, Status::SUCCESS);
    assert!(queue.handle_response(&cqe, Some(7)).is_ok());
    let second = send(&mut queue);
    assert_eq!(second.slot, first.slot);
    assert_ne!(second.sqe.cid(), first.sqe.cid(), "another generation in the same slot");
    assert_eq!(queue.handle_response(&cqe, Some(7)), Err(QueueError::UnknownCommand(first.sqe.cid().0)));
    assert_eq!(queue.command_id(second.slot), Some(second.sqe.cid()));
    assert_eq!(queue.command_id(Slot(3)), None);
}

#[test]
fn the_status_field_is_shifted_by_one_and_has_no_phase_tag() {
    let mut queue = HostIoQueue::new(parameters(4, None));
    let command = send(&mut queue);
    let cid = command.sqe.cid().0.to_le_bytes();
    // Compare Failure (SCT 2h, SC 85h) without DNR; bit 0 of the last word is reserved.
    for reserved in [0, 1] {
        let mut queue = HostIoQueue::new(parameters(4, None));
        send(&mut queue);
        let bytes = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, cid[0], cid[1], 0x0a | reserved, 0x05];
        let done = queue.handle_response(&Cqe::from_bytes(bytes), Some(7)).unwrap();
        assert_eq!(done.result, Err(IoError::Miscompare));
    }
}

#[test]
fn the_capsule_takes_as_much_as_was_agreed() {
    let mut queue = HostIoQueue::new(parameters(4, None));
    let write = IoCommand { op: Op::Write { fua: false }, ..read() };
    assert!(queue.fits_capsule(&write, 8192) && !queue.fits_capsule(&write, 8193));
    assert!(!queue.fits_capsule(&read(), 512), "reads have their data outside");
    let refused = queue.prepare(&write, &Placement::InCapsule { bytes: 8193 });
    assert_eq!(refused, Err(InvalidRequest::TooLarge.into()));
    let huge =
        Placement::Memory(KeyedMemory { address: 0, key: 1, bytes: (1 << 20) + 512, invalidate: true });
    assert_eq!(queue.prepare(&write, &huge), Err(InvalidRequest::TooLarge.into()));
    assert_eq!(queue.in_flight(), 0, "what was refused takes no slot");
}

#[test]
fn the_end_gives_back_every_command() {
    let mut queue = HostIoQueue::new(parameters(8, Some(1)));
    let commands = [send(&mut queue), send(&mut queue), send(&mut queue)];
    queue.handle_response(&answer(commands[0], 2, StatusCode::INTERNAL_ERROR.into()), None).unwrap();
    let mut rest = queue.end();
    rest.sort_by_key(|done| done.slot);
    let slots: Vec<_> = rest.iter().map(|done| done.slot).collect();
    assert_eq!(slots, [commands[1].slot, commands[2].slot]);
    assert!(rest.iter().all(|done| done.result == Err(IoError::Reset) && done.live_key == Some(7)));
}

proptest::proptest! {
    #[test]
    fn any_response_is_taken_or_refused(bytes: [u8; 16], key: Option<u32>) {
        let mut queue = HostIoQueue::new(parameters(4, Some(1)));
        send(&mut queue);
        let before = queue.in_flight();
        match queue.handle_response(&Cqe::from_bytes(bytes), key) {
            Ok(_) | Err(QueueError::WrongKey { .. }) => assert_eq!(queue.in_flight(), before - 1),
            Err(QueueError::UnknownCommand(_)) => assert_eq!(queue.in_flight(), before),
        }
    }
}
