//! Which kinds of device the command can open: the one place where they come together.

use block::Openers;

/// Openers of every kind of device that is built in.
#[must_use]
pub fn openers() -> Openers {
    Openers::with_builtin()
}
