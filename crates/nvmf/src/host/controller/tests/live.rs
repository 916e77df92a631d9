//! A live association: keep-alive, events, namespaces, loss and return.

use super::*;

const NAMESPACE_CHANGED: u32 = 0x0004_0002;

#[test]
fn keep_alives_go_out_at_half_of_kato() {
    let mut bench = Bench::live();
    let begin = bench.now;
    bench.pass(20 * SECOND);
    assert_eq!(bench.host.state(), HostState::Live);
    let sent: Vec<_> = bench.sent_of((0x18, 0)).iter().map(|sent| sent.at.since(begin)).collect();
    let expected: Vec<_> = (1..=8).map(|count| Duration::from_millis(2500) * count).collect();
    assert_eq!(sent, expected);
}

#[test]
fn a_keep_alive_without_answer_ends_the_association() {
    let mut bench = Bench::live();
    bench.events();
    bench.script.silent = true;
    bench.pass(Duration::from_millis(7_499));
    assert_eq!(bench.host.state(), HostState::Live);
    bench.pass(Duration::from_millis(2));
    let association = Association(1);
    assert_eq!(bench.events()[0], HostEvent::Lost { association, why: Failure::KeepAlive });
    let mut refused = Bench::live();
    refused.events();
    refused.script.refused.push((0x18, 0, StatusCode::INVALID_OPCODE.into()));
    refused.pass(3 * SECOND);
    assert_eq!(refused.events()[0], HostEvent::Lost { association, why: Failure::KeepAlive });
}

#[test]
fn reading_log_04_follows_a_namespace_change_and_all_are_identified_anew() {
    let mut bench = Bench::live();
    bench.events();
    bench.script.namespaces.insert(1, (2000, 9));
    bench.script.namespaces.insert(3, (50, 12));
    let before = bench.sent.len();
    bench.notify(NAMESPACE_CHANGED);
    let sent: Vec<_> = bench.sent[before..].iter().map(|sent| what(&sent.sqe)).collect();
    // The next event request, log 04h (1024 dwords), then the list and each namespace.
    assert_eq!(sent[..3], [(0x0c, 0), (0x02, 0x03ff_0004), (0x06, 0x02)]);
    assert_eq!(sent.len(), 3 + 2 * 3);
    let changes = vec![NamespaceChange::Changed(Nsid(1)), NamespaceChange::Added(Nsid(3))];
    assert_eq!(bench.events(), [HostEvent::NamespacesChanged(changes)]);
    let namespaces = bench.host.namespaces();
    assert_eq!(namespaces[&Nsid(1)].as_ref().unwrap().geometry.blocks, 2000);
    assert_eq!(namespaces[&Nsid(3)].as_ref().unwrap().geometry.block_size.bytes(), 4096);
    bench.script.namespaces.remove(&1);
    bench.script.namespaces.insert(3, (50, 9));
    bench.notify(NAMESPACE_CHANGED);
    let changes = vec![NamespaceChange::Removed(Nsid(1)), NamespaceChange::Replaced(Nsid(3))];
    assert_eq!(bench.events(), [HostEvent::NamespacesChanged(changes)]);
}

#[test]
fn an_event_request_is_always_outstanding() {
    let mut bench = Bench::live();
    for count in 2..50 {
        // A temperature event, a namespace event, one that nobody knows.
        bench.notify([0x0002_0101, NAMESPACE_CHANGED, 0x00c0_4207][count % 3]);
        assert_eq!(bench.sent_of((0x0c, 0)).len(), count);
    }
    assert_eq!(bench.host.state(), HostState::Live);
    assert!(!bench.sent_of((0x02, 0x007f_0002)).is_empty(), "the health log was read, which arms its event");
}

#[test]
fn a_refused_event_request_is_not_repeated() {
    let mut bench = Bench::live();
    let cid = bench.sent_of((0x0c, 0))[0].sqe.cid();
    bench.respond(cid, 0, StatusCode::ASYNC_EVENT_REQUEST_LIMIT_EXCEEDED.into());
    assert_eq!((bench.host.state(), bench.sent_of((0x0c, 0)).len()), (HostState::Live, 1));
}

#[test]
fn a_refusal_while_looking_says_nothing_of_namespaces() {
    let mut bench = Bench::live();
    bench.events();
    for cns in [0x00, 0x02, 0x03] {
        bench.script.refused = vec![(0x06, cns, StatusCode::INTERNAL_ERROR.into())];
        bench.notify(NAMESPACE_CHANGED);
        assert_eq!(bench.events(), []);
        assert!(bench.host.namespaces()[&Nsid(1)].is_ok(), "CNS {cns:#x}");
    }
}

