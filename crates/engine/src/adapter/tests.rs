//! The demo's adapter, whole and spoiled.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::floats::Float;
use super::*;
use crate::llama::{AdapterId, Computing, Context, ContextSize, Model, ModelFile, Row};

fn demo(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo").join(path)
}

fn matrices() -> HashMap<String, MatrixSize> {
    ModelFile::read(&demo("remora-demo.gguf")).unwrap().matrices()
}

fn base(matrices: &HashMap<String, MatrixSize>) -> BaseModel<'_> {
    BaseModel { architecture: "llama", matrices, heads: Some((6, 3)) }
}

fn read_path(path: &Path) -> Result<AdapterWeights, AdapterError> {
    let matrices = matrices();
    read(path.to_str().unwrap(), &base(&matrices), 16)
}

/// A folder with the demo's adapter, its table of tensors and configuration changed.
fn changed(header: impl FnOnce(&mut Value), config: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::read(demo("adapter-pirate/adapter_model.safetensors")).unwrap();
    let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
    let mut table: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    header(&mut table);
    let table = serde_json::to_vec(&table).unwrap();
    let content = [&(table.len() as u64).to_le_bytes(), table.as_slice(), &file[8 + length..]].concat();
    fs::write(folder.path().join("adapter_model.safetensors"), content).unwrap();
    let mut settings: Value =
        serde_json::from_slice(&fs::read(demo("adapter-pirate/adapter_config.json")).unwrap()).unwrap();
    config(&mut settings);
    fs::write(folder.path().join("adapter_config.json"), settings.to_string()).unwrap();
    folder
}

fn rename(table: &mut Value, from: &str, to: &str) {
    let table = table.as_object_mut().unwrap();
    let line = table.remove(from).unwrap();
    table.insert(to.to_owned(), line);
}

const DOWN_A: &str = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight";

#[test]
fn the_model_s_matrices_are_known() {
    let matrices = matrices();
    assert_eq!(matrices["blk.3.ffn_down.weight"], MatrixSize { inputs: 512, outputs: 192 });
    assert_eq!(matrices["blk.0.attn_k.weight"], MatrixSize { inputs: 192, outputs: 96 });
    assert!(!matrices.contains_key("output_norm.weight"));
}

#[test]
fn both_forms_are_the_same_adapter() {
    let weights = read_path(&demo("adapter-pirate")).unwrap();
    assert_eq!(weights.pairs.len(), 4 * 7);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pirate.gguf");
    fs::write(&file, weights.to_gguf()).unwrap();
    assert_eq!(read_path(&file).unwrap(), weights);
    assert_eq!(read_path(folder.path()).unwrap(), weights, "a folder with one GGUF file in it is that file");
}

#[test]
fn only_the_order_of_queries_and_keys_is_llama_s_own() {
    let matrices = matrices();
    let read_as = |architecture| {
        let base = BaseModel { architecture, ..base(&matrices) };
        read(demo("adapter-pirate").to_str().unwrap(), &base, 16).unwrap().pairs
    };
    let (llama, qwen) = (read_as("llama"), read_as("qwen3"));
    assert_eq!(read_as("gemma3"), qwen);
    let differing: Vec<&str> =
        llama.iter().filter(|(name, pair)| qwen[*name] != **pair).map(|(name, _)| &name[6..]).collect();
    assert_eq!(differing, ["attn_k.weight", "attn_q.weight"].repeat(4));
}

#[test]
fn what_is_no_adapter_is_told_apart_from_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    assert!(matches!(read_path(&missing), Err(AdapterError::NotFound(_))));
    assert!(matches!(read_path(folder.path()), Err(AdapterError::NotFound(_))));
    fs::write(folder.path().join("adapter_config.json"), "{").unwrap();
    assert!(matches!(read_path(folder.path()), Err(AdapterError::Unusable(_))));
}

