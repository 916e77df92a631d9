//! What is wrong with a configuration, and on which line.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use thiserror::Error;

/// Most problems that are told at once.
pub const PROBLEMS_MAX: usize = 50;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: a line of the file, or an option of the command line.
    pub place: Place,
    /// What.
    pub message: String,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, counted from 1.
    Line(usize),
    /// An option of the command line.
    Argument(&'static str),
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than any of ours.
    #[error("{}: more than {} bytes", path.display(), super::FILE_BYTES_MAX)]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// It says what cannot be.
    #[error("{}", Listing(name, problems))]
    Problems {
        /// The file's name, empty for a command line.
        name: String,
        /// What is wrong, at least one thing.
        problems: Vec<Problem>,
    },
}

/// Problems, each on a line of its own, as compilers tell them.
struct Listing<'a>(&'a str, &'a [Problem]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, problems) = self;
        for (at, Problem { place, message }) in problems.iter().take(PROBLEMS_MAX).enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            match place {
                Place::Line(line) => write!(f, "{separator}{name}:{line}: {message}")?,
                Place::Argument(argument) => write!(f, "{separator}{argument}: {message}")?,
            }
        }
        match problems.len().checked_sub(PROBLEMS_MAX) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\n{name}: and {more} more"),
        }
    }
}

/// Collects problems of a text, so that all of them are told at once.
pub(super) struct Problems<'a> {
    text: &'a str,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, found: Vec::new() }
    }

    /// Notes what is wrong with the bytes `span` of the text.
    pub(super) fn note(&mut self, span: &Range<usize>, message: impl fmt::Display) {
        let place = Place::Line(line_of(self.text, span.start));
        self.found.push(Problem { place, message: message.to_string() });
    }

    /// The value, if there is one; notes why there is none otherwise.
    pub(super) fn take<T>(&mut self, span: &Range<usize>, value: Result<T, impl fmt::Display>) -> Option<T> {
        value.map_err(|error| self.note(span, error)).ok()
    }

    /// All of them, in the order of lines.
    pub(super) fn into_found(self) -> Vec<Problem> {
        let mut found = self.found;
        found.sort_by_key(|problem| match problem.place {
            Place::Line(line) => line,
            Place::Argument(_) => 0,
        });
        found
    }
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let text = "a\nb\n\nc";
        assert_eq!([0, 1, 2, 4, 5, 99].map(|at| line_of(text, at)), [1, 1, 2, 3, 4, 4]);
    }

    #[test]
    fn problems_are_told_as_compilers_do() {
        let mut problems = Problems::of("one\ntwo\nthree");
        problems.note(&(9..10), "odd");
        problems.note(&(4..5), "even");
        let error = ConfigError::Problems { name: "t.toml".to_owned(), problems: problems.into_found() };
        assert_eq!(error.to_string(), "t.toml:2: even\nt.toml:3: odd");
        let one = Problem { place: Place::Argument("--nqn"), message: "bad".to_owned() };
        let many = ConfigError::Problems { name: String::new(), problems: vec![one; PROBLEMS_MAX + 2] };
        assert!(many.to_string().starts_with("--nqn: bad\n"));
        assert!(many.to_string().ends_with("and 2 more"));
    }
}
