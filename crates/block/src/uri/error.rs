//! What was wrong with a device URI, where, and what would be right.

use thiserror::Error;

use super::Scheme;
use super::size::SizeError;

/// Why a text is no device URI.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UriError {
    /// Longer than any URI of ours.
    #[error("a device URI of {bytes} bytes: at most {} are read", super::URI_BYTES_MAX)]
    TooLong {
        /// Bytes of the text.
        bytes: usize,
    },
    /// No `scheme:` at the beginning.
    #[error("`{text}` names no kind of device: write one of {}, for example `file:{text}`", Scheme::list())]
    NoScheme {
        /// The text.
        text: String,
    },
    /// A scheme that nobody knows.
    #[error("`{scheme}:` is no kind of device: write one of {}", Scheme::list())]
    UnknownScheme {
        /// What stands before the colon.
        scheme: String,
    },
    /// A part that does not read as what it must be.
    #[error("`{found}` is no {what}: write {shape}")]
    Part {
        /// What the part should be ("PCI address").
        what: &'static str,
        /// The part as it stands.
        found: String,
        /// What would be right.
        shape: &'static str,
    },
    /// A size that does not read as one.
    #[error("{of}: {source}")]
    Size {
        /// Whose size: the scheme.
        of: String,
        /// What is wrong with it.
        source: SizeError,
    },
    /// A `%` that two hexadecimal digits do not follow, or bytes that are no UTF-8 where text is needed.
    #[error(
        "`{text}`: after `%` stand two hexadecimal digits (`%25` for the sign itself), and text is UTF-8"
    )]
    Escape {
        /// The part with the escape.
        text: String,
    },
    /// What stands after `?` is wrong.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}

/// What is wrong with the parameters of a URI.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParameterError {
    /// A parameter without `=` or without a name.
    #[error("`{text}` is no parameter: write `name=value`, several with `&` between")]
    Shape {
        /// The text between the `&`s.
        text: String,
    },
    /// The same parameter twice.
    #[error("parameter `{name}` is given twice")]
    Twice {
        /// Its name.
        name: String,
    },
    /// More than any device has.
    #[error("more than {} parameters", super::PARAMETERS_MAX)]
    TooMany,
    /// A parameter that the device does not have.
    #[error("unknown parameter `{name}` (known: {known})")]
    Unknown {
        /// Its name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A value that does not read as what it must be.
    #[error("parameter `{name}`: `{value}` is no {wanted}")]
    Value {
        /// The parameter's name.
        name: String,
        /// Its value.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// A size that does not read as one.
    #[error("parameter `{name}`: {source}")]
    Size {
        /// The parameter's name.
        name: String,
        /// What is wrong with it.
        source: SizeError,
    },
    /// A parameter that must be there is not.
    #[error("parameter `{name}` is missing: add `?{name}={example}`")]
    Missing {
        /// Its name.
        name: &'static str,
        /// A value that it could have.
        example: &'static str,
    },
}
