use super::*;
use crate::media::label::LabelError;

const SHAPE: ImageShape = ImageShape { block_bytes: Some(4096), bytes: Some(1 << 20) };
const ANY: ImageShape = ImageShape { block_bytes: None, bytes: None };

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn data_and_identity_survive() {
    let directory = directory();
    let path = directory.path().join("image");
    let mut media = FileMedia::open(&path, SHAPE).unwrap();
    let identity = media.label().clone();
    media.write(3, &[7; 8192], Durability::Cached).unwrap();
    media.write(9, &[8; 4096], Durability::Durable).unwrap();
    media.sync().unwrap();
    drop(media);
    let mut again = FileMedia::open(&path, ANY).unwrap();
    assert_eq!((again.label(), again.blocks(), again.block_bytes()), (&identity, 256, 4096));
    let mut back = vec![0; 7 * 4096];
    again.read(3, &mut back).unwrap();
    assert_eq!((back[0], back[8191], back[8192], back[6 * 4096]), (7, 7, 0, 8));
    assert!(again.allocated_blocks() < 256);
}

#[test]
fn identities_differ_and_the_uuid_is_random() {
    let directory = directory();
    let label = |name| FileMedia::open(&directory.path().join(name), SHAPE).unwrap().label().clone();
    let (a, b) = (label("a"), label("b"));
    assert!(a.uuid != b.uuid && a.nguid != b.nguid && a.serial != b.serial);
    assert_eq!(a.uuid.get_version_num(), 4);
}

#[test]
fn an_open_image_cannot_be_opened_again() {
    let directory = directory();
    let path = directory.path().join("image");
    let first = FileMedia::open(&path, SHAPE).unwrap();
    assert!(matches!(FileMedia::open(&path, ANY), Err(ImageError::InUse { .. })));
    drop(first);
    FileMedia::open(&path, ANY).unwrap();
}

#[test]
fn deallocated_blocks_are_holes_that_read_as_zeroes() {
    let directory = directory();
    let path = directory.path().join("image");
    let mut media = FileMedia::open(&path, SHAPE).unwrap();
    media.write(0, &vec![1; 1 << 20], Durability::Cached).unwrap();
    media.sync().unwrap();
    let full = media.file.metadata().unwrap().blocks();
    media.deallocate(8, 240, Durability::Durable).unwrap();
    assert!(media.file.metadata().unwrap().blocks() < full);
    let mut back = vec![9; 1 << 20];
    media.read(0, &mut back).unwrap();
    let zero = |block: usize| back[block * 4096..][..4096].iter().all(|byte| *byte == 0);
    assert!(!zero(7) && zero(8) && zero(247) && !zero(248));
}

#[test]
fn notes_stay() {
    let directory = directory();
    let path = directory.path().join("image");
    for turn in 0..4u8 {
        let mut media = FileMedia::open(&path, SHAPE).unwrap();
        assert_eq!(media.load_note(), vec![turn; usize::from(turn)]);
        media.store_note(&vec![turn + 1; usize::from(turn) + 1]).unwrap();
    }
    let mut media = FileMedia::open(&path, SHAPE).unwrap();
    assert!(matches!(media.store_note(&[0; 9000]), Err(MediaError::Note { bytes: 9000, .. })));
    assert_eq!(media.load_note(), [4; 4]);
}

#[test]
fn sizes_change_and_stay() {
    let directory = directory();
    let path = directory.path().join("image");
    let mut media = FileMedia::open(&path, SHAPE).unwrap();
    for (blocks, sequence) in [(512, 2), (100, 3)] {
        media.resize(blocks).unwrap();
        assert_eq!((media.blocks(), media.label().sequence), (blocks, sequence));
    }
    assert!(matches!(media.resize(u64::MAX), Err(MediaError::Size { .. })));
    drop(media);
    assert_eq!(FileMedia::open(&path, ANY).unwrap().blocks(), 100);
    assert!(matches!(FileMedia::open(&path, SHAPE), Err(ImageError::Differs { blocks: 100, .. })));
}

#[test]
fn what_is_no_image_is_left_alone() {
    let directory = directory();
    let path = directory.path().join("other");
    for content in [b"somebody's file".to_vec(), vec![0; 3 << 20]] {
        std::fs::write(&path, &content).unwrap();
        let error = FileMedia::open(&path, SHAPE).unwrap_err();
        assert!(matches!(error, ImageError::Label { source: LabelError::None, .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    let missing = directory.path().join("missing");
    assert!(matches!(FileMedia::open(&missing, ANY), Err(ImageError::NoSize { .. })));
    assert!(!missing.exists());
    for (block_bytes, bytes) in [(4096, 100), (512, 0), (1000, 8000), (512, u64::MAX - 511)] {
        let shape = ImageShape { block_bytes: Some(block_bytes), bytes: Some(bytes) };
        assert!(matches!(FileMedia::open(&missing, shape), Err(ImageError::Shape { .. })), "{shape:?}");
    }
}

#[test]
fn a_crash_while_an_image_is_made_does_no_harm() {
    let directory = directory();
    let path = directory.path().join("image");
    File::create(&path).unwrap().set_len((1 << 20) + DATA_OFFSET).unwrap();
    assert_eq!(FileMedia::open(&path, SHAPE).unwrap().label().sequence, 1);
}

#[test]
fn a_file_that_somebody_cut_gives_errors() {
    let directory = directory();
    let path = directory.path().join("image");
    let mut media = FileMedia::open(&path, SHAPE).unwrap();
    media.file.set_len(DATA_OFFSET + 4096).unwrap();
    assert!(matches!(media.read(1, &mut [0; 4096]), Err(MediaError::Read { start: 1, .. })));
    media.read(0, &mut [0; 4096]).unwrap();
}
