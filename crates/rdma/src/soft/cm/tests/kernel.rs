//! What kernel rxe said to another (tests/captures/README.md), said to us.

use super::*;
use crate::soft::wire::captures::management;
use crate::soft::wire::mad::{DisconnectRequest, Ids, Rejection};

const RPING_PORT: u16 = 7174;

/// The part of one side of a conversation, and of our own that the names are made to fit.
struct Kernel {
    said: Vec<(IpAddr, &'static [u8])>,
    ours: ConnectionManager,
}

impl Kernel {
    /// We are who `index` messages later answers the first message.
    fn new(pcap: &'static [u8], of_first_sender: bool) -> Self {
        let said = management(pcap);
        let (first, second) = (said[0].0, said[1].0);
        let address = if of_first_sender { first } else { second };
        let options = CmOptions {
            address,
            guid: Guid(1),
            shard: Shard::FIRST,
            mtu: PathMtu::Bytes4096,
            connections_max: 4,
        };
        Self { said, ours: ConnectionManager::new(options, StdRng::seed_from_u64(1)) }
    }

    fn hear(&mut self, index: usize, bytes: &[u8]) {
        self.ours.handle_mad(at_ms(0), self.said[index].0, bytes);
    }

    fn message(&self, index: usize) -> Message {
        Mad::read(self.said[index].1).unwrap().message
    }

    fn hear_message(&mut self, index: usize, message: Message) {
        let transaction = Mad::read(self.said[index].1).unwrap().transaction;
        self.hear(index, &Mad { transaction, message }.write());
    }
}

#[test]
fn the_kernel_connects_to_us() {
    let captures: [&'static [u8]; 2] = [
        include_bytes!("../../../../tests/captures/rping-ipv4.pcap"),
        include_bytes!("../../../../tests/captures/rping-ipv6.pcap"),
    ];
    for pcap in captures {
        let mut kernel = Kernel::new(pcap, false);
        kernel.ours.listen(RPING_PORT, 1).unwrap();
        let (peer, request) = kernel.said[0];
        assert_eq!(route(request), Route::Listener(RPING_PORT));
        kernel.hear(0, request);
        let Some(CmEvent::Requested(asked)) = kernel.ours.poll_event() else { panic!("not asked") };
        assert_eq!((asked.peer().ip(), asked.local().port()), (peer, RPING_PORT));
        assert_eq!((asked.initiator_depth(), asked.responder_resources()), (1, 1));
        let agreed = kernel.ours.accept(at_ms(0), asked, local(0x11), &parameters(b"")).unwrap();
        let Message::Request(request) = kernel.message(0) else { panic!() };
        assert_eq!((agreed.mtu, agreed.send_psn), (PathMtu::Bytes4096, request.starting_psn));
        assert_eq!((agreed.remote_qpn, agreed.retries, agreed.rnr_retries), (request.qpn, 7, 7));

        // What we answer is what the kernel answered, but for what is ours to choose.
        let (Message::Reply(theirs), [Message::Reply(ours)]) =
            (kernel.message(1), &messages(&mut kernel.ours)[..])
        else {
            panic!("no reply")
        };
        let chosen = |reply: crate::soft::wire::mad::Reply| crate::soft::wire::mad::Reply {
            local_id: ours.local_id,
            starting_psn: ours.starting_psn,
            guid: ours.guid,
            qpn: ours.qpn,
            ..reply
        };
        assert_eq!(*ours, chosen(theirs));

        let Message::ReadyToUse(ids) = kernel.message(2) else { panic!() };
        let ids = Ids { remote: ours.local_id, ..ids };
        kernel.hear_message(2, Message::ReadyToUse(ids));
        let request = DisconnectRequest { ids, remote_qpn: qpn(0x11) };
        kernel.hear_message(3, Message::DisconnectRequest(request));
        assert_eq!(events(&mut kernel.ours), ["established", "disconnected"]);
        let answer = Ids { local: ids.remote, remote: ids.local };
        assert_eq!(messages(&mut kernel.ours), [Message::DisconnectReply(answer)]);
    }
}

#[test]
fn we_connect_to_the_kernel() {
    let mut kernel = Kernel::new(include_bytes!("../../../../tests/captures/rping-ipv4.pcap"), true);
    let to = SocketAddr::new(kernel.said[1].0, RPING_PORT);
    kernel.ours.connect(at_ms(0), to, local(0x11), &parameters(b"")).unwrap();
    let [Message::Request(request)] = messages(&mut kernel.ours)[..] else { panic!() };
    let Message::Reply(reply) = kernel.message(1) else { panic!() };
    kernel.hear_message(
        1,
        Message::Reply(crate::soft::wire::mad::Reply { remote_id: request.local_id, ..reply }),
    );
    let Some(CmEvent::Established { agreed, .. }) = kernel.ours.poll_event() else { panic!() };
    assert_eq!((agreed.send_psn, agreed.receive_psn), (reply.starting_psn, request.starting_psn));
    assert_eq!((agreed.responder_resources, agreed.initiator_depth), (1, 1));
    assert_eq!((agreed.remote_qpn, agreed.rnr_retries), (reply.qpn, 7));
    let ids = Ids { local: request.local_id, remote: reply.local_id };
    assert_eq!(messages(&mut kernel.ours), [Message::ReadyToUse(ids)]);
}

/// Our request has the kernel's shape: what differs is what is ours to choose.
#[test]
fn our_request_is_like_the_kernels() {
    let mut kernel = Kernel::new(include_bytes!("../../../../tests/captures/rping-ipv4.pcap"), true);
    let to = SocketAddr::new(kernel.said[1].0, RPING_PORT);
    let parameters =
        ConnectionParameters { responder_resources: 1, initiator_depth: 1, ..Default::default() };
    kernel.ours.connect(at_ms(0), to, local(0x11), &parameters).unwrap();
    let ours = sent(&mut kernel.ours)[0].1;
    // Transaction; id; GUID; PSN; flow label; source port.
    let ours_to_choose = [8..16, 24..28, 40..48, 68..71, 112..115, 166..168];
    for (offset, (ours, kernels)) in ours.iter().zip(kernel.said[0].1).enumerate() {
        if !ours_to_choose.iter().any(|range| range.contains(&offset)) {
            assert_eq!((offset, ours), (offset, kernels));
        }
    }
}

#[test]
fn the_kernel_refuses_us_and_we_refuse_it_alike() {
    let pcap = include_bytes!("../../../../tests/captures/refused-ipv4.pcap");
    let mut kernel = Kernel::new(pcap, true);
    let to = SocketAddr::new(kernel.said[1].0, 9);
    kernel.ours.connect(at_ms(0), to, local(0x13), &parameters(b"")).unwrap();
    let [Message::Request(request)] = messages(&mut kernel.ours)[..] else { panic!() };
    let Message::Rejection(rejection) = kernel.message(1) else { panic!() };
    kernel.hear_message(1, Message::Rejection(Rejection { remote_id: request.local_id, ..rejection }));
    assert_eq!(events(&mut kernel.ours), ["rejected 8"]);

    let mut kernel = Kernel::new(pcap, false);
    let request = kernel.said[0].1;
    kernel.hear(0, request);
    assert_eq!(sent(&mut kernel.ours)[0].1[..], *kernel.said[1].1);
}
