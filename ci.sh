#!/usr/bin/env bash
# Everything that must hold before a change lands: format, lints, tests, documentation, layout, licences.
# Needs a Rust toolchain and cargo-deny; .ci/run installs the latter on a bare machine.
set -euo pipefail
cd "$(dirname "$0")"

step() { printf '\n== %s\n' "$*"; }

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

step "licences, sources and bans of all dependencies"
cargo deny --all-features check licenses bans sources

step "tests (the README's command)"
cargo test --workspace --locked

step "tests of the provider verbs, as far as they need no device (the lab has one)"
cargo test --package rdma --features verbs --locked verbs