#[test]
fn faults_are_named() {
    let nothing = |_: &mut Value| {};
    let folders = [
        changed(|table| rename(table, DOWN_A, "base_model.model.lm_head.lora_A.weight"), nothing),
        changed(
            |table| {
                for half in [DOWN_A, &DOWN_A.replace("lora_A", "lora_B")] {
                    rename(table, half, &half.replace("layers.0", "layers.9"));
                }
            },
            nothing,
        ),
        changed(|table| drop(table.as_object_mut().unwrap().remove(DOWN_A)), nothing),
        changed(|table| table[DOWN_A]["shape"] = json!([16, 256]), nothing),
        changed(|table| table[DOWN_A]["shape"] = json!([8, 256]), nothing),
        changed(|table| table[DOWN_A]["shape"] = json!([8, 8, 64]), nothing),
        changed(|table| table[DOWN_A]["shape"] = json!([u64::MAX, 8]), nothing),
        changed(|table| table[DOWN_A]["dtype"] = json!("I64"), nothing),
        changed(|table| table[DOWN_A]["data_offsets"] = json!([8192, 0]), nothing),
        changed(|table| table[DOWN_A]["data_offsets"] = json!([1u64 << 60, (1u64 << 60) + 8192]), nothing),
        changed(|table| *table = json!([]), nothing),
        changed(|table| *table = json!({}), nothing),
        changed(nothing, |config| config["r"] = json!(4)),
        changed(nothing, |config| config["r"] = json!(64)),
    ];
    let messages: Vec<String> = folders
        .iter()
        .map(|folder| {
            let message = read_path(folder.path()).unwrap_err().to_string();
            message.replace(folder.path().to_str().unwrap(), "FOLDER")
        })
        .collect();
    insta::assert_snapshot!(messages.join("\n"), @"
    While loading FOLDER, expected target modules in {'q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'} but received ['lm_head']. Please verify that the loaded LoRA module is correct
    The adapter was made for another base model: this one has no model.layers.9.mlp.down_proj.
    model.layers.0.mlp.down_proj has only one of lora_A and lora_B.
    The adapter was made for another base model: blk.0.ffn_down.weight takes 512 numbers and gives 192, the adapter's lora_A is 16 x 256 and its lora_B 192 x 8.
    Error while deserializing header: base_model.model.model.layers.0.mlp.down_proj.lora_A.weight: its place is not as long as its shape
    Error while deserializing header: base_model.model.model.layers.0.mlp.down_proj.lora_A.weight: not a matrix
    Error while deserializing header: base_model.model.model.layers.0.mlp.down_proj.lora_A.weight: its place is not as long as its shape
    Error while deserializing header: base_model.model.model.layers.0.mlp.down_proj.lora_A.weight: numbers have to be F32, F16 or BF16
    Error while deserializing header: base_model.model.model.layers.0.mlp.down_proj.lora_A.weight: its place is not as long as its shape
    Error while deserializing header: base_model.model.model.layers.0.mlp.down_proj.lora_A.weight: incomplete metadata, file not fully covered
    Error while deserializing header: invalid JSON in header: invalid type: sequence, expected a map at line 1 column 0
    The adapter has no LoRA tensors.
    The weights of model.layers.0.mlp.down_proj have rank 8, the configuration says 4.
    LoRA rank 64 is greater than max_lora_rank 16.
    ");
}

#[test]
fn numbers_that_are_none_are_refused() {
    let folder = changed(|_| {}, |_| {});
    let path = folder.path().join("adapter_model.safetensors");
    let mut file = fs::read(&path).unwrap();
    let end = file.len();
    file[end - 2..].copy_from_slice(&0x7e00u16.to_le_bytes());
    fs::write(&path, file).unwrap();
    insta::assert_snapshot!(read_path(folder.path()).unwrap_err(), @"The weights for blk.3.attn_v.weight hold values that are not finite.");
}

/// A tensor of a safetensors file, row by row, and how many columns it has.
fn tensor(file: &[u8], name: &str) -> (Vec<f32>, usize) {
    let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
    let table: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let place = |index: usize| 8 + length + number(&table[name]["data_offsets"][index]);
    assert_eq!(table[name]["dtype"], "F16");
    (Float::F16.read(&file[place(0)..place(1)]), number(&table[name]["shape"][1]))
}

fn to_half(value: f32) -> u16 {
    let bits = value.abs().to_bits();
    let half = if value.abs() < 2f32.powi(-14) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 1024")]
        let units = (value.abs() * 2f32.powi(24)).round_ties_even() as u32;
        units
    } else {
        (bits - (112 << 23) + 0xfff + (bits >> 13 & 1)) >> 13
    };
    u16::try_from(half).unwrap() | if value.is_sign_negative() { 0x8000 } else { 0 }
}

