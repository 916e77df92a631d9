//! libnvme's words for what an entry says. A code without a word is `unrecognized`, as there.

use nvme_spec::log::{
    AddressFamily, ExtendedFlags, RdmaCms, RdmaProvider, RdmaQpType, SubsystemType, TransportRequirements,
    TransportType,
};

const UNRECOGNIZED: &str = "unrecognized";

pub(super) fn transport(of: TransportType) -> &'static str {
    match of {
        TransportType::RDMA => "rdma",
        TransportType::FIBRE_CHANNEL => "fc",
        TransportType::TCP => "tcp",
        TransportType::INTRA_HOST => "loop",
        _ => UNRECOGNIZED,
    }
}

pub(super) fn family(of: AddressFamily) -> &'static str {
    match of {
        AddressFamily(0) => "pci",
        AddressFamily::IPV4 => "ipv4",
        AddressFamily::IPV6 => "ipv6",
        AddressFamily::INFINIBAND => "infiniband",
        AddressFamily::FIBRE_CHANNEL => "fibre-channel",
        _ => UNRECOGNIZED,
    }
}

pub(super) fn subsystem(of: SubsystemType) -> &'static str {
    match of {
        SubsystemType::REFERRAL => "discovery subsystem referral",
        SubsystemType::NVM => "nvme subsystem",
        SubsystemType::CURRENT_DISCOVERY => "current discovery subsystem",
        _ => UNRECOGNIZED,
    }
}

pub(super) fn requirements(of: TransportRequirements) -> &'static str {
    match of.bits() {
        0 => "not specified",
        1 => "required",
        2 => "not required",
        4 => "not specified, sq flow control disable supported",
        _ => UNRECOGNIZED,
    }
}

pub(super) fn flags(of: ExtendedFlags) -> String {
    let words = [
        (ExtendedFlags::EXPLICIT_PERSISTENT_CONNECTION, "explicit discovery connections"),
        (ExtendedFlags::DUPLICATE_RETURNED_INFORMATION, "duplicate discovery information"),
        (ExtendedFlags::NO_CDC_CONNECTIVITY, "no cdc connectivity"),
    ];
    let known = words.iter().fold(ExtendedFlags::empty(), |known, (flag, _)| known | *flag);
    if !known.contains(of) {
        return UNRECOGNIZED.to_owned();
    }
    let set: Vec<_> = words.iter().filter(|(flag, _)| of.contains(*flag)).map(|(_, word)| *word).collect();
    if set.is_empty() { "none".to_owned() } else { set.join(", ") }
}

pub(super) fn provider(of: RdmaProvider) -> &'static str {
    match of {
        RdmaProvider::NOT_SPECIFIED => "not specified",
        RdmaProvider::INFINIBAND => "infiniband",
        RdmaProvider::ROCE => "roce",
        RdmaProvider::ROCE_V2 => "roce-v2",
        RdmaProvider::IWARP => "iwarp",
        _ => UNRECOGNIZED,
    }
}

pub(super) fn service(of: RdmaQpType) -> &'static str {
    match of {
        RdmaQpType::RELIABLE_CONNECTED => "connected",
        RdmaQpType::RELIABLE_DATAGRAM => "datagram",
        _ => UNRECOGNIZED,
    }
}

pub(super) fn management(of: RdmaCms) -> &'static str {
    match of {
        RdmaCms::RDMA_CM => "rdma-cm",
        _ => UNRECOGNIZED,
    }
}

/// The security of TCP, whose byte is where RDMA's service type is.
pub(super) fn security(of: u8) -> &'static str {
    match of {
        0 => "none",
        1 => "tls",
        2 => "tls13",
        _ => UNRECOGNIZED,
    }
}
