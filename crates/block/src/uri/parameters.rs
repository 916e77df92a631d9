//! What stands after the `?` of a URI.

use std::fmt;

use super::error::{ParameterError, UriError};
use super::escape;
use super::size::parse_size;

/// Most parameters of a URI.
pub const PARAMETERS_MAX: usize = 32;

/// Parameters that every device has: [`crate::Openers`] takes them out before the device's own opener looks.
pub const COMMON_PARAMETERS: [&str; 2] = ["offset", "length"];

/// Parameters in the order in which they were written, no name twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    entries: Vec<(String, String)>,
}

impl Parameters {
    /// Reads `name=value&name=value`.
    pub(super) fn parse(text: &str) -> Result<Self, UriError> {
        let mut parameters = Self::default();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let shape = || ParameterError::Shape { text: part.to_owned() };
            let (name, value) = part.split_once('=').ok_or_else(shape)?;
            if name.is_empty() {
                return Err(shape().into());
            }
            parameters.insert(&decode(name)?, &decode(value)?)?;
        }
        Ok(parameters)
    }

    /// Adds a parameter at the end.
    pub fn insert(&mut self, name: &str, value: &str) -> Result<(), ParameterError> {
        if self.get(name).is_some() {
            return Err(ParameterError::Twice { name: name.to_owned() });
        }
        if self.entries.len() >= PARAMETERS_MAX {
            return Err(ParameterError::TooMany);
        }
        self.entries.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// A parameter's value as it was written.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A reader for the opener that knows what the parameters mean.
    #[must_use]
    pub fn reader(&self) -> ParameterReader {
        ParameterReader { left: self.clone(), known: Vec::new() }
    }

    fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.entries.iter().position(|(key, _)| key == name)?;
        Some(self.entries.remove(at).1)
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.entries.iter().enumerate() {
            let separator = if at == 0 { '?' } else { '&' };
            write!(
                f,
                "{separator}{}={}",
                escape::encode(name.as_bytes(), "&="),
                escape::encode(value.as_bytes(), "&")
            )?;
        }
        Ok(())
    }
}

fn decode(text: &str) -> Result<String, UriError> {
    let bad = || UriError::Escape { text: text.to_owned() };
    String::from_utf8(escape::decode(text).map_err(|_| bad())?).map_err(|_| bad())
}

/// Takes parameters out one by one; what is left at the end is unknown.
#[derive(Debug)]
pub struct ParameterReader {
    left: Parameters,
    known: Vec<&'static str>,
}

impl ParameterReader {
    /// A text.
    pub fn take_str(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.left.remove(name)
    }

    /// A decimal number.
    pub fn take_u64(&mut self, name: &'static str) -> Result<Option<u64>, ParameterError> {
        self.take(name, "decimal number", |value| {
            let digits = value.bytes().all(|b| b.is_ascii_digit());
            value.parse().ok().filter(|_| digits)
        })
    }

    /// `1`, `0`, `true` or `false`.
    pub fn take_bool(&mut self, name: &'static str) -> Result<Option<bool>, ParameterError> {
        self.take(name, "0 or 1", |value| match value {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        })
    }

    /// Bytes, with the units of [`parse_size`].
    pub fn take_size(&mut self, name: &'static str) -> Result<Option<u64>, ParameterError> {
        let Some(value) = self.take_str(name) else { return Ok(None) };
        parse_size(&value).map(Some).map_err(|source| ParameterError::Size { name: name.to_owned(), source })
    }

    /// Anything else: `read` says `None` if the value is not `wanted`.
    pub fn take<T>(
        &mut self,
        name: &'static str,
        wanted: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ParameterError> {
        let Some(value) = self.take_str(name) else { return Ok(None) };
        match read(&value) {
            Some(meaning) => Ok(Some(meaning)),
            None => Err(ParameterError::Value { name: name.to_owned(), value, wanted }),
        }
    }

    /// Refuses a parameter that nobody took.
    pub fn finish(self) -> Result<(), ParameterError> {
        let Some((name, _)) = self.left.entries.into_iter().next() else { return Ok(()) };
        let mut known = self.known;
        known.extend(COMMON_PARAMETERS);
        known.dedup();
        Err(ParameterError::Unknown { name, known: known.join(", ") })
    }

    /// The parameters that nobody took.
    #[must_use]
    pub fn into_rest(self) -> Parameters {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(text: &str) -> ParameterReader {
        Parameters::parse(text).unwrap().reader()
    }

    #[test]
    fn parameters_are_taken_by_kind() {
        let mut reader = reader("size=4k&ns=7&dram=1&name=a%26b%3Dc");
        assert_eq!(reader.take_size("size"), Ok(Some(4096)));
        assert_eq!(reader.take_u64("ns"), Ok(Some(7)));
        assert_eq!(reader.take_bool("dram"), Ok(Some(true)));
        assert_eq!(reader.take_str("name").as_deref(), Some("a&b=c"));
        assert_eq!(reader.take_u64("absent"), Ok(None));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn what_nobody_took_is_named_beside_what_there_is() {
        let mut reader = reader("sise=4k");
        assert_eq!(reader.take_size("size"), Ok(None));
        assert_eq!(
            reader.finish().unwrap_err().to_string(),
            "unknown parameter `sise` (known: size, offset, length)"
        );
    }

    #[test]
    fn values_of_the_wrong_kind_are_refused() {
        let mut reader = reader("a=+1&b=yes&c=1kB");
        assert_eq!(reader.take_u64("a").unwrap_err().to_string(), "parameter `a`: `+1` is no decimal number");
        assert_eq!(reader.take_bool("b").unwrap_err().to_string(), "parameter `b`: `yes` is no 0 or 1");
        assert!(matches!(reader.take_size("c"), Err(ParameterError::Size { .. })));
    }

    #[test]
    fn shapes_are_refused() {
        let of = |text| Parameters::parse(text).unwrap_err();
        assert!(matches!(of("size"), UriError::Parameter(ParameterError::Shape { .. })));
        assert!(matches!(of("=1"), UriError::Parameter(ParameterError::Shape { .. })));
        assert!(matches!(of("a=1&a=2"), UriError::Parameter(ParameterError::Twice { .. })));
        assert!(matches!(of("a=%f"), UriError::Escape { .. }));
        let many: Vec<_> = (0..=PARAMETERS_MAX).map(|at| format!("p{at}=1")).collect();
        assert_eq!(of(&many.join("&")), UriError::Parameter(ParameterError::TooMany));
    }
}
