//! Identifiers that must not be mixed up.

use std::fmt;

/// A queue identifier (QID): 0 is the admin queue pair, 1..=65535 are I/O queues (Base, Queue Pair).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u16);

impl QueueId {
    /// The admin submission and completion queue.
    pub const ADMIN: Self = Self(0);

    /// Whether this is the admin queue.
    #[must_use]
    pub const fn is_admin(self) -> bool {
        self.0 == 0
    }
}

/// A command identifier (CID), unique among a submission queue's outstanding commands (Base, Command Dword
/// 0).
///
/// FFFFh should not be used: the error information log page uses it for "no particular command".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u16);

/// A namespace identifier (NSID) (Base, Namespace Identifier).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nsid(pub u32);

impl Nsid {
    /// "This command uses no namespace."
    pub const NONE: Self = Self(0);
    /// "All namespaces": the broadcast value.
    pub const ALL: Self = Self(0xFFFF_FFFF);
    /// The greatest identifier that an allocated namespace can have (Base, Namespace Identifier).
    pub const MAX: Self = Self(0xFFFF_FFFE);

    /// Whether this can be the identifier of one namespace, being neither 0 nor the broadcast value.
    #[must_use]
    pub const fn is_one_namespace(self) -> bool {
        self.0 != 0 && self.0 != 0xFFFF_FFFF
    }
}

/// A controller identifier (CNTLID), unique in an NVM subsystem (Base, Identify Controller).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControllerId(pub u16);

impl ControllerId {
    /// In a fabrics Connect command: "allocate a controller" (the dynamic controller model).
    pub const DYNAMIC: Self = Self(0xFFFF);
}

macro_rules! display_as_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_as_number!(QueueId, CommandId, Nsid, ControllerId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_values() {
        assert!(QueueId::ADMIN.is_admin() && !QueueId(1).is_admin());
        assert!(Nsid(1).is_one_namespace() && Nsid::MAX.is_one_namespace());
        assert!(!Nsid::NONE.is_one_namespace() && !Nsid::ALL.is_one_namespace());
        assert_eq!(format!("{} {:>4}", Nsid(7), QueueId(3)), "7    3");
    }
}
