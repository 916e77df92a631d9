//! A device has one writable owner: bytes that two namespaces would export are found before anything is opened.

use block::DeviceUri;
use block::uri::Target;

use super::Namespace;

/// Bytes of a device: up to its end if there is no length.
struct Part<'a> {
    target: &'a Target,
    start: u64,
    end: Option<u64>,
}

impl<'a> Part<'a> {
    fn of(device: &'a DeviceUri) -> Self {
        let mut reader = device.parameters().reader();
        // What does not read as a size is refused elsewhere; here it stands for the whole device.
        let start = reader.take_size("offset").ok().flatten().unwrap_or(0);
        let length = reader.take_size("length").ok().flatten();
        Self { target: device.target(), start, end: length.and_then(|length| start.checked_add(length)) }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let begins_before_end = |part: &Self, of: &Self| of.end.is_none_or(|end| part.start < end);
        self.target == other.target && begins_before_end(self, other) && begins_before_end(other, self)
    }
}

/// The first of `others` whose bytes `namespace` has too, if one of both may write them.
pub(crate) fn first_overlap<'a, K>(
    namespace: &Namespace,
    others: impl IntoIterator<Item = (K, &'a Namespace)>,
) -> Option<K> {
    if !namespace.device.target().is_unique() {
        return None;
    }
    let part = Part::of(&namespace.device);
    let conflicts = |other: &Namespace| {
        !(namespace.read_only && other.read_only) && part.overlaps(&Part::of(&other.device))
    };
    others.into_iter().find(|(_, other)| conflicts(other)).map(|(key, _)| key)
}

/// The first of `others` that is a part of the same device, for reading while `namespace` is for writing, or the other way round:
/// whoever opens a device opens it once for all of its parts.
pub(super) fn first_of_other_access<'a, K>(
    namespace: &Namespace,
    others: impl IntoIterator<Item = (K, &'a Namespace)>,
) -> Option<K> {
    let target = namespace.device.target();
    let differs = |other: &Namespace| {
        target.is_unique() && other.device.target() == target && other.read_only != namespace.read_only
    };
    others.into_iter().find(|(_, other)| differs(other)).map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(device: &str, read_only: bool) -> Namespace {
        Namespace { device: device.parse().unwrap(), read_only, uuid: None, nguid: None }
    }

    fn overlap(one: &str, other: &str) -> bool {
        let (one, other) = (namespace(one, false), namespace(other, false));
        let found = first_overlap(&one, [((), &other)]).is_some();
        assert_eq!(found, first_overlap(&other, [((), &one)]).is_some(), "either way round");
        found
    }

    #[test]
    fn parts_of_one_device_may_touch_and_not_overlap() {
        assert!(overlap("file:/d", "file:/d"));
        assert!(overlap("file:/d?offset=1m", "file:/d?size=2m"));
        assert!(overlap("file:/d?length=4097", "file:/d?offset=4096"));
        assert!(!overlap("file:/d?length=4096", "file:/d?offset=4096"));
        assert!(!overlap("file:/d?offset=4k&length=4k", "file:/d?length=4k"));
        assert!(!overlap("file:/d", "file:/e"));
        assert!(overlap("file:/d?offset=1&length=18446744073709551615", "file:/d?offset=1t"));
    }

    #[test]
    fn memory_is_new_each_time_and_readers_share() {
        assert!(!overlap("mem:1m", "mem:1m"));
        let (reader, writer) = (namespace("file:/d", true), namespace("file:/d", false));
        assert!(first_overlap(&reader, [((), &reader)]).is_none());
        assert!(first_overlap(&reader, [((), &writer)]).is_some());
    }
}
