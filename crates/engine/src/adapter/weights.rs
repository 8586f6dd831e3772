//! An adapter's numbers, and the form in which llama.cpp gets them.

use std::collections::{BTreeMap, HashMap};

use super::AdapterError;
use super::gguf::{Entry, write};

/// A matrix of the model: how many numbers it takes and how many it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MatrixSize {
    pub(crate) inputs: u64,
    pub(crate) outputs: u64,
}

/// What an adapter has to fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BaseModel<'a> {
    /// llama.cpp's name of the architecture: `llama`, `qwen3`.
    pub(crate) architecture: &'a str,
    /// The model's matrices by llama.cpp's names: `blk.0.attn_q.weight`.
    pub(crate) matrices: &'a HashMap<String, MatrixSize>,
    /// Heads of queries and of keys, where they are the same in every layer.
    pub(crate) heads: Option<(u64, u64)>,
}

/// What is added to one matrix: `b · a`, each row by row, the scale already in `b`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    pub(super) size: MatrixSize,
    pub(super) rank: u64,
    /// `rank` rows of `inputs`.
    pub(super) a: Vec<f32>,
    /// `outputs` rows of `rank`.
    pub(super) b: Vec<f32>,
}

/// An adapter that fits its model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdapterWeights {
    pub(super) architecture: String,
    /// By the name of the model's matrix.
    pub(super) pairs: BTreeMap<String, Pair>,
}

impl AdapterWeights {
    /// Checks what does not depend on the form it came in.
    pub(super) fn check(&self, max_rank: u32) -> Result<(), AdapterError> {
        let rank = self.pairs.values().map(|pair| pair.rank).max();
        let rank = rank.ok_or_else(|| AdapterError::unusable("The adapter has no LoRA tensors."))?;
        if rank > u64::from(max_rank) {
            let message = format!("LoRA rank {rank} is greater than max_lora_rank {max_rank}.");
            return Err(AdapterError::Unusable(message));
        }
        let broken = |pair: &Pair| pair.a.iter().chain(&pair.b).any(|value| !value.is_finite());
        match self.pairs.iter().find(|(_, pair)| broken(pair)) {
            Some((name, _)) => {
                Err(AdapterError::unusable(format!("The weights for {name} hold values that are not finite.")))
            }
            None => Ok(()),
        }
    }

    /// The adapter as a GGUF file. `adapter.lora.alpha` is 0, which llama.cpp reads as a scale of 1: the scales are in
    /// the weights, since it knows one for all matrices and PEFT one for each.
    pub(crate) fn to_gguf(&self) -> Vec<u8> {
        let entries = self.pairs.iter().flat_map(|(name, pair)| {
            [
                Entry { name: format!("{name}.lora_a"), size: [pair.size.inputs, pair.rank], values: &pair.a },
                Entry { name: format!("{name}.lora_b"), size: [pair.rank, pair.size.outputs], values: &pair.b },
            ]
        });
        write(&self.architecture, &entries.collect::<Vec<_>>())
    }
}

/// Refuses a pair that is not made for this matrix; the sizes are `[columns, rows]`.
pub(super) fn check_fit(name: &str, size: MatrixSize, a: [u64; 2], b: [u64; 2]) -> Result<u64, AdapterError> {
    let ([inputs, rank], [inner, outputs]) = (a, b);
    if rank == inner && rank > 0 && (MatrixSize { inputs, outputs }) == size {
        return Ok(rank);
    }
    Err(AdapterError::unusable(format!(
        "The adapter was made for another base model: {name} takes {} numbers and gives {}, the adapter's lora_A is \
         {rank} x {inputs} and its lora_B {outputs} x {inner}.",
        size.inputs, size.outputs
    )))
}
