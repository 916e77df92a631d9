//! The bytes of an answer, and tables of the fields in them.

use serde_json::Value;
use uuid::Uuid;

use super::json::{Object, wide};

/// What a device answered. What is beyond its end reads as zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a>(pub(super) &'a [u8]);

impl<'a> Page<'a> {
    /// A little-endian number of up to 16 bytes.
    pub(super) fn number(self, at: usize, bytes: usize) -> u128 {
        self.bytes(at, bytes).iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte))
    }

    /// A number that fits 64 bits because it has at most 8 bytes.
    pub(super) fn short(self, at: usize, bytes: usize) -> u64 {
        u64::try_from(self.number(at, bytes)).unwrap_or(u64::MAX)
    }

    pub(super) fn bytes(self, at: usize, bytes: usize) -> &'a [u8] {
        self.0.get(at..at + bytes).unwrap_or_default()
    }

    /// A text, up to a NUL; what a terminal might obey is replaced.
    fn text(self, at: usize, bytes: usize) -> String {
        let shown = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' };
        self.bytes(at, bytes).iter().take_while(|byte| **byte != 0).map(shown).collect()
    }

    /// Bytes in hexadecimal, in their order.
    fn plain(self, at: usize, bytes: usize) -> String {
        self.bytes(at, bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// How a field is shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A number of so many bytes in hexadecimal.
    Hex(usize),
    /// A number of so many bytes.
    Decimal(usize),
    /// Characters, in a field of so many bytes.
    Text(usize),
    /// An identifier of so many bytes, most significant first.
    Identifier(usize),
    /// A UUID.
    Uuid,
    /// An organisation's identifier: three bytes, most significant last.
    Oui,
}

/// A field of a page: how it is labelled in text (its name in JSON is the label without white space), where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field(pub(super) &'static str, pub(super) usize, pub(super) Kind);

impl Field {
    fn text(self, page: Page<'_>) -> String {
        let at = self.1;
        match self.2 {
            Kind::Hex(bytes) => hex(page.number(at, bytes)),
            Kind::Decimal(bytes) => page.number(at, bytes).to_string(),
            Kind::Text(bytes) => page.text(at, bytes),
            Kind::Identifier(bytes) => page.plain(at, bytes),
            Kind::Uuid => Uuid::from_slice(page.bytes(at, 16)).unwrap_or_default().to_string(),
            Kind::Oui => format!("{:06x}", page.number(at, 3)),
        }
    }

    fn json(self, page: Page<'_>) -> Value {
        match self.2 {
            Kind::Hex(bytes) | Kind::Decimal(bytes) if bytes > 8 => wide(page.number(self.1, bytes)),
            Kind::Hex(bytes) | Kind::Decimal(bytes) => page.short(self.1, bytes).into(),
            Kind::Oui => page.short(self.1, 3).into(),
            Kind::Text(_) | Kind::Identifier(_) | Kind::Uuid => self.text(page).into(),
        }
    }

    /// Adds a line `label: value` and a value; labels are as wide as `width`.
    pub(super) fn print(self, page: Page<'_>, width: usize, text: &mut String, json: &mut Object) {
        let label = self.0;
        text.push_str(&format!("{label:width$}: {}\n", self.text(page)));
        json.value(label.trim_end(), self.json(page));
    }
}

/// As C prints `%#x`: zero has no prefix.
pub(super) fn hex(number: u128) -> String {
    if number == 0 { "0".to_owned() } else { format!("{number:#x}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_little_endian_and_zero_beyond_the_end() {
        let page = Page(&[0x34, 0x12, 0xff]);
        assert_eq!((page.number(0, 2), page.short(2, 1), page.number(2, 2)), (0x1234, 0xff, 0));
        assert_eq!(Page(&[0xff; 16]).number(0, 16), u128::MAX);
    }

    #[test]
    fn a_device_cannot_command_the_terminal() {
        assert_eq!(Page(b"a\x1b[2J\xffz\0b").text(0, 9), "a?[2J?z");
    }
}
