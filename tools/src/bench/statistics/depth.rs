//! How many I/O were in flight, and how many were submitted and completed at once.

/// fio's classes of the depth: 1, 2, 4, 8, 16, 32 and more.
const LEVELS: usize = 7;

/// What share of all fell into each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    /// In flight, for each I/O: from 1, 2, 4, 8, 16, 32, 64 on.
    pub level: [u64; LEVELS],
    /// Submitted at once, for each submission: up to 0, 4, 8, 16, 32, 64, more.
    pub submit: [u64; LEVELS],
    /// Completed at once, for each poll that found some.
    pub complete: [u64; LEVELS],
}

impl Depths {
    /// Notes that `ios` more went into flight while `in_flight` were.
    #[inline]
    pub fn submitted(&mut self, ios: usize, in_flight: usize) {
        for depth in in_flight + 1..=in_flight + ios {
            self.level[level(depth)] += 1;
        }
        self.submit[batch(ios)] += 1;
    }

    /// Notes that `ios` were found completed at once.
    #[inline]
    pub fn completed(&mut self, ios: usize) {
        self.complete[batch(ios)] += 1;
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        let sum = |into: &mut [u64], from: &[u64]| into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        sum(&mut self.level, &other.level);
        sum(&mut self.submit, &other.submit);
        sum(&mut self.complete, &other.complete);
    }
}

fn level(depth: usize) -> usize {
    (depth.max(1).ilog2() as usize).min(LEVELS - 1)
}

fn batch(ios: usize) -> usize {
    match ios {
        0 => 0,
        1..=4 => 1,
        _ => ((ios - 1).ilog2() as usize).min(LEVELS - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_fios() {
        let levels: Vec<usize> = [1, 2, 3, 4, 8, 15, 16, 63, 64, 1000].map(level).into();
        assert_eq!(levels, [0, 1, 1, 2, 3, 3, 4, 5, 6, 6]);
        let batches: Vec<usize> = [0, 1, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 1000].map(batch).into();
        assert_eq!(batches, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]);
    }

    #[test]
    fn each_io_has_its_own_depth() {
        let mut depths = Depths::default();
        depths.submitted(3, 1);
        assert_eq!((depths.level, depths.submit), ([0, 2, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0]));
    }
}
