//! GGUF, as far as adapters need it: the table of tensors of a file, and a file with an adapter in it.
//!
//! The format: "GGUF", version, number of tensors and of keys; keys with typed values; name, dimensions (columns
//! first), type and place of every tensor; then, aligned, their numbers. All little-endian.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::AdapterError;
use super::floats::Float;
use super::weights::{AdapterWeights, BaseModel, MatrixSize, Pair, check_fit};

const MAGIC: &[u8; 4] = b"GGUF";
const ALIGNMENT: usize = 32;
/// Longest table of an adapter; a real one has a few hundred tensors.
const MAX_ADAPTER_TABLE: u64 = 8 << 20;
/// Longest table of a model; the vocabulary is in it.
const MAX_MODEL_TABLE: u64 = 512 << 20;
/// Longest name or value that is of interest.
const MAX_TEXT: u64 = 64 << 10;

/// A value of the metadata; arrays are passed over.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Number(f64),
    Other,
}

#[derive(Debug)]
struct Tensor {
    name: String,
    dimensions: Vec<u64>,
    kind: u32,
    offset: u64,
}

impl Tensor {
    /// Columns and rows, if it is a matrix.
    fn matrix(&self) -> Option<[u64; 2]> {
        match *self.dimensions.as_slice() {
            [columns, rows] | [columns, rows, 1] | [columns, rows, 1, 1] => Some([columns, rows]),
            _ => None,
        }
    }
}

/// What stands before the numbers.
#[derive(Debug)]
struct Table {
    metadata: HashMap<String, Value>,
    tensors: Vec<Tensor>,
    /// Where the numbers begin.
    data: u64,
}

/// The matrices of a model file; of all its files, if it is split.
pub(crate) fn matrices_of(model: &Path) -> io::Result<HashMap<String, MatrixSize>> {
    let mut matrices = HashMap::new();
    let first = read_table(&mut File::open(model)?, MAX_MODEL_TABLE)?;
    let mut tables = vec![];
    if let Some(Value::Number(count)) = first.metadata.get("split.count") {
        for path in siblings(model, *count) {
            tables.push(read_table(&mut File::open(path)?, MAX_MODEL_TABLE)?);
        }
    }
    for tensor in tables.iter().chain([&first]).flat_map(|table| &table.tensors) {
        if let Some([inputs, outputs]) = tensor.matrix() {
            matrices.insert(tensor.name.clone(), MatrixSize { inputs, outputs });
        }
    }
    Ok(matrices)
}

/// The other files of a split model: `m-00001-of-00003.gguf` has two.
fn siblings(first: &Path, count: f64) -> Vec<PathBuf> {
    let name = first.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    let count = count.clamp(0.0, 1000.0) as u32;
    let other = |number| first.with_file_name(name.replace("-00001-of-", &format!("-{number:05}-of-")));
    (2..=count).map(other).collect()
}

/// Reads an adapter that is a GGUF file.
pub(super) fn read_adapter(path: &Path, base: &BaseModel<'_>) -> Result<AdapterWeights, AdapterError> {
    let unreadable = |error: io::Error| AdapterError::unusable(format!("The adapter file is not usable: {error}"));
    let mut file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let table = read_table(&mut file, MAX_ADAPTER_TABLE).map_err(unreadable)?;
    check_metadata(&table, base)?;
    let mut halves: HashMap<&str, [Option<&Tensor>; 2]> = HashMap::new();
    for tensor in &table.tensors {
        let half = match (tensor.name.strip_suffix(".lora_a"), tensor.name.strip_suffix(".lora_b")) {
            (Some(name), _) => &mut halves.entry(name).or_default()[0],
            (_, Some(name)) => &mut halves.entry(name).or_default()[1],
            _ => return Err(AdapterError::unusable(format!("{} is not a LoRA tensor.", tensor.name))),
        };
        *half = Some(tensor);
    }
    // llama.cpp takes alpha / rank as the scale, and 0 as "no scale".
    let alpha = number(&table, "adapter.lora.alpha").unwrap_or(0.0);
    let mut numbers = |tensor: &Tensor| read_tensor(tensor, table.data, length, &mut file);
    let mut adapter = AdapterWeights { architecture: base.architecture.to_owned(), pairs: BTreeMap::new() };
    for (name, halves) in halves {
        let [Some(a), Some(b)] = halves else {
            return Err(AdapterError::unusable(format!("{name} has only one of lora_a and lora_b.")));
        };
        let size = matrix_of_layer(name, base)?;
        let (Some(a_size), Some(b_size)) = (a.matrix(), b.matrix()) else {
            return Err(AdapterError::unusable(format!("The adapter's tensors for {name} are no matrices.")));
        };
        let rank = check_fit(name, size, a_size, b_size)?;
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "scales are small numbers")]
        let scale = if alpha == 0.0 { 1.0 } else { (alpha / rank as f64) as f32 };
        let (a, mut b) = (numbers(a)?, numbers(b)?);
        for value in &mut b {
            *value *= scale;
        }
        adapter.pairs.insert(name.to_owned(), Pair { size, rank, a, b });
    }
    Ok(adapter)
}

