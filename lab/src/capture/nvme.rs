//! What tshark makes of NVMe/RDMA.

/// How the kind of a completion begins whose status is no success.
pub const REFUSED: &str = "refused: ";

/// The status code type and the status code of a success.
const SUCCESS: [&str; 2] = ["0x0000", "0x0000"];

/// The kinds of a packet, of which a completion may have two: its status code type, its status code, and tshark's words
/// for it, such as "RC Send Only QP=0x000011 | NVMe CQE for Read".
pub fn kinds(fields: &[&str]) -> Vec<String> {
    let [code_type, code, info] = *fields else { return Vec::new() };
    let Some((_, message)) = info.rsplit_once(" | ") else { return Vec::new() };
    let message = message.split(", offset").next().unwrap_or(message);
    let mut kinds = vec![message.to_owned()];
    if !code.is_empty() && [code_type, code] != SUCCESS {
        let command = message.rsplit_once("CQE for ").map_or(message, |(_, command)| command);
        kinds.push(format!("{REFUSED}{command}, type {code_type}, code {code}"));
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_tshark_calls_it() {
        assert_eq!(
            kinds(&["", "", "RC RDMA Write First QP=0x000012 | NVMeOF Data for Read, offset 4096"]),
            ["NVMeOF Data for Read"]
        );
        assert_eq!(kinds(&["", "", "RC Send Only QP=0x000011 | NVMeOF Connect"]), ["NVMeOF Connect"]);
        assert!(kinds(&["", "", "RC Acknowledge QP=0x000011 "]).is_empty());
        assert!(kinds(&["", "", "CM: ConnectRequest"]).is_empty());
    }

    #[test]
    fn a_refusal_is_counted_with_its_status() {
        let info = "RC Send Only QP=0x000012 | NVMe CQE for Write";
        assert_eq!(kinds(&["0x0000", "0x0000", info]), ["NVMe CQE for Write"]);
        assert_eq!(
            kinds(&["0x0000", "0x0080", info]),
            ["NVMe CQE for Write", "refused: Write, type 0x0000, code 0x0080"]
        );
    }
}
