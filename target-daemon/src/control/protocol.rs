//! Requests and replies: one line of JSON each.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::status::Status;

/// The protocol's version.
pub const PROTOCOL_VERSION: u64 = 1;

/// Longest request in bytes, the end of its line included. A device's name is the longest part.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;

/// Longest reply in bytes that a client reads: a status of everything that a target can have.
pub const REPLY_BYTES_MAX: usize = 64 << 20;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How everything is.
    Status {},
    /// Read the configuration again, and change what is served to what it says.
    Reload {},
    /// Export a namespace.
    AddNamespace {
        /// In which subsystem; may be left away if there is one only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nqn: Option<String>,
        /// Its number; the lowest free one if left away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nsid: Option<u32>,
        /// The device's URI.
        device: String,
        /// Whether hosts may only read it.
        #[serde(default)]
        read_only: bool,
        /// Its UUID, if not the device's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uuid: Option<String>,
        /// Its NGUID, if not the device's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nguid: Option<String>,
    },
    /// Export a namespace no longer.
    RemoveNamespace {
        /// In which subsystem; may be left away if there is one only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nqn: Option<String>,
        /// Its number.
        nsid: u32,
    },
    /// Let what is being carried out end, close all connections, and end.
    Drain {},
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Reload`].
    Reloaded(Reloaded),
    /// To [`Request::AddNamespace`].
    NamespaceAdded(Changed),
    /// To [`Request::RemoveNamespace`].
    NamespaceRemoved(Changed),
    /// To [`Request::Drain`]: it has begun. The connection is closed at its end.
    Draining {},
    /// Something else stands in the way.
    Error {
        /// What.
        message: String,
    },
}

/// What reading the configuration again led to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// How many changes were made.
    pub changes: usize,
    /// What did not work, in words.
    pub errors: Vec<String>,
    /// What counts only after a restart, in words.
    pub needs_restart: Vec<String>,
    /// What may surprise, in words.
    pub notes: Vec<String>,
}

/// A namespace that was added or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The subsystem.
    pub nqn: String,
    /// The namespace.
    pub nsid: u32,
    /// Whether that outlives the process: it does if there is a `state_dir`.
    pub is_kept: bool,
}

/// Why a line is no request, or no reply.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// It is no JSON object.
    #[error("a line that is no JSON object: {0}")]
    Json(String),
    /// Of a version that is not spoken here.
    #[error("version {0}: version {PROTOCOL_VERSION} is spoken here")]
    Version(String),
    /// It says nothing that is known.
    #[error("{0}")]
    Content(String),
}

impl Reply {
    /// That something went wrong.
    #[must_use]
    pub fn error(message: impl ToString) -> Self {
        Self::Error { message: message.to_string() }
    }
}

/// Reads a request's line.
pub fn decode_request(line: &[u8]) -> Result<Request, ProtocolError> {
    decode(line)
}

/// Reads a reply's line.
pub fn decode_reply(line: &[u8]) -> Result<Reply, ProtocolError> {
    decode(line)
}

/// A request as a line.
#[must_use]
pub fn encode_request(request: &Request) -> Vec<u8> {
    encode(request)
}

/// A reply as a line.
#[must_use]
pub fn encode_reply(reply: &Reply) -> Vec<u8> {
    encode(reply)
}

/// The version is read first: another one may have other words.
fn decode<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T, ProtocolError> {
    let value = serde_json::from_slice(line).map_err(|error| ProtocolError::Json(error.to_string()))?;
    let Value::Object(mut object) = value else {
        return Err(ProtocolError::Json("it is something else".to_owned()));
    };
    match object.remove("version") {
        Some(version) if version.as_u64() == Some(PROTOCOL_VERSION) => {}
        Some(version) => return Err(ProtocolError::Version(version.to_string())),
        None => return Err(ProtocolError::Version("is missing".to_owned())),
    }
    serde_json::from_value(Value::Object(object)).map_err(|error| ProtocolError::Content(error.to_string()))
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u64,
    #[serde(flatten)]
    content: &'a T,
}

fn encode<T: Serialize>(content: &T) -> Vec<u8> {
    let line = serde_json::to_vec(&Versioned { version: PROTOCOL_VERSION, content });
    // Maps with keys that are no text, and types that refuse: there are none in these.
    let mut line = line.unwrap_or_else(|error| unreachable!("requests and replies are JSON: {error}"));
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_literal_lines() {
        let add = Request::AddNamespace {
            nqn: Some("nqn.2024-05.a".to_owned()),
            nsid: Some(2),
            device: "mem:1MiB".to_owned(),
            read_only: true,
            uuid: None,
            nguid: None,
        };
        let cases: [(&str, Request); 5] = [
            (r#"{"version":1,"request":"status"}"#, Request::Status {}),
            (r#"{"version":1,"request":"reload"}"#, Request::Reload {}),
            (r#"{"version":1,"request":"drain"}"#, Request::Drain {}),
            (
                r#"{"version":1,"request":"add-namespace","nqn":"nqn.2024-05.a","nsid":2,"device":"mem:1MiB","read_only":true}"#,
                add,
            ),
            (
                r#"{"version":1,"request":"remove-namespace","nsid":7}"#,
                Request::RemoveNamespace { nqn: None, nsid: 7 },
            ),
        ];
        for (line, request) in cases {
            assert_eq!(decode_request(line.as_bytes()), Ok(request.clone()), "{line}");
            assert_eq!(encode_request(&request), format!("{line}\n").into_bytes());
        }
    }

    #[test]
    fn replies_are_literal_lines() {
        let changed = Changed { nqn: "nqn.2024-05.a".to_owned(), nsid: 2, is_kept: false };
        let reloaded = Reloaded { changes: 2, errors: vec!["e".to_owned()], ..Default::default() };
        let cases: [(&str, Reply); 4] = [
            (r#"{"version":1,"reply":"draining"}"#, Reply::Draining {}),
            (r#"{"version":1,"reply":"error","message":"no"}"#, Reply::error("no")),
            (
                r#"{"version":1,"reply":"namespace-added","nqn":"nqn.2024-05.a","nsid":2,"is_kept":false}"#,
                Reply::NamespaceAdded(changed),
            ),
            (
                r#"{"version":1,"reply":"reloaded","changes":2,"errors":["e"],"needs_restart":[],"notes":[]}"#,
                Reply::Reloaded(reloaded),
            ),
        ];
        for (line, reply) in cases {
            assert_eq!(decode_reply(line.as_bytes()), Ok(reply.clone()), "{line}");
            assert_eq!(encode_reply(&reply), format!("{line}\n").into_bytes());
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = |line: &str| decode_request(line.as_bytes()).unwrap_err().to_string();
        assert!(said("status").starts_with("a line that is no JSON object: expected value"));
        assert_eq!(said("[]"), "a line that is no JSON object: it is something else");
        assert_eq!(said(r#"{"request":"status"}"#), "version is missing: version 1 is spoken here");
        assert_eq!(said(r#"{"version":2,"new":1}"#), "version 2: version 1 is spoken here");
        assert!(said(r#"{"version":1}"#).starts_with("missing field `request`"));
        assert!(
            said(r#"{"version":1,"request":"stop"}"#).starts_with("unknown variant `stop`, expected one of")
        );
        assert!(said(r#"{"version":1,"request":"status","x":1}"#).starts_with("unknown field `x`"));
        assert!(said(r#"{"version":1,"request":"remove-namespace"}"#).starts_with("missing field `nsid`"));
        let number = r#"{"version":1,"request":"remove-namespace","nsid":4294967296}"#;
        assert!(said(number).starts_with("invalid value: integer `4294967296`"), "{}", said(number));
        let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(said(&nested).contains("recursion limit"), "{}", said(&nested));
    }

    proptest! {
        #[test]
        fn any_line_is_answered(line: Vec<u8>) {
            let _ = decode_request(&line);
            let _ = decode_reply(&line);
        }

        #[test]
        fn any_object_is_answered(
            request in "(status|reload|add-namespace|remove-namespace|drain|x)",
            key in "(nqn|nsid|device|read_only|uuid|x)",
            value in "(1|-1|true|null|\"a\"|\\[\\]|\\{\\}|1e99)",
        ) {
            let line = format!("{{\"version\":1,\"request\":\"{request}\",\"{key}\":{value}}}");
            if let Ok(read) = decode_request(line.as_bytes()) {
                prop_assert_eq!(decode_request(&encode_request(&read)), Ok(read));
            }
        }
    }
}
