//! Whole soft endpoints on a simulated network, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "tests")]

mod link;
mod suite;
