//! Names: NVMe qualified names, and the identifiers of hosts.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use uuid::Uuid;

/// Longest NVMe qualified name in bytes, without the zero byte behind it (Base, NVMe Qualified Names).
pub const NQN_BYTES_MAX: usize = 223;

/// The field that holds a name in Connect data: the name, then zero bytes.
pub(super) const NQN_FIELD_BYTES: usize = 256;

/// Name of the discovery subsystem that every target has (Base, Well-Known Discovery Service NQN).
const DISCOVERY: &str = "nqn.2014-08.org.nvmexpress.discovery";

/// Why a text is no NVMe qualified name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NqnError {
    /// It is empty.
    #[error("an empty NVMe qualified name")]
    Empty,
    /// It is longer than [`NQN_BYTES_MAX`], or a field has no zero byte behind it.
    #[error("an NVMe qualified name of more than {NQN_BYTES_MAX} bytes")]
    TooLong,
    /// It does not begin with `nqn.` and a date, as `nqn.2024-05.com.example:drive`.
    #[error(
        "an NVMe qualified name begins with \"nqn.\", a year, a month and a dot: nqn.2024-05.com.example:drive"
    )]
    Form,
    /// It is not UTF-8, or has control characters.
    #[error("an NVMe qualified name of characters that cannot be printed")]
    Characters,
}

/// An NVMe qualified name that is one. Compared byte by byte, as the specification says.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nqn(String);

impl Nqn {
    /// The name of the discovery subsystem that every target has.
    #[must_use]
    pub fn discovery() -> Self {
        Self(DISCOVERY.to_owned())
    }

    /// Whether it is the name that every discovery subsystem answers to.
    #[must_use]
    pub fn is_discovery(&self) -> bool {
        self.0 == DISCOVERY
    }

    /// The name of something that has a UUID (Base, NVMe Qualified Names).
    #[must_use]
    pub fn of_uuid(uuid: Uuid) -> Self {
        Self(format!("nqn.2014-08.org.nvmexpress:uuid:{uuid}"))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a field of Connect data.
    pub(super) fn from_field(field: &[u8]) -> Result<Self, NqnError> {
        let length = field.iter().position(|byte| *byte == 0).ok_or(NqnError::TooLong)?;
        str::from_utf8(&field[..length]).map_err(|_| NqnError::Characters)?.parse()
    }

    /// Writes a field of Connect data.
    pub(super) fn write(&self, field: &mut [u8]) {
        field[..self.0.len()].copy_from_slice(self.0.as_bytes());
        field[self.0.len()..].fill(0);
    }
}

impl FromStr for Nqn {
    type Err = NqnError;

    fn from_str(text: &str) -> Result<Self, NqnError> {
        if text.is_empty() {
            return Err(NqnError::Empty);
        }
        if text.len() > NQN_BYTES_MAX {
            return Err(NqnError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NqnError::Characters);
        }
        if has_form(text) { Ok(Self(text.to_owned())) } else { Err(NqnError::Form) }
    }
}

/// `nqn.yyyy-mm.` and something behind it.
fn has_form(text: &str) -> bool {
    let Some((date, rest)) = text.strip_prefix("nqn.").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let is_number =
        |digits: &str, length| digits.len() == length && digits.bytes().all(|b| b.is_ascii_digit());
    let Some((year, month)) = date.split_once('-') else { return false };
    is_number(year, 4) && is_number(month, 2) && !rest.is_empty()
}

impl fmt::Display for Nqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Nqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nqn").field(&self.0).finish()
    }
}

/// A host's identifier (HOSTID): the same for all associations of one host (Base, Host Identifier).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub [u8; 16]);

impl From<Uuid> for HostId {
    /// As Linux does: the UUID's bytes in the order in which it is written.
    fn from(uuid: Uuid) -> Self {
        Self(uuid.into_bytes())
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Uuid::from_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_form_and_a_length() {
        let longest = format!("nqn.2024-05.{}", "x".repeat(NQN_BYTES_MAX - 12));
        for good in ["nqn.2014-08.org.nvmexpress.discovery", "nqn.2024-05.com.example:drive/1", &longest] {
            assert_eq!(good.parse::<Nqn>().unwrap().as_str(), good);
        }
        let cases = [
            ("", NqnError::Empty),
            ("iqn.2024-05.com.example", NqnError::Form),
            ("nqn.2024-5.com.example", NqnError::Form),
            ("nqn.2024-05.", NqnError::Form),
            ("nqn.2024-05", NqnError::Form),
            ("nqn.2024-05.com.exam\nple", NqnError::Characters),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Nqn>(), Err(error), "{text:?}");
        }
        assert_eq!(format!("{longest}x").parse::<Nqn>(), Err(NqnError::TooLong));
        assert!(Nqn::discovery().as_str().parse::<Nqn>().unwrap().is_discovery());
    }

    #[test]
    fn fields_end_with_a_zero_byte() {
        let mut field = [0xee; NQN_FIELD_BYTES];
        let name: Nqn = "nqn.2024-05.com.example:a".parse().unwrap();
        name.write(&mut field);
        assert_eq!(&field[..26], b"nqn.2024-05.com.example:a\0");
        assert!(field[25..].iter().all(|byte| *byte == 0));
        assert_eq!(Nqn::from_field(&field), Ok(name));
        assert_eq!(Nqn::from_field(&[b'n'; NQN_FIELD_BYTES]), Err(NqnError::TooLong));
        assert_eq!(Nqn::from_field(&[0; NQN_FIELD_BYTES]), Err(NqnError::Empty));
        assert_eq!(Nqn::from_field(b"nqn.2024-05.\xff\0"), Err(NqnError::Characters));
    }

    #[test]
    fn a_uuid_gives_names() {
        let uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let name = Nqn::of_uuid(uuid);
        assert_eq!(name.as_str(), "nqn.2014-08.org.nvmexpress:uuid:00112233-4455-6677-8899-aabbccddeeff");
        let id = HostId::from(uuid);
        assert_eq!(id.0[..3], [0x00, 0x11, 0x22]);
        assert_eq!(id.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
    }
}
