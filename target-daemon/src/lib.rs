//! `remora-target`: exports block devices over NVMe/RDMA.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation))]

pub mod engine;
mod hub;
