//! What several tests need.

use clap::Parser;

use super::options::BenchOptions;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: BenchOptions,
}

/// The options of a command line, words separated by spaces.
pub fn options(device: &str, arguments: &str) -> BenchOptions {
    let words = ["bench", device].into_iter().chain(arguments.split_whitespace());
    Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).options
}
