//! Files that are not what they say: whatever is wrong is told, nothing panics, and little memory is taken.
#![expect(unsafe_code, reason = "an allocator that counts is unsafe by its nature")]
#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy knows only the tests themselves")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Cursor;
use std::sync::LazyLock;

use proptest::prelude::*;
use remora_gguf::{GgufError, Header, Value, ValueType, read};

thread_local! {
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Counts what each thread holds, and the most it held.
struct Counting;

// SAFETY: every call goes on to the system's allocator with the same arguments; counting touches no memory of theirs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = HELD.try_with(|held| {
            let (now, most) = held.get();
            held.set((now + layout.size(), most.max(now + layout.size())));
        });
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| held.set((held.get().0.saturating_sub(layout.size()), held.get().1)));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A header that was read, and the most bytes that were held meanwhile.
fn measured(file: &[u8]) -> (Result<Header, GgufError>, usize) {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let header = read(Cursor::new(file));
    (header, HELD.with(|held| held.get().1) - before)
}

static DEMO: LazyLock<Vec<u8>> = LazyLock::new(|| {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/models/demo/remora-demo.gguf")).unwrap()
});

static HEADER: LazyLock<usize> = LazyLock::new(|| usize::try_from(read(Cursor::new(&*DEMO)).unwrap().data).unwrap());

/// A file of these keys and tensors, its data cut to `data` bytes.
fn file(keys: &[(&str, u32, &[u8])], tensors: &[(&str, &[u64], u32, u64)], data: usize) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((keys.len() as u64).to_le_bytes());
    let text = |file: &mut Vec<u8>, text: &str| {
        file.extend((text.len() as u64).to_le_bytes());
        file.extend(text.as_bytes());
    };
    for (key, kind, value) in keys {
        text(&mut file, key);
        file.extend(kind.to_le_bytes());
        file.extend(*value);
    }
    for (name, dimensions, kind, offset) in tensors {
        text(&mut file, name);
        file.extend(u32::try_from(dimensions.len()).unwrap().to_le_bytes());
        dimensions.iter().for_each(|size| file.extend(size.to_le_bytes()));
        file.extend(kind.to_le_bytes());
        file.extend(offset.to_le_bytes());
    }
    file.resize(file.len().next_multiple_of(32) + data, 0);
    file
}

fn refusal(file: &[u8]) -> String {
    let (header, held) = measured(file);
    assert!(held < 1 << 20, "{held} bytes");
    header.unwrap_err().to_string()
}

#[test]
fn the_demo_model_is_read_whole() {
    let (header, held) = measured(&DEMO);
    let header = header.unwrap();
    assert!(held < 1 << 20, "{held} bytes");
    assert_eq!((header.version, header.architecture()), (3, "llama"));
    assert_eq!(header.data + header.tensor_bytes(), header.file_bytes);
    let tokens = header.get("tokenizer.ggml.tokens").and_then(Value::as_array).unwrap();
    assert_eq!(tokens.items, ValueType::Text);
    let mut seen = 0;
    header
        .texts("tokenizer.ggml.tokens", Cursor::new(&*DEMO), |index, text| {
            assert_eq!(index, seen);
            assert!(!text.is_empty());
            seen += 1;
        })
        .unwrap();
    assert_eq!(seen, tokens.count);
}

#[test]
fn what_is_wrong_is_said_with_its_name() {
    let matrix = ("blk.0.attn_q.weight", &[64, 4][..], 0, 0);
    let whole = file(&[], &[matrix], 1024);
    assert!(read(Cursor::new(&whole)).is_ok());
    let cut = &whole[..whole.len() - 1];
    assert_eq!(
        refusal(cut),
        format!(
            "the file is cut short: tensor blk.0.attn_q.weight ends at byte {}, the file has {}; download it again",
            whole.len(),
            cut.len()
        )
    );
    assert_eq!(
        refusal(&DEMO[..*HEADER / 4]),
        format!(
            "the file is cut short: it ends after {} bytes, within tokenizer.ggml.tokens; download it again",
            *HEADER / 4
        )
    );
    assert_eq!(refusal(b"hello"), "it does not begin with 'GGUF'");
    assert_eq!(refusal(b"GGUF\x04\0\0\0"), "GGUF version 4 is not known here, only 2 and 3");
    assert_eq!(refusal(b"GGUF\0\0\0\x03"), "it was written for a big-endian machine");
    let long = u64::MAX.to_le_bytes();
    let array = [&8u32.to_le_bytes()[..], &long].concat();
    let key = |kind, value: &[u8]| refusal(&file(&[("a.key", kind, value)], &[], 64));
    assert!(key(9, &array).ends_with("within a.key; download it again"));
    assert!(key(8, &long).ends_with("within a.key; download it again"));
    assert_eq!(key(13, &[]), "key a.key: a value of type 13, which there is not");
    assert_eq!(
        refusal(&file(&[("general.alignment", 4, &[3, 0, 0, 0])], &[], 0)),
        "key general.alignment: 3 is no alignment"
    );
    assert_eq!(refusal(&file(&[("k", 0, &[1]), ("k", 0, &[1])], &[], 0)), "key k: it is there twice");
    let tensor = |dimensions: &[u64], kind, offset| refusal(&file(&[], &[("t", dimensions, kind, offset)], 64));
    assert_eq!(tensor(&[1, 0], 0, 0), "tensor t: [1, 0] has no numbers");
    assert_eq!(tensor(&[31], 8, 0), "tensor t: 31 columns do not divide into blocks of 32, as Q8_0 has them");
    assert_eq!(tensor(&[4], 4, 0), "tensor t: type 4 is not known here; the file is newer than this program");
    assert_eq!(tensor(&[4], 0, 32), "tensor t: it begins at 32, where 0 is its place");
    assert_eq!(tensor(&[1 << 40, 1 << 40], 0, 0), "tensor t: [1099511627776, 1099511627776] is larger than any file");
    assert_eq!(tensor(&[1; 5], 0, 0), "tensor t: 5 dimensions, where there are at most four");
    assert_eq!(
        refusal(b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f\0\0\0\0\0\0\0\0"),
        "it claims 9223372036854775807 tensors, more than any model has"
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..4096), real: bool) {
        if real && bytes.len() > 24 {
            bytes[..8].copy_from_slice(b"GGUF\x03\0\0\0");
            // Few enough to be believed.
            for place in [10, 18] {
                bytes[place..place + 6].fill(0);
            }
        }
        let (_, held) = measured(&bytes);
        prop_assert!(held < 4 << 20, "{held} bytes");
    }

    #[test]
    fn a_header_with_some_bytes_changed_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = DEMO.clone();
        for (place, value) in changes {
            bytes[place.index(*HEADER)] = value;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(DEMO.len())));
        let (header, held) = measured(&bytes);
        prop_assert!(held < 4 << 20, "{held} bytes");
        if let Ok(header) = header {
            let last = header.tensors.last().map_or(0, |last| header.data + last.offset + last.size_bytes);
            prop_assert!(last <= bytes.len() as u64);
            let _ = header.texts("tokenizer.ggml.tokens", Cursor::new(&bytes), |_, _| {});
        }
    }
}
