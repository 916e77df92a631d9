//! The program `remora-target`.

fn main() {}