#[test]
fn after_a_loss_the_association_comes_back_as_another_incarnation() {
    let mut bench = Bench::live();
    bench.events();
    bench.host.handle_queue_lost(Association(1), QueueId(2), bench.now);
    let why = Failure::ConnectionLost(QueueId(2));
    assert_eq!(bench.events(), [HostEvent::Lost { association: Association(1), why }]);
    assert_eq!(bench.host.state(), HostState::Waiting);
    assert_eq!(bench.host.namespaces().len(), 1, "what is known stays");
    bench.pass(SECOND);
    let events = bench.events();
    let [HostEvent::Live { association, incarnation, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((*association, *incarnation), (Association(2), Incarnation(2)));
}

#[test]
fn reconnecting_backs_off_and_ends_with_the_loss_timeout() {
    let mut bench = Bench::live();
    bench.events();
    bench.unreachable = true;
    bench.host.handle_queue_lost(Association(1), ADMIN, bench.now);
    let begin = bench.now;
    bench.pass(599 * SECOND);
    let mut failed = 0;
    for event in bench.events() {
        match event {
            HostEvent::AttemptFailed { why, failed: count, next } => {
                assert_eq!(why, Failure::NoConnection(ADMIN));
                assert!(next > begin && count > failed);
                failed = count;
            }
            HostEvent::Lost { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    // Three seconds for a connection and pauses of up to ten.
    assert!((45..90).contains(&failed), "{failed} attempts");
    bench.pass(2 * SECOND);
    assert_eq!(bench.events(), [HostEvent::Dead(Failure::LossTimeout)]);
    assert_eq!(bench.host.state(), HostState::Dead);
}

#[test]
fn the_first_attempt_is_the_last_unless_asked_otherwise() {
    let mut bench = Bench::with(|options| options.reconnect.retry_first = false);
    bench.unreachable = true;
    bench.start();
    bench.pass(4 * SECOND);
    assert_eq!(bench.events(), [HostEvent::Dead(Failure::NoConnection(ADMIN))]);
}

#[test]
fn rejections_are_passing() {
    let mut bench = Bench::until(HostState::ConnectingIo);
    let status = RejectStatus::NoResources;
    bench.host.handle_queue_refused(Association(1), QueueId(1), Some(status), bench.now);
    assert_eq!(failure(&mut bench), Failure::Rejected { queue: QueueId(1), status });
    bench.pass(SECOND);
    assert_eq!(bench.host.state(), HostState::Live);
}

#[test]
fn a_shutdown_is_told_to_the_controller_and_waited_for() {
    let mut bench = Bench::live();
    bench.events();
    bench.host.shutdown(bench.now);
    bench.run();
    assert_eq!(bench.host.state(), HostState::ShuttingDown);
    // EN and SHN 01b.
    let written = bench.sent_of((0x7f, 0x1400)).last().unwrap().sqe.to_bytes();
    assert_eq!(written[48..52], [0x01, 0x40, 0x46, 0]);
    // SHST 10b.
    bench.script.csts = 0b1001;
    bench.pass(SECOND);
    let lost = HostEvent::Lost { association: Association(1), why: Failure::Shutdown };
    assert_eq!(bench.events(), [lost, HostEvent::Dead(Failure::Shutdown)]);
}

#[test]
fn admin_commands_of_others_are_answered_or_lost() {
    let mut bench = Bench::live();
    bench.events();
    let sqe = nvme_spec::Sqe::new(0x02, nvme_spec::CommandId(0), Nsid::ALL).with_cdw10(0x007f_0002);
    let data = || OutgoingData::FromController { bytes: 512 };
    let ticket = bench.host.admin(sqe, data(), bench.now).unwrap();
    let events = bench.events();
    assert!(
        matches!(&events[..], [HostEvent::AdminAnswered { ticket: got, data, .. }] if *got == ticket && data.len() == 4096)
    );
    bench.script.silent = true;
    let tickets: Vec<_> = (0..20).map_while(|_| bench.host.admin(sqe, data(), bench.now)).collect();
    assert_eq!(tickets.len(), crate::host::PASSTHROUGH_MAX);
    bench.host.reset(bench.now);
    let mut lost: Vec<_> = tickets.iter().map(|ticket| HostEvent::AdminLost { ticket: *ticket }).collect();
    lost.push(HostEvent::Lost { association: Association(1), why: Failure::Reset });
    assert_eq!(bench.events(), lost);
    assert_eq!(bench.host.admin(sqe, data(), bench.now), None, "no association");
}

#[test]
fn a_discovery_controller_has_its_log_read_and_keep_alives() {
    let mut bench = Bench::with(|options| {
        *options = HostOptions::discovery(options.host.clone());
    });
    bench.script.identify.cntrltype = nvme_spec::identify::ControllerType::DISCOVERY;
    bench.script.identify.oaes = nvme_spec::async_event::AsyncEvents::DISCOVERY_LOG_CHANGE;
    bench.start();
    let events = bench.events();
    assert!(matches!(&events[0], HostEvent::Live { queues, .. } if queues.is_empty()));
    assert!(matches!(&events[1], HostEvent::Discovered(Ok(log)) if log.entries.is_empty()));
    assert_eq!(bench.sent_of((0x09, 0x0b))[0].sqe.cdw11(), 1 << 31);
    bench.notify(0x0070_f002);
    assert!(matches!(&bench.events()[..], [HostEvent::Discovered(Ok(_))]));
    bench.pass(16 * SECOND);
    assert_eq!(bench.sent_of((0x18, 0)).len(), 1);
}

proptest::proptest! {
    #[test]
    fn any_answers_are_taken_or_refused(
        answers in proptest::collection::vec((proptest::prelude::any::<[u8; 12]>(), 0u8..4), 1..80),
        fill: u8,
    ) {
        let mut bench = Bench::new();
        bench.host.start(bench.now);
        for (bytes, kind) in answers {
            match bench.host.poll_action() {
                Some(HostAction::ConnectQueue { association, request }) => {
                    bench.host.handle_queue_connected(association, request.queue, bench.now);
                }
                Some(HostAction::Send { association, queue, command }) => {
                    let cid = command.cid().0.to_le_bytes();
                    let mut entry = [0; 16];
                    entry[..12].copy_from_slice(&bytes);
                    entry[12..14].copy_from_slice(&cid);
                    entry[14] = if kind == 0 { bytes[0] } else { 0 };
                    let data = vec![fill; if kind == 1 { 17 } else { command.memory_bytes() }];
                    bench.host.handle_response(association, queue, &Cqe::from_bytes(entry), &data, bench.now);
                }
                Some(HostAction::Disconnect { association }) => {
                    bench.host.handle_disconnected(association, bench.now);
                }
                None => {
                    bench.now = bench.host.next_timeout().min(bench.now.after(SECOND));
                    bench.host.handle_timeout(bench.now);
                }
            }
        }
    }
}
