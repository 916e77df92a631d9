//! `remora-target`: exports block devices over NVMe/RDMA.