/// What the model says may follow a prompt.
fn scores(model: &Path, adapter: Option<&[u8]>) -> Vec<f32> {
    let model = Model::load(&ModelFile::read(model).unwrap(), 0, |_| true).unwrap();
    let size = ContextSize { slots: 1, tokens_per_slot: 256, batch: 256 };
    let mut context = Context::new(&model, size, Computing::with(1)).unwrap();
    let id = adapter.map(|gguf| {
        context.load_adapter(AdapterId(7), gguf).unwrap();
        AdapterId(7)
    });
    let prompt = model.tokenize("<|im_start|>user\nWhat is Remora?<|im_end|>\n<|im_start|>assistant\n", true);
    let last = prompt.len() - 1;
    let row = |(position, &token)| Row { token, position, slot: 0, scores: position as usize == last };
    context.decode(&(0..).zip(&prompt).map(row).collect::<Vec<_>>(), id).unwrap();
    context.scores(last).to_vec()
}

/// The conversion, proven by numbers: the model with the adapter computes what a model computes whose weights are the
/// sum. The sum is made in transformers' order; where its rows belong in the GGUF file is found by looking for the base
/// model's rows there, so nothing of the engine's own knowledge of the order is used.
#[test]
fn an_adapter_is_the_same_as_weights_that_were_added_up() {
    let adapter = fs::read(demo("adapter-pirate/adapter_model.safetensors")).unwrap();
    let base = fs::read(demo("safetensors/model.safetensors")).unwrap();
    let mut merged = fs::read(demo("remora-demo.gguf")).unwrap();
    for layer in 0..4 {
        for (module, name) in peft::MODULES {
            let path = format!("model.layers.{layer}.{module}");
            let (weights, columns) = tensor(&base, &format!("{path}.weight"));
            let (a, _) = tensor(&adapter, &format!("base_model.model.{path}.lora_A.weight"));
            let (b, rank) = tensor(&adapter, &format!("base_model.model.{path}.lora_B.weight"));
            let place = gguf::place_of(&demo("remora-demo.gguf"), &format!("blk.{layer}.{name}.weight"));
            let place = place..place + weights.len() * 2;
            let known = Float::F16.read(&merged[place.clone()]);
            for (row, b) in weights.chunks(columns).zip(b.chunks(rank)) {
                let at = known.chunks(columns).position(|known| known == row).unwrap();
                let sum = (0..columns).flat_map(|column| {
                    // lora_alpha / r is 16 / 8.
                    let added: f32 = b.iter().enumerate().map(|(k, b)| b * a[k * columns + column]).sum();
                    to_half(row[column] + 2.0 * added).to_le_bytes()
                });
                let begin = place.start + at * columns * 2;
                merged.splice(begin..begin + columns * 2, sum);
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("merged.gguf"), merged).unwrap();
    let gguf = read_path(&demo("adapter-pirate")).unwrap().to_gguf();
    let with_adapter = scores(&demo("remora-demo.gguf"), Some(&gguf));
    let furthest =
        |other: &[f32]| with_adapter.iter().zip(other).map(|(one, two)| (one - two).abs()).fold(0.0, f32::max);
    let (merged, base) = (scores(&folder.path().join("merged.gguf"), None), scores(&demo("remora-demo.gguf"), None));
    let (merged, base) = (furthest(&merged), furthest(&base));
    assert!(merged < 0.05 && base > 1.0, "{merged} from the sum, {base} from the base model");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn spoiled_files_are_refused_or_read_and_never_worse(at in 0usize..12_000, bits in 1u8.., cut in 0usize..200_000) {
        let matrices = matrices();
        let folder = changed(|_| {}, |_| {});
        let path = folder.path().join("adapter_model.safetensors");
        let whole = fs::read(&path).unwrap();
        let gguf = read_path(folder.path()).unwrap().to_gguf();
        for (path, file) in [(path, whole), (folder.path().join("a.gguf"), gguf)] {
            let mut file = file;
            file[at] ^= bits;
            file.truncate(cut.max(at));
            fs::write(&path, file).unwrap();
            let place = if path.extension().is_some_and(|end| end == "gguf") { path.as_path() } else { folder.path() };
            drop(read(place.to_str().unwrap(), &base(&matrices), 16));
        }
    }
}
