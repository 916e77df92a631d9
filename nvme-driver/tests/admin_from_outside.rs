//! Admin commands from outside: answered beside I/O, refused, and lost with the controller.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod rig;

use nvme_driver::{AdminAnswer, AdminError};
use nvme_model::Action;
use nvme_spec::command::{AdminCommand, Cns, DwordCount, GetLogPage, Identify, LogPageId};
use nvme_spec::{Nsid, StatusCode};
use rig::{NSID, Rig};

fn identify(cns: Cns, nsid: Nsid) -> AdminCommand {
    AdminCommand::Identify(Identify::new(cns, nsid))
}

fn ask(rig: &Rig, command: AdminCommand, bytes: u32) -> AdminAnswer {
    rig.controller.begin_admin(command, bytes).expect("the mailbox has room")
}

fn answer_of(rig: &mut Rig, asked: &AdminAnswer) -> Result<Vec<u8>, AdminError> {
    let mut answer = None;
    rig.run_until("answered", |_| {
        answer = asked.try_take();
        answer.is_some()
    });
    answer.unwrap()
}

#[test]
fn identify_and_logs_come_back_as_bytes() {
    let mut rig = Rig::live();
    let asked = ask(&rig, identify(Cns::NAMESPACE, NSID), 4096);
    let page = answer_of(&mut rig, &asked).unwrap();
    // NSZE, the namespace's blocks, is what the structure begins with.
    assert_eq!((page.len(), &page[..8]), (4096, &rig::BLOCKS.to_le_bytes()[..]));
    let smart = GetLogPage::new(LogPageId::SMART_HEALTH, DwordCount::from_bytes(512).unwrap());
    let asked = ask(&rig, AdminCommand::GetLogPage(smart), 512);
    assert_eq!(answer_of(&mut rig, &asked).unwrap().len(), 512);
    rig.check_works(3);
    rig.check_sane();
}

#[test]
fn a_refusal_is_an_answer_and_harms_nothing() {
    let mut rig = Rig::live();
    let asked = ask(&rig, identify(Cns(0xfe), NSID), 4096);
    let Err(AdminError::Refused(status)) = answer_of(&mut rig, &asked) else {
        panic!("the page is reserved")
    };
    assert_eq!(status.code(), StatusCode::INVALID_FIELD);
    assert_eq!(rig.controller.incarnation(), 1, "no reset");
    rig.check_works(4);
}

#[test]
fn the_mailbox_is_bounded_and_empties_in_order() {
    let mut rig = Rig::live();
    let command = identify(Cns::CONTROLLER, Nsid::NONE);
    let asked: Vec<_> =
        std::iter::from_fn(|| rig.controller.begin_admin(command, 64).ok()).take(100).collect();
    assert_eq!(asked.len(), 16);
    assert_eq!(rig.controller.begin_admin(command, 64).map(|_| ()), Err(AdminError::Busy));
    for asked in &asked {
        assert_eq!(answer_of(&mut rig, asked).map(|page| page.len()), Ok(64));
    }
    rig.check_works(5);
}

#[test]
fn a_removed_controller_loses_what_waits() {
    let mut rig = Rig::live();
    rig.ssd().act(Action::Remove);
    let command = identify(Cns::CONTROLLER, Nsid::NONE);
    let first = ask(&rig, command, 64);
    let second = ask(&rig, command, 64);
    assert_eq!(answer_of(&mut rig, &first), Err(AdminError::Lost));
    assert_eq!(answer_of(&mut rig, &second), Err(AdminError::Lost));
    let late = ask(&rig, command, 64);
    assert_eq!(answer_of(&mut rig, &late), Err(AdminError::Lost));
}

#[test]
fn a_reset_loses_what_is_under_way_and_not_what_follows() {
    let mut rig = Rig::live();
    let command = identify(Cns::CONTROLLER, Nsid::NONE);
    rig.controller.controller().reset();
    let asked = ask(&rig, command, 64);
    rig.controller.step(rig.now);
    let before = answer_of(&mut rig, &asked);
    assert!(matches!(before, Ok(_) | Err(AdminError::Lost)), "{before:?}");
    rig.run_until("live again", |rig| rig.controller.incarnation() == 2 && rig.controller.state() == "live");
    let asked = ask(&rig, command, 64);
    assert_eq!(answer_of(&mut rig, &asked).map(|page| page.len()), Ok(64));
}
