//! Text in fields of fixed size (Base, ASCII strings and NVMe Qualified Names).

use std::fmt::{self, Write};

use crate::bytes::{array_at, put};
use crate::structure::Field;

/// The bytes of a text field. A device may put anything there; `Display` shows it safely.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<const N: usize>([u8; N]);

/// A text that does not fit its field: too long, or with a byte that the padding would make ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// More bytes than the field has.
    #[error("the text has {got} bytes, the field holds {room}")]
    TooLong {
        /// The size of the text in bytes.
        got: usize,
        /// What fits, in bytes.
        room: usize,
    },
    /// A character that is not allowed in the field.
    #[error("byte {position} of the text is not printable ASCII")]
    NotPrintable {
        /// Where, in bytes.
        position: usize,
    },
}

impl<const N: usize> Text<N> {
    /// A field of printable ASCII padded with spaces: serial and model number, firmware revision, addresses.
    ///
    /// # Errors
    /// [`TextError`] when the text is longer than the field, or has other characters.
    pub fn space_padded(text: &str) -> Result<Self, TextError> {
        Self::padded(text, b' ', N)
    }

    /// A field of text that ends with a NUL: NVMe Qualified Names. The field has one byte more than the text,
    /// or several.
    ///
    /// # Errors
    /// [`TextError`] when the text and a NUL are longer than the field, or it is not printable ASCII.
    pub fn nul_terminated(text: &str) -> Result<Self, TextError> {
        Self::padded(text, 0, N.saturating_sub(1))
    }

    fn padded(text: &str, padding: u8, room: usize) -> Result<Self, TextError> {
        if text.len() > room {
            return Err(TextError::TooLong { got: text.len(), room });
        }
        if let Some(position) = text.bytes().position(|byte| !is_printable(byte)) {
            return Err(TextError::NotPrintable { position });
        }
        let mut bytes = [padding; N];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }

    /// From the bytes of the field.
    #[must_use]
    pub const fn from_raw(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The bytes of the field, with padding.
    #[must_use]
    pub const fn raw(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes without their padding: up to the first NUL, without spaces at either end.
    #[must_use]
    pub fn trimmed(&self) -> &[u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default().trim_ascii()
    }

    /// The text, if it is printable ASCII as the specification demands.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        let bytes = self.trimmed();
        bytes.iter().all(|&byte| is_printable(byte)).then(|| std::str::from_utf8(bytes).ok()).flatten()
    }
}

const fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7E)
}

impl<const N: usize> Field for Text<N> {
    const SIZE: usize = N;

    fn read(bytes: &[u8], at: usize) -> Self {
        Self(array_at(bytes, at))
    }

    fn write(&self, bytes: &mut [u8], at: usize) {
        put(bytes, at, self.0);
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    /// Without padding; each byte that is not printable ASCII becomes U+FFFD, so that no device can write
    /// control sequences to a terminal or a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trimmed().iter().try_for_each(|&byte| {
            f.write_char(if is_printable(byte) { char::from(byte) } else { '\u{FFFD}' })
        })
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_both_ways() {
        let serial = Text::<8>::space_padded("S123").unwrap();
        assert_eq!(serial.raw(), b"S123    ");
        assert_eq!((serial.as_str(), serial.to_string().as_str()), (Some("S123"), "S123"));
        let nqn = Text::<8>::nul_terminated("nqn.x").unwrap();
        assert_eq!(nqn.raw(), b"nqn.x\0\0\0");
        assert_eq!(Text::from_raw(*b"  a b \0z").as_str(), Some("a b"));
        assert_eq!(Text::<4>::default().to_string(), "");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(Text::<4>::space_padded("abcde"), Err(TextError::TooLong { got: 5, room: 4 }));
        assert!(Text::<4>::space_padded("abcd").is_ok() && Text::<4>::nul_terminated("abcd").is_err());
        assert_eq!(Text::<4>::space_padded("a\n"), Err(TextError::NotPrintable { position: 1 }));
        assert!(Text::<4>::space_padded("\u{e9}").is_err());
    }

    #[test]
    fn a_lying_device_cannot_harm() {
        let text = Text::from_raw([b'A', 0xFF, 0x1B, b'[', b'm', 0x7F]);
        assert_eq!(text.to_string(), "A\u{FFFD}\u{FFFD}[m\u{FFFD}");
        assert_eq!(text.as_str(), None);
        assert_eq!(format!("{text:?}"), "\"A\u{FFFD}\u{FFFD}[m\u{FFFD}\"");
    }
}
