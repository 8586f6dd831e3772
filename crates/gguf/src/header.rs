//! The header as a whole.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Seek};

use crate::error::shown;
use crate::source::Source;
use crate::{ALIGNMENT, GgufError, MAGIC, Tensor, Value, ValueType};

/// Most keys; real files have some dozens.
const MAX_KEYS: u64 = 4096;
/// Most tensors; the largest models have a few thousand.
const MAX_TENSORS: u64 = 1 << 16;
/// Longest name of a key.
const MAX_KEY: u64 = 1024;
/// Longest name of a tensor, as ggml has it.
const MAX_NAME: u64 = 63;
/// Most bytes of text that all values may have together.
const MAX_TEXTS: usize = 16 << 20;
/// Largest alignment that makes any sense.
const MAX_ALIGNMENT: u64 = 1 << 20;

/// What stands before the numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Version of the format.
    pub version: u32,
    /// The metadata by key.
    pub metadata: BTreeMap<String, Value>,
    /// Every tensor, in the file's order.
    pub tensors: Vec<Tensor>,
    /// Where the tensors' numbers begin.
    pub data: u64,
    /// Size of the file.
    pub file_bytes: u64,
}

/// Reads and checks the header of a file, from its beginning.
pub fn read<R: Read + Seek>(file: R) -> Result<Header, GgufError> {
    let mut source = Source::new(file, 0)?;
    if source.left() < 4 || &source.bytes::<4>("the first bytes")? != MAGIC {
        return Err(GgufError::NotGguf);
    }
    let version = source.u32("the version")?;
    match version {
        2 | 3 => {}
        _ if version.trailing_zeros() >= 16 => return Err(GgufError::BigEndian),
        _ => return Err(GgufError::Version(version)),
    }
    let tensors = bounded(source.u64("the number of tensors")?, MAX_TENSORS, "tensors")?;
    let keys = bounded(source.u64("the number of keys")?, MAX_KEYS, "keys")?;
    let metadata = read_metadata(keys, &mut source)?;
    let alignment = alignment(&metadata)?;
    let tensors = read_tensors(tensors, &mut source)?;
    let data = source.position.next_multiple_of(alignment);
    let header = Header { version, metadata, tensors, data, file_bytes: source.size };
    header.check_places(alignment)?;
    Ok(header)
}

fn bounded(count: u64, most: u64, what: &'static str) -> Result<u64, GgufError> {
    if count <= most { Ok(count) } else { Err(GgufError::TooMany { what, count }) }
}

fn read_metadata<R: Read + Seek>(count: u64, source: &mut Source<R>) -> Result<BTreeMap<String, Value>, GgufError> {
    let (mut metadata, mut texts) = (BTreeMap::new(), 0);
    for number in 0..count {
        let place = format!("key {number}");
        let length = source.u64(&place)?;
        source.claim(length, &place)?;
        if !(1..=MAX_KEY).contains(&length) {
            return Err(GgufError::key(&number.to_string(), format!("a name of {length} bytes")));
        }
        let key = String::from_utf8_lossy(&source.vec(length, &place)?).into_owned();
        let kind = source.u32(&key)?;
        let kind = ValueType::from_number(kind)
            .ok_or_else(|| GgufError::key(&key, format!("a value of type {kind}, which there is not")))?;
        let value = Value::read(kind, &key, source)?;
        texts += key.len() + value.as_text().map_or(0, str::len);
        if texts > MAX_TEXTS {
            return Err(GgufError::key(&key, "more text than any model has"));
        }
        if metadata.insert(key.clone(), value).is_some() {
            return Err(GgufError::key(&key, "it is there twice"));
        }
    }
    Ok(metadata)
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, GgufError> {
    let key = "general.alignment";
    let alignment = match metadata.get(key) {
        None => ALIGNMENT,
        Some(&Value::U32(alignment)) => alignment.into(),
        Some(other) => return Err(GgufError::key(key, format!("{:?} where U32 belongs", other.kind()))),
    };
    if alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT {
        return Ok(alignment);
    }
    Err(GgufError::key(key, format!("{alignment} is no alignment")))
}

fn read_tensors<R: Read + Seek>(count: u64, source: &mut Source<R>) -> Result<Vec<Tensor>, GgufError> {
    let (mut tensors, mut names) = (Vec::new(), HashSet::new());
    for number in 0..count {
        let place = format!("tensor {number}");
        let length = source.u64(&place)?;
        source.claim(length, &place)?;
        if length > MAX_NAME {
            return Err(GgufError::tensor(
                &number.to_string(),
                format!("a name of {length} bytes, {MAX_NAME} at most"),
            ));
        }
        let name = String::from_utf8_lossy(&source.vec(length, &place)?).into_owned();
        let dimensions = source.u32(&name)?;
        if dimensions > 4 {
            return Err(GgufError::tensor(&name, format!("{dimensions} dimensions, where there are at most four")));
        }
        let dimensions = (0..dimensions).map(|_| source.u64(&name)).collect::<Result<_, _>>()?;
        let (kind, offset) = (source.u32(&name)?, source.u64(&name)?);
        if !names.insert(name.clone()) {
            return Err(GgufError::tensor(&name, "it is there twice"));
        }
        tensors.push(Tensor::new(name, dimensions, kind, offset)?);
    }
    Ok(tensors)
}

impl Header {
    /// A value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    /// A whole number that is not negative.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_u64()
    }

    /// llama.cpp's name of the architecture (`llama`, `qwen3`), under which most other keys stand.
    pub fn architecture(&self) -> &str {
        self.text("general.architecture").unwrap_or_default()
    }

    /// Size of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.size_bytes).fold(0, u64::saturating_add)
    }

    /// Shows every text of an array, byte for byte. They are read anew, since vocabularies are too long to be kept.
    /// Nothing is shown where the value is no array of texts.
    pub fn texts<R: Read + Seek>(&self, key: &str, file: R, mut show: impl FnMut(u64, &[u8])) -> Result<(), GgufError> {
        /// No token is nearly as long.
        const MAX_ITEM: u64 = 1 << 20;
        let Some(array) = self.get(key).and_then(Value::as_array) else { return Ok(()) };
        if array.items != ValueType::Text {
            return Ok(());
        }
        let mut source = Source::new(file, array.place)?;
        for index in 0..array.count {
            let length = source.u64(key)?;
            if length > MAX_ITEM {
                return Err(GgufError::key(key, format!("text {index} has {length} bytes")));
            }
            show(index, &source.vec(length, key)?);
        }
        Ok(())
    }

    /// Checks that tensors follow one another, aligned, as llama.cpp wants them, and end within the file.
    fn check_places(&self, alignment: u64) -> Result<(), GgufError> {
        let mut expected = 0u64;
        for tensor in &self.tensors {
            let wrong = |reason: String| GgufError::tensor(&tensor.name, reason);
            if tensor.offset != expected {
                let offset = tensor.offset;
                return Err(wrong(format!("it begins at {offset}, where {expected} is its place")));
            }
            let end = tensor.offset.checked_add(tensor.size_bytes);
            let in_file = end.and_then(|end| end.checked_add(self.data));
            let next = end.and_then(|end| end.checked_next_multiple_of(alignment));
            let (Some(end), Some(next)) = (in_file, next) else {
                return Err(wrong("it ends beyond any file".into()));
            };
            if end > self.file_bytes {
                return Err(GgufError::TensorCut { name: shown(&tensor.name), end, size: self.file_bytes });
            }
            expected = next;
        }
        Ok(())
    }
}
