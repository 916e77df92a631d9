//! Remote namespaces as block devices: `rdma://HOST[:PORT]/NQN?ns=N`.
