//! The check of GGUF headers: whatever the bytes are, it ends, and what it lets through lies within the file.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use remora_gguf::Shape;

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = remora_gguf::read(Cursor::new(bytes)) else { return };
    for tensor in &header.tensors {
        assert!(header.data + tensor.offset + tensor.size_bytes <= bytes.len() as u64);
    }
    for key in header.metadata.keys() {
        let _ = header.texts(key, Cursor::new(bytes), |_, text| assert!(text.len() <= bytes.len()));
    }
    if let Some(shape) = Shape::of(&header) {
        shape.cache_bytes(1 << 20, remora_gguf::TensorType::F16);
        shape.compute_bytes(512, 16, 1 << 20);
    }
});
