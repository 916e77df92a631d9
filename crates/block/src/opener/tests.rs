use super::*;
use crate::device::Abilities;

fn open(text: &str) -> Result<Arc<dyn BlockDevice>, OpenError> {
    Openers::with_builtin().open_text(text, &OpenOptions::READ_WRITE)
}

fn error(text: &str) -> String {
    open(text).map(|device| device.name().to_owned()).unwrap_err().to_string()
}

#[test]
fn memory_and_null_devices_are_opened_by_name() {
    let mem = open("mem:1TiB?bs=4096").unwrap();
    assert_eq!((mem.geometry().blocks, mem.geometry().block_size.bytes()), (1 << 28, 4096));
    assert_eq!(mem.name(), "mem:1TiB?bs=4096");
    let null = open("null:1g").unwrap();
    assert_eq!((null.geometry().blocks, null.geometry().block_size.bytes()), (1 << 21, 512));
    assert_eq!(open("null:?bs=4k").unwrap().geometry().blocks, u64::MAX);
}

#[test]
fn a_device_for_reading_takes_no_writes() {
    for text in ["mem:1MiB", "null:1MiB"] {
        let device = Openers::with_builtin().open_text(text, &OpenOptions::READ).unwrap();
        let changing = Abilities::WRITE | Abilities::WRITE_ZEROES | Abilities::DISCARD;
        assert!(!device.abilities().intersects(changing), "{text}");
    }
}

#[test]
fn refusals_say_what_would_be_right() {
    assert_eq!(error("mem:1MiB?sb=512"), "unknown parameter `sb` (known: bs, offset, length)");
    assert_eq!(
        error("mem:1MiB?bs=513"),
        "parameter `bs`: `513` is no block size (a power of two from 512 to 64k)"
    );
    assert_eq!(error("null:513"), "null:513: whole blocks of 512 bytes, at least one");
    assert_eq!(
        error("mem:0"),
        "mem:0: a memory device of 0 bytes: whole blocks of 512 bytes, at least one, up to 70368744177664 bytes"
    );
    assert!(error("mem:65TiB").contains("up to 70368744177664 bytes"));
    assert!(error("mirror:a").starts_with("this program opens no `mirror:` devices (it opens "));
    assert!(error("what").contains("names no kind of device"));
}

#[test]
fn programs_add_what_they_can_open() {
    let mut openers = Openers::with_builtin();
    let as_mem = |uri: &DeviceUri, options: &OpenOptions| {
        uri.parameters().reader().finish()?;
        Openers::with_builtin().open_text("mem:1MiB", options)
    };
    openers.register(Scheme::Mirror, Box::new(as_mem));
    assert_eq!(openers.open_text("mirror:a", &OpenOptions::READ).unwrap().name(), "mem:1MiB");
}

#[test]
fn parts_of_one_file_are_open_together_and_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let openers = Openers::with_builtin();
    let uri = |part: &str| format!("file:{}?size=1MiB&direct=0{part}", folder.path().join("disk").display());
    let open = |part: &str| openers.open_text(&uri(part), &OpenOptions::READ_WRITE);
    let first = open("&offset=0&length=512k").unwrap();
    let second = open("&offset=512k").unwrap();
    assert_eq!((first.geometry().blocks, second.geometry().blocks), (1024, 1024));
    assert_eq!(second.name(), uri("&offset=512k"));
    assert!(matches!(open("&offset=256k&length=512k"), Err(OpenError::Claim { .. })));
    assert!(matches!(open(""), Err(OpenError::InUse { .. })));
    drop((first, second));
    assert_eq!(open("").unwrap().geometry().blocks, 2048);
}

#[test]
fn parts_of_memory_belong_to_their_opener() {
    let first = open("mem:1MiB?length=512k").unwrap();
    let second = open("mem:1MiB?length=512k").unwrap();
    assert_eq!((first.geometry().blocks, second.geometry().blocks), (1024, 1024));
    assert_eq!(
        error("mem:1MiB?offset=100"),
        "mem:1MiB?offset=100: offset and length must be multiples of 512 bytes"
    );
    assert_eq!(
        error("mem:1MiB?offset=1MiB"),
        "mem:1MiB?offset=1MiB: blocks 2048+0 are no part of a device of 2048 blocks"
    );
}
