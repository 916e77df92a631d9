//! A controller's life without faults: up, I/O, events, down.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod rig;

use block::{InvalidRequest, IoError, Op, WakeMode};
use nvme_model::ControllerOptions;
use rig::{NSID, Rig, driver_options};

#[test]
fn it_comes_up_works_and_shuts_down_in_order() {
    let mut rig = Rig::live();
    assert_eq!(rig.controller.controller().namespaces(), [NSID]);
    rig.check_works(0x5a);
    rig.queue = None;
    rig.controller.close();
    rig.run_until("closed", |rig| rig.controller.state() == "over");
    assert_eq!(rig.controller.epitaph(), None, "an orderly end has no reason");
    rig.check_no_leak();
}

#[test]
fn every_kind_of_request_does_what_it_says() {
    let mut rig = Rig::live();
    let write = rig.request(Op::Write { fua: true }, 0, 8, 7);
    assert_eq!(rig.execute(write).result, Ok(()));
    let compare = rig.request(Op::Compare, 0, 8, 7);
    assert_eq!(rig.execute(compare).result, Ok(()));
    let compare = rig.request(Op::Compare, 0, 8, 8);
    assert_eq!(rig.execute(compare).result, Err(IoError::Miscompare));
    for op in [Op::Verify, Op::Flush, Op::WriteZeroes { fua: true, may_unmap: true }, Op::Discard] {
        let request = rig.request(op, 0, 4, 0);
        assert_eq!(rig.execute(request).result, Ok(()), "{op:?}");
    }
    let read = rig.request(Op::Read, 0, 8, 9);
    let mut bytes = [1; 4096];
    rig.execute(read).request.data.read(0, &mut bytes).unwrap();
    assert!(bytes[..2048].iter().all(|byte| *byte == 0) && bytes[2048..].iter().all(|byte| *byte == 7));
    let beyond = rig.request(Op::Read, rig::BLOCKS - 1, 2, 0);
    assert_eq!(rig.execute(beyond).result, Err(IoError::Invalid(InvalidRequest::Range)));
    rig.check_no_leak();
}

#[test]
fn it_works_with_and_without_each_optional_ability() {
    for (doorbell_buffer, sgl, interrupts) in
        [(false, false, false), (true, false, true), (false, true, true), (true, true, false)]
    {
        let mut model = ControllerOptions { doorbell_buffer, ..ControllerOptions::default() };
        model.sgl = model.sgl.filter(|_| sgl);
        let mut rig = Rig::cold(model, driver_options());
        rig.run_until("live", |rig| rig.controller.state() == "live");
        rig.open_queue(if interrupts { WakeMode::Interrupt } else { WakeMode::Polled });
        rig.check_works(1);
        // Enough to wrap both rings several times.
        for round in 0..200u8 {
            rig.check_works(round);
        }
        rig.check_no_leak();
    }
}

/// Once, a queue that was opened under the identifier of a closed one got completions for commands that nobody had sent:
/// the old tail was still in the shadow doorbell, so the controller fetched from the new, empty ring.
#[test]
fn a_queue_that_is_opened_again_begins_anew() {
    let mut rig = Rig::live();
    for round in 0..5 {
        rig.check_works(round);
        rig.queue = None;
        rig.open_queue(WakeMode::Polled);
    }
    assert_eq!(rig.controller.incarnation(), 1, "no reset was needed");
    rig.check_sane();
}
