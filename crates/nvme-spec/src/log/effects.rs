//! Commands Supported and Effects, log page 05h (Base, Commands Supported and Effects Log Page).

use crate::structure::{data_structure, flags};

flags! {
    /// What a command does, besides what it is for.
    CommandEffects: u32 {
        /// Command Supported (CSUPP).
        SUPPORTED = 0;
        /// Logical Block Content Change (LBCC).
        CONTENT_CHANGE = 1;
        /// Namespace Capability Change (NCC).
        NAMESPACE_CAPABILITY_CHANGE = 2;
        /// Namespace Inventory Change (NIC).
        NAMESPACE_INVENTORY_CHANGE = 3;
        /// Controller Capability Change (CCC).
        CONTROLLER_CAPABILITY_CHANGE = 4;
        /// UUID Selection Supported.
        UUID_SELECTION = 19;
    }
}

impl CommandEffects {
    /// Command Submission and Execution (CSE): 0 no restriction, 1 alone on the namespace, 2 alone on all.
    #[must_use]
    pub const fn exclusiveness(self) -> u8 {
        crate::bits::low8(crate::bits::get32(self.bits(), 16, 3))
    }
}

data_structure! {
    /// Commands Supported and Effects, indexed by opcode.
    CommandsSupported, "Commands Supported and Effects", 4096 {
        /// Admin commands (ACS).
        0 admin: [CommandEffects; 256],
        /// I/O commands (IOCS).
        1024 io: [CommandEffects; 256],
    }
}
