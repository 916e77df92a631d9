//! What an NBD client says before its first command: the same answers in pieces and at once, and not without bound.
#![no_main]

use block::{Access, BlockSize, MemDevice};
use initiator::nbd::Export;
use initiator::nbd::negotiation::{ANSWERS_BYTES_MAX, Negotiation, NegotiationError, Progress};
use libfuzzer_sys::fuzz_target;

/// Longest single answer: an option's few replies, each a name or a sentence.
const ANSWER_BYTES_MAX: usize = 1024;

fn negotiate(said: &[u8], piece: usize, export: &Export) -> (Result<Progress, NegotiationError>, Vec<u8>) {
    let (mut negotiation, _) = Negotiation::new();
    let (mut all, mut start) = (Vec::new(), 0);
    let mut progress = Progress::Unfinished;
    for end in (0..said.len()).step_by(piece).map(|at| (at + piece).min(said.len())) {
        loop {
            let mut answers = Vec::new();
            match negotiation.receive(&said[start..end], export, &mut answers) {
                Ok((used, so_far)) => {
                    assert!(used <= end - start);
                    assert!(answers.len() <= ANSWERS_BYTES_MAX + ANSWER_BYTES_MAX);
                    (start, progress) = (start + used, so_far);
                    all.extend(answers);
                    if used == 0 {
                        break;
                    }
                }
                Err(error) => {
                    all.extend(answers);
                    return (Err(error), all);
                }
            }
        }
    }
    (Ok(progress), all)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, said) = input;
    let Ok(device) = MemDevice::new("mem:", BlockSize::B512, 1 << 20, Access::ReadWrite) else { return };
    let Ok(name) = "disk".parse() else { return };
    let Ok(export) = Export::of(&device, name, false) else { return };
    let at_once = negotiate(said, said.len().max(1), &export);
    let in_pieces = negotiate(said, usize::from(piece).max(1), &export);
    assert_eq!(at_once, in_pieces);
});
