//! Adapters as GGUF: those that others made are read, and the one that llama.cpp gets is written.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use remora_gguf::{ALIGNMENT, GgufError, Header, MAGIC, Tensor, TensorType, Value};

use super::AdapterError;
use super::floats::Float;
use super::weights::{AdapterWeights, BaseModel, MatrixSize, Pair, check_fit};

/// Reads an adapter that is a GGUF file.
pub(super) fn read_adapter(path: &Path, base: &BaseModel<'_>) -> Result<AdapterWeights, AdapterError> {
    let unreadable = |error: GgufError| AdapterError::unusable(format!("The adapter file is not usable: {error}"));
    let mut file = File::open(path).map_err(|error| unreadable(error.into()))?;
    let table = remora_gguf::read(&mut file).map_err(unreadable)?;
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
    let alpha = table.get("adapter.lora.alpha").and_then(Value::as_f64).unwrap_or(0.0);
    let mut numbers = |tensor: &Tensor| read_tensor(tensor, table.data, &mut file);
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

fn check_metadata(table: &Header, base: &BaseModel<'_>) -> Result<(), AdapterError> {
    for (key, wanted) in
        [("general.type", "adapter"), ("adapter.type", "lora"), ("general.architecture", base.architecture)]
    {
        match table.get(key) {
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

/// The numbers of a tensor, which lies within the file.
fn read_tensor(tensor: &Tensor, data: u64, file: &mut File) -> Result<Vec<f32>, AdapterError> {
    let unusable = |reason: &str| AdapterError::unusable(format!("The adapter's tensor {} {reason}.", tensor.name));
    let float = match tensor.kind {
        TensorType::F32 => Float::F32,
        TensorType::F16 => Float::F16,
        TensorType::BF16 => Float::Bf16,
        _ => return Err(unusable("is quantized; give it in F32, F16 or BF16")),
    };
    let mut numbers = vec![0; usize::try_from(tensor.size_bytes).map_err(|_| unusable("is too large"))?];
    let read = file.seek(SeekFrom::Start(data + tensor.offset)).and_then(|_| file.read_exact(&mut numbers));
    read.map_err(|error: io::Error| unusable(&format!("cannot be read: {error}")))?;
    Ok(float.read(&numbers))
}

/// A tensor to be written; its size is columns and rows.
pub(super) struct Entry<'a> {
    pub(super) name: String,
    pub(super) size: [u64; 2],
    pub(super) values: &'a [f32],
}

/// An adapter as a GGUF file.
pub(super) fn write(architecture: &str, entries: &[Entry<'_>]) -> Vec<u8> {
    let aligned = |length: usize| length.next_multiple_of(usize::try_from(ALIGNMENT).expect("it is small"));
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
        offset += aligned(entry.values.len() * 4) as u64;
    }
    let pad = |file: &mut Vec<u8>| file.resize(aligned(file.len()), 0);
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
    let table = remora_gguf::read(File::open(path).unwrap()).unwrap();
    let tensor = table.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    usize::try_from(table.data + tensor.offset).unwrap()
}
