//! Adapters as they come: read, checked against the model, and put in the one form that llama.cpp is given.
//!
//! Two forms are read: a folder as PEFT writes it (`adapter_config.json`, `adapter_model.safetensors`), and a GGUF file
//! as llama.cpp's `convert_lora_to_gguf.py` writes it. Both become [`AdapterWeights`], plain numbers under the names of
//! the model's own matrices, with the scale already in them. llama.cpp never sees a file that somebody else wrote: it
//! aborts the process over a key of the wrong type, and everything it would refuse is refused here with better words.
//!
//! Weights become F32, as llama.cpp's own converter makes them: with F16 weights, what they are multiplied by
//! would be rounded to F16 too.

mod config;
mod floats;
mod gguf;
mod peft;
mod safetensors;
mod weights;

use std::path::{Path, PathBuf};

pub(crate) use weights::{AdapterWeights, BaseModel, MatrixSize};

/// Why an adapter is not taken. The texts are those of vLLM where it has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdapterError {
    /// Nothing is there, or nothing that looks like an adapter.
    #[error("No adapter found for {0}")]
    NotFound(String),
    /// It is there, and will not do.
    #[error("{0}")]
    Unusable(String),
}

impl AdapterError {
    fn unusable(reason: impl Into<String>) -> Self {
        Self::Unusable(reason.into())
    }
}

/// Reads an adapter whole; nothing of it is looked at afterwards. Takes time: not for an async thread.
pub(crate) fn read(path: &str, base: &BaseModel<'_>, max_rank: u32) -> Result<AdapterWeights, AdapterError> {
    let not_found = || AdapterError::NotFound(path.to_owned());
    let place = expand(path);
    let kind = std::fs::metadata(&place).map_err(|_| not_found())?;
    let weights = if kind.is_file() {
        gguf::read_adapter(&place, base)?
    } else if kind.is_dir() && place.join("adapter_config.json").exists() {
        peft::read(&place, base, max_rank)?
    } else {
        gguf::read_adapter(&only_gguf(&place).ok_or_else(not_found)?, base)?
    };
    weights.check(max_rank)?;
    Ok(weights)
}

/// `~` is the home folder, as in vLLM. Unlike there, a path that does not exist is not looked for on the internet.
fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// The GGUF file of a folder that has exactly one.
fn only_gguf(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut files = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "gguf") && path.is_file());
    files.next().filter(|_| files.next().is_none())
}

#[cfg(test)]
mod tests;
