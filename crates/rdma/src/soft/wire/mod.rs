//! Packets as bytes and as meaning.
