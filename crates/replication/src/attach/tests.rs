use super::*;
use crate::config::{Member, Role, Shape};
use crate::generation::Generation;
use uuid::Uuid;

const SHAPE: Shape = Shape { blocks: 64, block_bytes: 512, region_blocks: 8 };

fn holder(index: usize) -> HolderId {
    HolderId::new(index).unwrap()
}

fn set(indices: &[usize]) -> HolderSet {
    indices.iter().map(|index| holder(*index)).collect()
}

fn mirror(roles: &[Role], policy: Policy) -> Description {
    let member =
        |(index, role): (usize, &Role)| Member { uuid: Uuid::from_u128(50 + index as u128), role: *role };
    Description {
        mirror: Uuid::from_u128(1),
        members: roles.iter().enumerate().map(member).collect(),
        policy,
        shape: SHAPE,
        data_offset_bytes: 0,
        map_offset_bytes: 0,
    }
}

fn label(description: &Description, index: usize, generation: &Generation, in_sync: &[usize]) -> Label {
    Label {
        compatible: 0,
        mirror: description.mirror,
        holder: description.members[index].uuid,
        sequence: 1,
        generation: generation.clone(),
        in_sync: set(in_sync),
        policy: description.policy,
        members: description.members.clone(),
        shape: SHAPE,
        data_offset_bytes: 0,
        map_offset_bytes: 0,
    }
}

fn generations() -> [Generation; 3] {
    let first = Generation::first(Uuid::from_u128(1));
    let second = first.child(Uuid::from_u128(2), &[], &[]);
    let rival = first.child(Uuid::from_u128(3), &[], &[]);
    [first, second, rival]
}

fn decide_on(
    description: &Description,
    labels: &[(usize, &Generation, &[usize])],
) -> Result<(u128, HolderSet), Refusal> {
    let labels: Vec<_> = labels
        .iter()
        .map(|(index, generation, set)| (holder(*index), label(description, *index, generation, set)))
        .collect();
    let labels: Vec<_> = labels.iter().map(|(holder, label)| (*holder, label)).collect();
    decide(description, &labels).map(|plan| (plan.newest.name.id.as_u128(), plan.members))
}

#[test]
fn all_members_of_the_newest_set_must_be_there() {
    let pair = mirror(&[Role::Leg, Role::Leg], Policy::AllMembers);
    let [first, second, rival] = generations();
    assert_eq!(decide_on(&pair, &[]), Err(Refusal::Nobody));
    assert_eq!(decide_on(&pair, &[(0, &first, &[0, 1]), (1, &first, &[0, 1])]), Ok((1, set(&[0, 1]))));
    // Leg 1 went on alone: it is enough, and leg 0 is not.
    assert_eq!(decide_on(&pair, &[(1, &second, &[1])]), Ok((2, set(&[1]))));
    assert_eq!(
        decide_on(&pair, &[(0, &first, &[0, 1])]).unwrap_err().to_string(),
        format!(
            "generation 1 ({}) says that {{1}} of {{0, 1}} must be there to be sure that nothing newer exists",
            Uuid::from_u128(1)
        )
    );
    // A leg that is being admitted has the older label, and has everything.
    assert_eq!(decide_on(&pair, &[(0, &second, &[0, 1]), (1, &first, &[0])]), Ok((2, set(&[0, 1]))));
    let split = decide_on(&pair, &[(0, &second, &[0]), (1, &rival, &[1])]).unwrap_err();
    assert!(matches!(split, Refusal::SplitBrain { .. }), "{split}");
}

#[test]
fn a_majority_must_be_there_and_a_leg_of_the_newest_set() {
    let trio = mirror(&[Role::Leg, Role::Leg, Role::Witness], Policy::Majority);
    let [first, second, _] = generations();
    assert_eq!(decide_on(&trio, &[(0, &first, &[0, 1]), (2, &first, &[0, 1])]), Ok((1, set(&[0]))));
    let alone = decide_on(&trio, &[(0, &first, &[0, 1])]).unwrap_err();
    assert_eq!(alone, Refusal::Majority { present: 1, holders: 3, majority: 2 });
    // The witness knows that leg 0 missed something.
    let missed = decide_on(&trio, &[(0, &first, &[0, 1]), (2, &second, &[1])]).unwrap_err();
    assert_eq!(missed, Refusal::NoLeg { newest: second.name, members: set(&[1]) });
}

#[test]
fn what_no_majority_can_have_does_not_count() {
    let trio = mirror(&[Role::Leg, Role::Leg, Role::Witness], Policy::Majority);
    let [first, second, rival] = generations();
    let all = [(0, &rival, &[0][..]), (1, &second, &[1][..]), (2, &second, &[1][..])];
    assert_eq!(decide_on(&trio, &all), Ok((2, set(&[1]))));
    // Both died with their writers: what was before them counts.
    let neither = [(0, &rival, &[0][..]), (1, &second, &[1][..]), (2, &first, &[0, 1][..])];
    assert_eq!(decide_on(&trio, &neither), Ok((1, set(&[0, 1]))));
    // Without the third nobody can tell.
    let open = [(0, &rival, &[0][..]), (1, &second, &[1][..])];
    assert!(matches!(decide_on(&trio, &open), Err(Refusal::SplitBrain { .. })));
}

#[test]
fn labels_of_something_else_are_refused() {
    let pair = mirror(&[Role::Leg, Role::Leg], Policy::AllMembers);
    let [first, ..] = generations();
    let good = label(&pair, 0, &first, &[0, 1]);
    assert_eq!(check_identity(&pair, holder(0), &good), Ok(()));
    assert_eq!(check_identity(&pair, holder(1), &good), Err(Refusal::Other { field: "leg UUID" }));
    let other = Label { mirror: Uuid::nil(), ..good.clone() };
    assert_eq!(check_identity(&pair, holder(0), &other), Err(Refusal::Other { field: "mirror UUID" }));
    let other = Label { shape: Shape { blocks: 65, ..SHAPE }, ..good };
    assert_eq!(check_identity(&pair, holder(0), &other), Err(Refusal::Other { field: "size" }));
}
