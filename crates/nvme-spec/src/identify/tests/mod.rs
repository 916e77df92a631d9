mod controller;
mod namespace;

use super::IDENTIFY_BYTES;

/// A structure of zeroes with these bytes at these offsets, as a figure of the specification gives them.
fn image(fields: &[(usize, &[u8])]) -> [u8; IDENTIFY_BYTES] {
    let mut bytes = [0; IDENTIFY_BYTES];
    for (at, field) in fields {
        bytes[*at..at + field.len()].copy_from_slice(field);
    }
    bytes
}