/// The matrix that a pair belongs to; only those of the layers, since llama.cpp wants others the other way round.
fn matrix_of_layer(name: &str, base: &BaseModel<'_>) -> Result<MatrixSize, AdapterError> {
    base.matrices.get(name).copied().filter(|_| name.starts_with("blk.")).ok_or_else(|| {
        AdapterError::unusable(format!("The adapter changes {name}, which is not a matrix of this model's layers."))
    })
}

fn check_metadata(table: &Table, base: &BaseModel<'_>) -> Result<(), AdapterError> {
    for (key, wanted) in
        [("general.type", "adapter"), ("adapter.type", "lora"), ("general.architecture", base.architecture)]
    {
        match table.metadata.get(key) {
            Some(Value::Text(found)) if found == wanted => {}
            Some(Value::Text(found)) => {
                let found: String = found.chars().take(40).collect();
                let message = format!("The adapter's {key} is '{found}'; this model takes '{wanted}'.");
                return Err(AdapterError::Unusable(message));
            }
            _ => return Err(AdapterError::unusable(format!("The file has no {key}: it is not an adapter."))),
        }
    }
    if table.metadata.contains_key("adapter.alora.invocation_tokens") {
        return Err(AdapterError::unusable("Activated LoRA (aLoRA) is not supported."));
    }
    Ok(())
}

fn number(table: &Table, key: &str) -> Option<f64> {
    match table.metadata.get(key) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    }
}

fn read_tensor(tensor: &Tensor, data: u64, length: u64, file: &mut File) -> Result<Vec<f32>, AdapterError> {
    let unusable = |reason: &str| AdapterError::unusable(format!("The adapter's tensor {} {reason}.", tensor.name));
    // The numbers of ggml's types.
    let float = match tensor.kind {
        0 => Float::F32,
        1 => Float::F16,
        30 => Float::Bf16,
        _ => return Err(unusable("is quantized; give it in F32, F16 or BF16")),
    };
    let bytes = tensor.dimensions.iter().try_fold(float.size(), |size, &dimension| size.checked_mul(dimension));
    let place = data.checked_add(tensor.offset);
    let end = place.zip(bytes).and_then(|(place, bytes)| place.checked_add(bytes));
    let (Some(place), Some(bytes), true) = (place, bytes, end.is_some_and(|end| end <= length)) else {
        return Err(unusable("reaches over the end of the file"));
    };
    let mut numbers = vec![0; usize::try_from(bytes).map_err(|_| unusable("is too large"))?];
    let read = file.seek(SeekFrom::Start(place)).and_then(|_| file.read_exact(&mut numbers));
    read.map_err(|error| unusable(&format!("cannot be read: {error}")))?;
    Ok(float.read(&numbers))
}

