//! From PEFT's names and order to llama.cpp's, by the rules of its `convert_lora_to_gguf.py`.

use std::collections::BTreeMap;
use std::path::Path;

use super::AdapterError;
use super::config::PeftConfig;
use super::safetensors::SafeTensors;
use super::weights::{AdapterWeights, BaseModel, MatrixSize, Pair, check_fit};

/// What transformers and llama.cpp call the matrices of a layer; the same in all of [`FAMILIES`].
pub(super) const MODULES: [(&str, &str); 7] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// Architectures whose matrices have these names, and no other order than queries and keys of `llama` have.
const FAMILIES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

/// Where layers are; the last two in models that also see.
const PREFIXES: [&str; 3] = ["model.layers.", "model.language_model.layers.", "language_model.model.layers."];

/// Reads a folder that has an `adapter_config.json`.
pub(super) fn read(folder: &Path, base: &BaseModel<'_>, max_rank: u32) -> Result<AdapterWeights, AdapterError> {
    let config = PeftConfig::read(&folder.join("adapter_config.json"), max_rank)?;
    let path = folder.join("adapter_model.safetensors");
    if !path.is_file() {
        return Err(AdapterError::unusable(format!("{} doesn't contain tensors", folder.display())));
    }
    if !FAMILIES.contains(&base.architecture) {
        return Err(AdapterError::unusable(format!(
            "Adapters in PEFT's form are known for {} models, and this is a {} model. Convert the adapter with \
             llama.cpp's convert_lora_to_gguf.py and load the file.",
            FAMILIES.join(", "),
            base.architecture
        )));
    }
    let mut file = SafeTensors::open(&path)?;
    let modules = modules_of(&file, folder)?;
    let mut pairs = BTreeMap::new();
    for module in modules.values() {
        let name = module.matrix();
        if pairs.contains_key(&name) {
            return Err(AdapterError::unusable(format!("The adapter has two pairs of tensors for {name}.")));
        }
        let pair = module.read(&name, &config, base, &mut file)?;
        pairs.insert(name, pair);
    }
    Ok(AdapterWeights { architecture: base.architecture.to_owned(), pairs })
}

/// A matrix that the adapter changes.
#[derive(Debug)]
struct Module {
    /// `model.layers.0.self_attn.q_proj`
    path: String,
    layer: u32,
    /// `attn_q`
    part: &'static str,
}

/// Every module that a tensor of the file belongs to. Tensors that belong to none are refused: an adapter that is only
/// followed in part gives answers that nobody trained it for.
fn modules_of(file: &SafeTensors, folder: &Path) -> Result<BTreeMap<String, Module>, AdapterError> {
    let mut modules = BTreeMap::new();
    let mut unexpected = Vec::new();
    for name in file.names() {
        match module_of(name) {
            Some(module) => {
                modules.insert(module.path.clone(), module);
            }
            None => unexpected.push(name.strip_prefix("base_model.model.").unwrap_or(name)),
        }
    }
    if unexpected.is_empty() {
        return Ok(modules);
    }
    let expected: Vec<String> =
        MODULES.iter().map(|(module, _)| format!("'{}'", module.split('.').next_back().unwrap_or(module))).collect();
    let received: Vec<String> = unexpected.iter().take(8).map(|name| format!("'{}'", module_name(name))).collect();
    let more = if unexpected.len() > received.len() { ", ..." } else { "" };
    Err(AdapterError::unusable(format!(
        "While loading {}, expected target modules in {{{}}} but received [{}{more}]. Please verify that the loaded \
         LoRA module is correct",
        folder.display(),
        expected.join(", "),
        received.join(", ")
    )))
}

fn module_name(tensor: &str) -> &str {
    tensor.trim_end_matches(".weight").trim_end_matches(".lora_A").trim_end_matches(".lora_B")
}

/// `base_model.model.model.layers.3.mlp.up_proj.lora_A.weight`
fn module_of(tensor: &str) -> Option<Module> {
    let rest = tensor.strip_prefix("base_model.model.")?;
    let path = rest.strip_suffix(".lora_A.weight").or_else(|| rest.strip_suffix(".lora_B.weight"))?;
    let inner = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix))?;
    let (number, part) = inner.split_once('.')?;
    let layer: u32 = number.parse().ok().filter(|layer: &u32| layer.to_string() == number)?;
    let &(_, part) = MODULES.iter().find(|(module, _)| *module == part)?;
    Some(Module { path: path.to_owned(), layer, part })
}

impl Module {
    /// llama.cpp's name of the matrix.
    fn matrix(&self) -> String {
        format!("blk.{}.{}.weight", self.layer, self.part)
    }

