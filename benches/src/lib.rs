//! What several benchmarks share: the floors that they compare with.

pub mod floor;
