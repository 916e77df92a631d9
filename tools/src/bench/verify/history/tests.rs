//! Scenarios, and a comparison with an oracle that keeps the whole history.

use super::*;
use proptest::prelude::*;

const DONE: WriteEnd = WriteEnd::Done { durable: false };
const FORCED: WriteEnd = WriteEnd::Done { durable: true };

fn history() -> History {
    History::new(1, WriteCache::Volatile)
}

fn write(history: &mut History) -> u32 {
    let mark = history.begin_write(0);
    history.end_write(0, mark, history.era(), DONE);
    mark.generation
}

fn flush(history: &mut History) {
    let mark = history.begin_flush();
    history.end_flush(mark);
}

fn legal_now(history: &History) -> Vec<u32> {
    history.legal(0, history.begin_read(0), history.era())
}

#[test]
fn the_table_is_as_large_as_the_help_says() {
    assert_eq!(BLOCK_BYTES, 32);
}

#[test]
fn a_block_holds_its_last_write() {
    let mut history = history();
    assert_eq!(legal_now(&history), [0]);
    write(&mut history);
    write(&mut history);
    assert_eq!(legal_now(&history), [2]);
}

#[test]
fn a_read_may_find_what_was_in_flight_during_it() {
    let mut history = history();
    write(&mut history);
    let before = history.begin_read(0);
    let second = history.begin_write(0);
    let during = history.begin_read(0);
    history.end_write(0, second, 0, DONE);
    let after = history.begin_read(0);
    assert_eq!(history.legal(0, before, 0), [1, 2]);
    assert_eq!(history.legal(0, during, 0), [1, 2]);
    assert_eq!(history.legal(0, after, 0), [2]);
    let third = history.begin_write(0);
    history.end_write(0, third, 0, DONE);
    assert_eq!(history.legal(0, after, 0), [2, 3]);
}

#[test]
fn writes_in_flight_together_have_no_order_and_an_older_one_stays_possible() {
    let mut history = history();
    let (first, second) = (history.begin_write(0), history.begin_write(0));
    history.end_write(0, second, 0, DONE);
    assert_eq!(legal_now(&history), [1, 2]);
    let third = history.begin_write(0);
    history.end_write(0, third, 0, DONE);
    // The second had ended before the third began, the first had not.
    assert_eq!(legal_now(&history), [1, 3]);
    history.end_write(0, first, 0, DONE);
    assert_eq!(legal_now(&history), [1, 3]);
    write(&mut history);
    assert_eq!(legal_now(&history), [4]);
}

#[test]
fn a_write_that_failed_is_possible_until_it_is_overwritten_unless_it_did_nothing() {
    let mut history = history();
    write(&mut history);
    for (end, expected) in [(WriteEnd::NotDone, vec![1]), (WriteEnd::Maybe, vec![1, 3])] {
        let mark = history.begin_write(0);
        history.end_write(0, mark, 0, end);
        assert_eq!(legal_now(&history), expected);
    }
    write(&mut history);
    assert_eq!(legal_now(&history), [4]);
}

#[test]
fn a_write_that_never_ends_stays_possible_and_in_the_end_stops_the_others() {
    let mut history = history();
    let lost = history.begin_write(0);
    while history.may_write(0) {
        let newest = write(&mut history);
        assert_eq!(legal_now(&history), [1, newest]);
    }
    assert_eq!(history.issued(0), 32);
    history.end_write(0, lost, 0, WriteEnd::Maybe);
    assert!(!history.may_write(0));
}

#[test]
fn a_reset_brings_back_what_no_flush_covered() {
    let mut history = history();
    write(&mut history);
    write(&mut history);
    flush(&mut history);
    write(&mut history);
    write(&mut history);
    assert_eq!(legal_now(&history), [4]);
    history.rewind();
    assert_eq!(legal_now(&history), [2, 3, 4]);
    // What came back may be made durable, and is not known for that.
    flush(&mut history);
    history.rewind();
    assert_eq!(legal_now(&history), [2, 3, 4]);
    write(&mut history);
    assert_eq!(legal_now(&history), [5]);
    flush(&mut history);
    history.rewind();
    assert_eq!(legal_now(&history), [5]);
}

#[test]
fn a_flush_covers_only_what_had_completed_when_it_was_submitted() {
    let mut history = history();
    write(&mut history);
    let in_flight = history.begin_write(0);
    let mark = history.begin_flush();
    history.end_write(0, in_flight, 0, DONE);
    history.end_flush(mark);
    history.rewind();
    assert_eq!(legal_now(&history), [1, 2]);
}

#[test]
fn a_flush_that_fails_or_that_a_reset_overtakes_covers_nothing() {
    let mut history = history();
    write(&mut history);
    let mark = history.begin_flush();
    history.rewind();
    history.end_flush(mark);
    let _failed = history.begin_flush();
    history.rewind();
    assert_eq!(legal_now(&history), [0, 1]);
}

#[test]
fn forced_writes_and_devices_without_a_cache_lose_nothing() {
    let mut forced = history();
    let mark = forced.begin_write(0);
    forced.end_write(0, mark, 0, FORCED);
    forced.rewind();
    assert_eq!(legal_now(&forced), [1]);

    let mut through = History::new(1, WriteCache::Through);
    write(&mut through);
    through.rewind();
    assert_eq!(legal_now(&through), [1]);
}

