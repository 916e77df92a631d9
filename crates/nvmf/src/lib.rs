//! NVMe over Fabrics, without I/O and without a clock.
//!
//! - [`wire`]: what only fabrics have, as bytes and as meaning: Connect, properties, names, the private data of RDMA
//!   connections. Everything else is `nvme-spec`'s.
//! - [`controller`]: the target's side: who is let in, properties, admin commands, discovery, I/O queues.
//! - [`host`]: the side of the host, which attaches namespaces and asks discovery services.
//!
//! Clauses are those of the NVM Express Base Specification 2.1 ("Base") and of the NVMe over RDMA Transport Specification 1.1
//! ("RDMA"), cited by title.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation))]

pub mod controller;
pub mod host;
pub mod wire;
