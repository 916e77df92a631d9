//! Discovery, log page 70h (Base, Discovery Log Page; RDMA transport, TSAS).

use crate::command::named_codes;
use crate::ids::ControllerId;
use crate::structure::{data_structure, flags, integer_newtype_field};
use crate::text::Text;

/// The record format (RECFMT) of these structures.
pub const DISCOVERY_RECORD_FORMAT: u16 = 0;

named_codes! {
    /// Transport Type (TRTYPE).
    TransportType {
        RDMA = 0x01, "RDMA";
        FIBRE_CHANNEL = 0x02, "Fibre Channel";
        TCP = 0x03, "TCP";
        INTRA_HOST = 0xFE, "Intra-host";
    }
}

named_codes! {
    /// Address Family (ADRFAM).
    AddressFamily {
        IPV4 = 0x01, "IPv4";
        IPV6 = 0x02, "IPv6";
        INFINIBAND = 0x03, "InfiniBand";
        FIBRE_CHANNEL = 0x04, "Fibre Channel";
        INTRA_HOST = 0xFE, "Intra-host";
    }
}

named_codes! {
    /// Subsystem Type (SUBTYPE).
    SubsystemType {
        REFERRAL = 0x01, "Referral to another Discovery service";
        NVM = 0x02, "NVM subsystem";
        CURRENT_DISCOVERY = 0x03, "Current Discovery subsystem";
    }
}

named_codes! {
    /// RDMA QP Service Type (RDMA_QPTYPE).
    RdmaQpType {
        RELIABLE_CONNECTED = 0x01, "Reliable Connected";
        RELIABLE_DATAGRAM = 0x02, "Reliable Datagram";
    }
}

named_codes! {
    /// RDMA Provider Type (RDMA_PRTYPE).
    RdmaProvider {
        NOT_SPECIFIED = 0x01, "No provider specified";
        INFINIBAND = 0x02, "InfiniBand";
        ROCE = 0x03, "RoCE";
        ROCE_V2 = 0x04, "RoCEv2";
        IWARP = 0x05, "iWARP";
    }
}

named_codes! {
    /// RDMA Connection Management Service (RDMA_CMS).
    RdmaCms {
        RDMA_CM = 0x01, "RDMA_CM";
    }
}

macro_rules! byte_code_fields {
    ($($name:ident),*) => {
        $(integer_newtype_field!($name, u8, $name, |code: $name| code.0);)*
    };
}
byte_code_fields!(TransportType, AddressFamily, SubsystemType, RdmaQpType, RdmaProvider, RdmaCms);

flags! {
    /// Transport Requirements (TREQ). Neither secure channel bit set is "not specified".
    TransportRequirements: u8 {
        /// Fabric secure channel required (bits 1:0 are 01b).
        SECURE_CHANNEL_REQUIRED = 0;
        /// Fabric secure channel not required (bits 1:0 are 10b).
        SECURE_CHANNEL_NOT_REQUIRED = 1;
        /// The controller can disable submission queue flow control.
        SQ_FLOW_CONTROL_DISABLE = 2;
    }
}

flags! {
    /// Entry Flags (EFLAGS).
    ExtendedFlags: u16 {
        /// Duplicate Returned Information: the same from all of the subsystem's discovery ports.
        DUPLICATE_RETURNED_INFORMATION = 0;
        /// Explicit Persistent Connection Support for Discovery.
        EXPLICIT_PERSISTENT_CONNECTION = 1;
        /// No CDC Connectivity.
        NO_CDC_CONNECTIVITY = 2;
    }
}

data_structure! {
    /// The header of the log page. The page changed while it was read when `genctr` did.
    DiscoveryHeader, "Discovery Log Page header", 1024 {
        /// Generation Counter (GENCTR).
        0 genctr: u64,
        /// Number of Records (NUMREC).
        8 numrec: u64,
        /// Record Format (RECFMT), [`DISCOVERY_RECORD_FORMAT`].
        16 recfmt: u16,
    }
}

data_structure! {
    /// Transport Specific Address Subtype (TSAS) of RDMA.
    RdmaTsas, "RDMA Transport Specific Address Subtype", 256 {
        /// QP service type.
        0 qptype: RdmaQpType,
        /// Provider type.
        1 prtype: RdmaProvider,
        /// Connection management service.
        2 cms: RdmaCms,
        /// RDMA_PKEY: the partition key, for InfiniBand address handles.
        8 pkey: u16,
    }
}

data_structure! {
    /// An entry of the log page.
    DiscoveryEntry, "Discovery Log Page Entry", 1024 {
        /// Transport Type.
        0 trtype: TransportType,
        /// Address Family.
        1 adrfam: AddressFamily,
        /// Subsystem Type.
        2 subtype: SubsystemType,
        /// Transport Requirements.
        3 treq: TransportRequirements,
        /// Port ID (PORTID), unique in the NVM subsystem.
        4 portid: u16,
        /// Controller ID (CNTLID); [`ControllerId::DYNAMIC`] in the dynamic controller model.
        6 cntlid: ControllerId,
        /// Admin Max SQ Size (ASQSZ) in entries, 32 or more.
        8 asqsz: u16,
        /// Entry Flags.
        10 eflags: ExtendedFlags,
        /// Transport Service Identifier (TRSVCID): a port number in decimal.
        32 trsvcid: Text<32>,
        /// NVM Subsystem Qualified Name (SUBNQN).
        256 subnqn: Text<256>,
        /// Transport Address (TRADDR).
        512 traddr: Text<256>,
        /// Transport Specific Address Subtype; for other transports its bytes mean other things.
        768 tsas: RdmaTsas,
    }
}