#[test]
fn a_write_acknowledged_around_a_reset_may_be_lost() {
    let mut history = history();
    flush(&mut history);
    let mark = history.begin_write(0);
    history.rewind();
    history.end_write(0, mark, 0, DONE);
    assert_eq!(legal_now(&history), [0, 1]);
}

#[test]
fn a_read_around_a_reset_may_find_either_side() {
    let mut history = history();
    write(&mut history);
    flush(&mut history);
    write(&mut history);
    let read = history.begin_read(0);
    assert_eq!(history.legal(0, read, 0), [2]);
    history.rewind();
    assert_eq!(history.legal(0, read, 0), [1, 2]);
    let read = history.begin_read(0);
    write(&mut history);
    assert_eq!(history.legal(0, read, 1), [1, 2, 3]);
    assert_eq!(legal_now(&history), [3]);
}

#[test]
fn a_reset_reaches_back_beyond_the_window_and_writing_goes_on() {
    let mut history = history();
    write(&mut history);
    flush(&mut history);
    for _ in 0..100 {
        write(&mut history);
    }
    history.rewind();
    let read = history.begin_read(0);
    assert!(
        history.allows(0, read, 1, 1) && history.allows(0, read, 1, 50) && history.allows(0, read, 1, 101)
    );
    assert!(!history.allows(0, read, 1, 0) && !history.allows(0, read, 1, 102));
    assert!(history.may_write(0));
    write(&mut history);
    assert_eq!(legal_now(&history), [102]);
}

#[test]
fn what_is_saved_and_restored_allows_the_same() {
    let mut before = history();
    write(&mut before);
    flush(&mut before);
    write(&mut before);
    let failed = before.begin_write(0);
    before.end_write(0, failed, 0, WriteEnd::Maybe);
    let restored = |before: &History| {
        let mut after = history();
        after.restore(0, before.save(0));
        after
    };
    assert_eq!(legal_now(&restored(&before)), [2, 3]);
    before.rewind();
    let mut after = restored(&before);
    assert_eq!(legal_now(&after), [1, 2, 3]);
    assert_eq!(write(&mut after), 4);
    assert_eq!(legal_now(&after), [4]);
}

/// An oracle that keeps every write with its moments and judges by the definition.
#[derive(Default)]
struct Oracle {
    /// For each generation: submit, and how it ended when.
    writes: Vec<(u32, Option<(u32, WriteEnd)>)>,
    now: u32,
}

impl Oracle {
    fn tick(&mut self) -> u32 {
        self.now += 1;
        self.now
    }

    /// Generation 0 was there from the beginning.
    fn ended(&self, generation: usize) -> Option<(u32, WriteEnd)> {
        if generation == 0 { Some((0, DONE)) } else { self.writes[generation - 1].1 }
    }

    /// Whether a read from `submit` to now may find it: no write began after its end and completed before the submit.
    fn allows(&self, submit: u32, generation: usize) -> bool {
        if generation > self.writes.len() {
            return false;
        }
        let ended = self.ended(generation);
        if let Some((at, WriteEnd::NotDone)) = ended {
            return at > submit;
        }
        let replaced = |other: &(u32, Option<(u32, WriteEnd)>)| match (ended, other) {
            (Some((end, _)), (begin, Some((done, WriteEnd::Done { .. })))) => end < *begin && *done < submit,
            _ => false,
        };
        !self.writes.iter().any(replaced)
    }
}

proptest! {
    #[test]
    fn the_sets_agree_with_the_definition(steps in proptest::collection::vec((0u8..7, any::<prop::sample::Index>()), 1..120)) {
        let (mut history, mut oracle) = (history(), Oracle::default());
        let (mut writes, mut reads): (Vec<Mark>, Vec<(u32, Mark)>) = Default::default();
        for (step, which) in steps {
            let now = oracle.tick();
            match step {
                0 | 1 if history.may_write(0) && writes.len() < 5 => {
                    let mark = history.begin_write(0);
                    oracle.writes.push((now, None));
                    prop_assert_eq!(usize::try_from(mark.generation).unwrap(), oracle.writes.len());
                    writes.push(mark);
                }
                2..=4 if !writes.is_empty() => {
                    let mark = writes.remove(which.index(writes.len()));
                    let end = [DONE, DONE, DONE, DONE, WriteEnd::Maybe, WriteEnd::NotDone][which.index(6)];
                    oracle.writes[usize::try_from(mark.generation).unwrap() - 1].1 = Some((now, end));
                    history.end_write(0, mark, 0, end);
                }
                5 => reads.push((now, history.begin_read(0))),
                6 if !reads.is_empty() => {
                    let (submit, mark) = reads.remove(which.index(reads.len()));
                    for generation in 0..=oracle.writes.len() + 1 {
                        // Those that failed without effect while the read was in flight are let pass by both.
                        let number = u32::try_from(generation).unwrap();
                        prop_assert_eq!(
                            history.allows(0, mark, 0, number),
                            oracle.allows(submit, generation),
                            "generation {} of {}", generation, oracle.writes.len()
                        );
                    }
                }
                _ => {}
            }
        }
    }
}
