use super::*;

const END: Timestamp = Timestamp::NEVER;

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

/// Sends 10,000 numbered datagrams from 1 to 2, 1 us apart, and takes what arrives.
fn run(seed: u64, faults: Faults) -> (Vec<Vec<u8>>, NetworkCounts) {
    let mut network = Network::new(seed, faults);
    let mut arrived = Vec::new();
    for index in 0..10_000u32 {
        let now = Timestamp::from_ns(1000 * u64::from(index));
        network.send(1, 2, index.to_le_bytes().to_vec(), now);
        arrived.extend(std::iter::from_fn(|| network.receive(2, now)).map(|datagram| datagram.bytes));
    }
    arrived.extend(std::iter::from_fn(|| network.receive(2, END)).map(|datagram| datagram.bytes));
    (arrived, network.counts())
}

#[test]
fn without_faults_everything_arrives_once_and_in_order_after_the_delay() {
    let (arrived, counts) = run(1, Faults::NONE);
    assert!(arrived.iter().map(|bytes| number(bytes)).eq(0..10_000));
    assert_eq!((counts.sent, counts.arrived), (10_000, 10_000));
    let mut network = Network::new(1, Faults::NONE);
    network.send('a', 'b', vec![7], Timestamp::from_ns(100));
    assert_eq!(network.next_arrival(Timestamp::from_ns(5099)), Some(Timestamp::from_ns(5100)));
    assert_eq!(network.receive('b', Timestamp::from_ns(5099)), None);
    let datagram = network.receive('b', Timestamp::from_ns(5100)).unwrap();
    assert_eq!(datagram, Datagram { from: 'a', to: 'b', bytes: vec![7] });
    network.send('a', 'b', vec![8], Timestamp::from_ns(100));
    assert_eq!(
        network.next_arrival(Timestamp::from_ns(5100)),
        None,
        "it has arrived, though nobody has taken it"
    );
}

#[test]
fn each_fault_does_what_it_says_and_nothing_else() {
    let (arrived, counts) = run(2, Faults { loss: 100_000, ..Faults::NONE });
    assert_eq!(arrived.len() as u64, 10_000 - counts.lost);
    assert!((800..1200).contains(&counts.lost) && arrived.is_sorted_by_key(|bytes| number(bytes)));

    let (arrived, counts) = run(3, Faults { duplication: 100_000, ..Faults::NONE });
    assert_eq!(arrived.len() as u64, 10_000 + counts.duplicated);
    assert!((800..1200).contains(&counts.duplicated));

    let late_max = Duration::from_micros(100);
    let (arrived, counts) = run(4, Faults { reordering: 100_000, late_max, ..Faults::NONE });
    assert!((800..1200).contains(&counts.reordered) && arrived.len() == 10_000);
    assert!(!arrived.is_sorted_by_key(|bytes| number(bytes)));

    let (arrived, counts) = run(5, Faults { corruption: 100_000, ..Faults::NONE });
    let differing = arrived.iter().zip(0u32..).filter(|(bytes, index)| **bytes != index.to_le_bytes());
    assert!((800..1200).contains(&counts.corrupted));
    // Turning a bit twice restores it, now and then.
    assert!((counts.corrupted - 100..=counts.corrupted).contains(&(differing.count() as u64)));

    let delay_max = Duration::from_micros(300);
    let (arrived, _) = run(6, Faults { delay_max, ..Faults::NONE });
    assert!(arrived.iter().map(|bytes| number(bytes)).eq(0..10_000), "delay keeps the order");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let faults = Faults::by_chance(&mut Dice::new(9));
    assert_eq!(run(7, faults), run(7, faults));
    let lossy = Faults { loss: 100_000, ..Faults::NONE };
    assert_ne!(run(7, lossy).0, run(8, lossy).0);
}

#[test]
fn crashes_and_cuts_lose_what_is_under_way() {
    let mut network = Network::new(1, Faults::NONE);
    let at = Timestamp::from_ns;
    network.send(1, 2, vec![1], at(0));
    assert!(network.has_arrived(2, at(5000)));
    network.send(1, 2, vec![2], at(5000));
    network.crash(2);
    assert_eq!(network.receive(2, END), None);
    network.send(2, 1, vec![3], at(6000));
    network.restart(2);
    network.send(1, 2, vec![4], at(6000));
    assert_eq!(network.receive(2, END).unwrap().bytes, [4]);
    assert_eq!(network.receive(1, END), None);
    network.cut(1, 2);
    network.send(1, 2, vec![5], at(0));
    network.send(1, 3, vec![6], at(0));
    assert!(network.receive(2, END).is_none() && network.receive(3, END).is_some());
    network.heal();
    network.send(2, 1, vec![7], at(0));
    assert_eq!(network.receive(1, END).unwrap().bytes, [7]);
    assert_eq!(network.counts().lost, 4);
}

#[test]
fn an_inbox_is_bounded() {
    let mut network = Network::new(1, Faults::NONE);
    (0..INBOX_MAX + 3).for_each(|_| network.send(1, 2, vec![0], Timestamp::default()));
    assert!(network.has_arrived(2, END));
    assert_eq!((network.counts().arrived, network.counts().overflowed), (INBOX_MAX as u64, 3));
}