    fn read(
        &self,
        name: &str,
        config: &PeftConfig,
        base: &BaseModel<'_>,
        file: &mut SafeTensors,
    ) -> Result<Pair, AdapterError> {
        let Some(&size) = base.matrices.get(name) else {
            let message = format!("The adapter was made for another base model: this one has no {}.", self.path);
            return Err(AdapterError::Unusable(message));
        };
        let half = |half: char| format!("base_model.model.{}.lora_{half}.weight", self.path);
        let (a, b) = (half('A'), half('B'));
        let (Some(a_size), Some(b_size)) = (file.size(&a), file.size(&b)) else {
            return Err(AdapterError::unusable(format!("{} has only one of lora_A and lora_B.", self.path)));
        };
        let rank = check_fit(name, size, a_size, b_size)?;
        let scale = config.scale(&self.path, rank)?;
        let (a, mut b) = (file.read(&a)?, file.read(&b)?);
        for value in &mut b {
            *value *= scale;
        }
        if let Some(heads) = self.interleaved_heads(base, size)? {
            b = interleave(&b, heads, rank);
        }
        Ok(Pair { size, rank, a, b })
    }

    /// How many heads' rows have to be put in another order, if any.
    fn interleaved_heads(&self, base: &BaseModel<'_>, size: MatrixSize) -> Result<Option<u64>, AdapterError> {
        if base.architecture != "llama" || !matches!(self.part, "attn_q" | "attn_k") {
            return Ok(None);
        }
        let heads = base.heads.map(|(queries, keys)| if self.part == "attn_q" { queries } else { keys });
        match heads.filter(|&heads| heads > 0 && size.outputs.is_multiple_of(heads * 2)) {
            Some(heads) => Ok(Some(heads)),
            None => Err(AdapterError::unusable(
                "The model does not say how many heads it has, so its adapters cannot be \
                 converted. Give the adapter as GGUF.",
            )),
        }
    }
}

/// Puts the rows of a query or key projection in llama.cpp's order. transformers rotates the first half of a head
/// against its second half, llama.cpp (for `llama` alone) rotates neighbours: row `j * d/2 + i` of a head of `d` rows
/// becomes row `2 * i + j`.
fn interleave(matrix: &[f32], heads: u64, columns: u64) -> Vec<f32> {
    let columns = usize::try_from(columns).expect("a matrix in memory has fewer");
    let heads = usize::try_from(heads).expect("a matrix in memory has fewer");
    let rows = matrix.len() / columns;
    let half = rows / heads / 2;
    let order = (0..heads).flat_map(|head| (0..half).flat_map(move |i| (0..2).map(move |j| (head * 2 + j) * half + i)));
    order.flat_map(|row| &matrix[row * columns..(row + 1) * columns]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "numbers are moved, not computed")]
    fn halves_of_heads_become_neighbours() {
        let rows: Vec<f32> = (0u8..8).flat_map(|row| [f32::from(row), f32::from(row) + 0.5]).collect();
        let moved = interleave(&rows, 2, 2);
        let order: Vec<f32> = moved.iter().step_by(2).copied().collect();
        assert_eq!(order, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert!(moved.chunks(2).all(|row| row[1] == row[0] + 0.5), "rows stay whole");
    }

    #[test]
    fn names_are_read_whole_or_not_at_all() {
        let name = |tensor: &str| module_of(tensor).map(|module| module.matrix());
        let known = [
            ("base_model.model.model.layers.3.mlp.up_proj.lora_A.weight", "blk.3.ffn_up.weight"),
            ("base_model.model.model.layers.12.self_attn.o_proj.lora_B.weight", "blk.12.attn_output.weight"),
            ("base_model.model.model.language_model.layers.0.self_attn.k_proj.lora_B.weight", "blk.0.attn_k.weight"),
        ];
        for (tensor, matrix) in known {
            assert_eq!(name(tensor).as_deref(), Some(matrix));
        }
        for tensor in [
            "model.layers.3.mlp.up_proj.lora_A.weight",
            "base_model.model.layers.3.mlp.up_proj.lora_A.weight",
            "base_model.model.model.layers.03.mlp.up_proj.lora_A.weight",
            "base_model.model.model.layers.3.mlp.up_proj.lora_magnitude_vector",
            "base_model.model.model.layers.3.self_attn.nope_proj.lora_A.weight",
            "base_model.model.model.embed_tokens.lora_embedding_A",
            "base_model.model.lm_head.lora_A.weight",
        ] {
            assert_eq!(name(tensor), None, "{tensor}");
        }
    }
}