/// Reads what stands before the numbers.
fn read_table(file: &mut File, limit: u64) -> io::Result<Table> {
    let mut source = Source { reader: BufReader::new(file).take(limit), read: 0 };
    if &source.bytes::<4>()? != MAGIC {
        return Err(invalid("it does not begin with 'GGUF'"));
    }
    let version = source.u32()?;
    if !(2..=3).contains(&version) {
        return Err(invalid(&format!("GGUF version {version} is not known")));
    }
    let (tensors, keys) = (source.u64()?, source.u64()?);
    let mut metadata = HashMap::new();
    for _ in 0..keys {
        let key = source.text()?;
        let kind = source.u32()?;
        metadata.insert(key, source.value(kind)?);
    }
    let mut table = Table { metadata, tensors: Vec::new(), data: 0 };
    for _ in 0..tensors {
        let name = source.text()?;
        let count = source.u32()?;
        if count > 4 {
            return Err(invalid("a tensor has more than four dimensions"));
        }
        let dimensions = (0..count).map(|_| source.u64()).collect::<io::Result<_>>()?;
        table.tensors.push(Tensor { name, dimensions, kind: source.u32()?, offset: source.u64()? });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked right after")]
    let alignment = number(&table, "general.alignment").map_or(ALIGNMENT as u64, |alignment| alignment as u64);
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        return Err(invalid("its alignment makes no sense"));
    }
    table.data = source.read.next_multiple_of(alignment);
    Ok(table)
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Reads values and counts the bytes. What claims to be long costs no memory before it is there.
struct Source<R> {
    reader: R,
    read: u64,
}

impl<R: Read> Source<R> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.read += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.reader.by_ref().take(count), &mut io::sink())?;
        self.read = self.read.saturating_add(count);
        if skipped == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.u64()?;
        if length > MAX_TEXT {
            self.skip(length)?;
            return Ok(String::new());
        }
        let mut bytes = Vec::new();
        self.reader.by_ref().take(length).read_to_end(&mut bytes)?;
        self.read += length;
        if bytes.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn value(&mut self, kind: u32) -> io::Result<Value> {
        #[expect(clippy::cast_precision_loss, reason = "what is of interest here is small")]
        Ok(match kind {
            0 | 7 => Value::Number(self.bytes::<1>()?[0].into()),
            1 => Value::Number(i8::from_le_bytes(self.bytes()?).into()),
            2 => Value::Number(u16::from_le_bytes(self.bytes()?).into()),
            3 => Value::Number(i16::from_le_bytes(self.bytes()?).into()),
            4 => Value::Number(self.u32()?.into()),
            5 => Value::Number(i32::from_le_bytes(self.bytes()?).into()),
            6 => Value::Number(f32::from_le_bytes(self.bytes()?).into()),
            8 => Value::Text(self.text()?),
            9 => {
                let (kind, count) = (self.u32()?, self.u64()?);
                self.skip_array(kind, count)?;
                Value::Other
            }
            10 => Value::Number(self.u64()? as f64),
            11 => Value::Number(i64::from_le_bytes(self.bytes()?) as f64),
            12 => Value::Number(f64::from_le_bytes(self.bytes()?)),
            _ => return Err(invalid(&format!("value type {kind} is not known"))),
        })
    }

    fn skip_array(&mut self, kind: u32, count: u64) -> io::Result<()> {
        let size: u64 = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                for _ in 0..count {
                    let length = self.u64()?;
                    self.skip(length)?;
                }
                return Ok(());
            }
            _ => return Err(invalid("arrays of arrays are not known")),
        };
        self.skip(count.checked_mul(size).ok_or_else(|| invalid("an array is longer than the file"))?)
    }
}

/// A tensor to be written; its size is columns and rows.
pub(super) struct Entry<'a> {
    pub(super) name: String,
    pub(super) size: [u64; 2],
    pub(super) values: &'a [f32],
}

/// An adapter as a GGUF file.
pub(super) fn write(architecture: &str, entries: &[Entry<'_>]) -> Vec<u8> {
    let mut file = Vec::new();
    let number = |file: &mut Vec<u8>, number: u64| file.extend(number.to_le_bytes());
    let text = |file: &mut Vec<u8>, text: &str| {
        file.extend((text.len() as u64).to_le_bytes());
        file.extend(text.as_bytes());
    };
    file.extend(MAGIC);
    file.extend(3u32.to_le_bytes());
    number(&mut file, entries.len() as u64);
    number(&mut file, 4);
    for (key, value) in [("general.type", "adapter"), ("general.architecture", architecture), ("adapter.type", "lora")]
    {
        text(&mut file, key);
        file.extend(8u32.to_le_bytes());
        text(&mut file, value);
    }
    text(&mut file, "adapter.lora.alpha");
    file.extend(6u32.to_le_bytes());
    file.extend(0f32.to_le_bytes());
    let mut offset = 0;
    for entry in entries {
        text(&mut file, &entry.name);
        file.extend(2u32.to_le_bytes());
        entry.size.iter().for_each(|&size| number(&mut file, size));
        file.extend(0u32.to_le_bytes());
        number(&mut file, offset);
        offset += (entry.values.len() * 4).next_multiple_of(ALIGNMENT) as u64;
    }
    let pad = |file: &mut Vec<u8>| file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
    pad(&mut file);
    for entry in entries {
        file.extend(entry.values.iter().flat_map(|value| value.to_le_bytes()));
        pad(&mut file);
    }
    file
}

/// Where in a file a tensor's numbers begin.
#[cfg(test)]
pub(super) fn place_of(path: &Path, name: &str) -> usize {
    let table = read_table(&mut File::open(path).unwrap(), MAX_MODEL_TABLE).unwrap();
    let tensor = table.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    usize::try_from(table.data + tensor.offset).unwrap()
}
