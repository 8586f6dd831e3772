//! Hugging Face's safetensors: eight bytes of length, a JSON table, then the numbers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::AdapterError;
use super::floats::Float;

/// Longest table; an adapter's has a few hundred lines.
const MAX_TABLE: u64 = 16 << 20;

/// An open file.
#[derive(Debug)]
pub(super) struct SafeTensors {
    file: File,
    tensors: BTreeMap<String, Tensor>,
    /// Where the numbers begin.
    data: u64,
}

#[derive(Debug)]
struct Tensor {
    float: Float,
    rows: u64,
    columns: u64,
    /// In bytes, from where the numbers begin.
    begin: u64,
}

#[derive(Deserialize)]
struct Line {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl SafeTensors {
    /// Reads the table, and checks that every line of it stands for a matrix that is whole.
    pub(super) fn open(path: &Path) -> Result<Self, AdapterError> {
        let broken = |reason: String| AdapterError::unusable(format!("Error while deserializing header: {reason}"));
        let mut file = File::open(path).map_err(|error| broken(error.to_string()))?;
        let length = file.metadata().map_err(|error| broken(error.to_string()))?.len();
        let mut size = [0; 8];
        file.read_exact(&mut size).map_err(|_| broken("header too small".into()))?;
        let table = u64::from_le_bytes(size);
        if table > MAX_TABLE {
            return Err(broken("header too large".into()));
        }
        if table + 8 > length {
            return Err(broken("invalid header length".into()));
        }
        let mut json = Vec::new();
        file.by_ref().take(table).read_to_end(&mut json).map_err(|error| broken(error.to_string()))?;
        let lines: Map<String, Value> =
            serde_json::from_slice(&json).map_err(|error| broken(format!("invalid JSON in header: {error}")))?;
        let data = table + 8;
        let mut tensors = BTreeMap::new();
        for (name, line) in lines {
            if name != "__metadata__" {
                let tensor = tensor(line, length - data).map_err(|reason| broken(format!("{name}: {reason}")))?;
                tensors.insert(name, tensor);
            }
        }
        Ok(Self { file, tensors, data })
    }

    /// The names of its tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Columns and rows of a tensor that is there.
    pub(super) fn size(&self, name: &str) -> Option<[u64; 2]> {
        self.tensors.get(name).map(|tensor| [tensor.columns, tensor.rows])
    }

    /// The numbers of a tensor that is there, row by row.
    pub(super) fn read(&mut self, name: &str) -> Result<Vec<f32>, AdapterError> {
        let unreadable = |reason: String| AdapterError::unusable(format!("{name} cannot be read: {reason}"));
        let tensor = self.tensors.get(name).ok_or_else(|| unreadable("it is not there".into()))?;
        let bytes = tensor.rows * tensor.columns * tensor.float.size();
        let mut numbers = vec![0; usize::try_from(bytes).map_err(|error| unreadable(error.to_string()))?];
        let place = SeekFrom::Start(self.data + tensor.begin);
        let read = self.file.seek(place).and_then(|_| self.file.read_exact(&mut numbers));
        read.map_err(|error| unreadable(error.to_string()))?;
        Ok(tensor.float.read(&numbers))
    }
}

/// A line of the table; `room` is how many bytes follow it.
fn tensor(line: Value, room: u64) -> Result<Tensor, String> {
    let line: Line = serde_json::from_value(line).map_err(|error| error.to_string())?;
    let float = match line.dtype.as_str() {
        "F32" => Float::F32,
        "F16" => Float::F16,
        "BF16" => Float::Bf16,
        _ => return Err("numbers have to be F32, F16 or BF16".into()),
    };
    let [rows, columns] = line.shape.try_into().map_err(|_| "not a matrix")?;
    let [begin, end] = line.data_offsets;
    let size = rows.checked_mul(columns).and_then(|count| count.checked_mul(float.size()));
    if end > room {
        return Err("incomplete metadata, file not fully covered".into());
    }
    if size.is_none() || end.checked_sub(begin) != size {
        return Err("its place is not as long as its shape".into());
    }
    Ok(Tensor { float, rows, columns, begin })
}
