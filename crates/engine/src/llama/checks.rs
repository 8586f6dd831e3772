//! What llama.cpp takes for granted of a model file, and ends the process over where it is not so.
//!
//! These are its `GGML_ASSERT`s and uncaught exceptions on the way from a file to a first answer (`llama-model.cpp`,
//! `llama-vocab.cpp`, `ops.cpp` of the version that is pinned), as far as they do not depend on the architecture.
//! Everything else that can be wrong, such as a tensor of the wrong size, it refuses in an orderly way.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Seek};

use remora_gguf::{GgufError, Header, Value};

/// `LLAMA_MAX_LAYERS`.
const MAX_LAYERS: u64 = 512;
/// `LLAMA_MAX_EXPERTS`.
const MAX_EXPERTS: u64 = 1024;

/// Refuses a file that llama.cpp would abort over.
pub(super) fn check<R: Read + Seek>(header: &Header, file: R) -> Result<(), GgufError> {
    check_layers(header)?;
    check_experts(header)?;
    check_numbers(header)?;
    check_vocabulary(header, file)
}

fn wrong(key: impl Into<String>, reason: impl Into<String>) -> GgufError {
    GgufError::Key { key: key.into(), reason: reason.into() }
}

fn check_layers(header: &Header) -> Result<(), GgufError> {
    let key = |name: &str| format!("{}.{name}", header.architecture());
    let Some(layers) = header.number(&key("block_count")) else { return Ok(()) };
    if !(1..=MAX_LAYERS).contains(&layers) {
        return Err(wrong(key("block_count"), format!("{layers} layers, where 1 to {MAX_LAYERS} are possible")));
    }
    match header.number(&key("nextn_predict_layers")) {
        Some(extra) if extra > layers => Err(wrong(key("nextn_predict_layers"), format!("{extra} of {layers} layers"))),
        _ => Ok(()),
    }
}

fn check_experts(header: &Header) -> Result<(), GgufError> {
    let key = |name: &str| format!("{}.{name}", header.architecture());
    let number = |name: &str| header.number(&key(name)).unwrap_or(0);
    let (experts, groups, groups_used) =
        (number("expert_count"), number("expert_group_count"), number("expert_group_used_count"));
    // A dense model of this family says that it has one expert.
    if experts <= 1 && header.architecture().starts_with("hunyuan") {
        return Ok(());
    }
    let used = match header.get(&key("expert_used_count")) {
        Some(Value::Array(array)) => {
            array.numbers.iter().flatten().map(|&used| u64::try_from(used).unwrap_or(u64::MAX)).max().unwrap_or(0)
        }
        Some(value) => value.as_u64().unwrap_or(0),
        None => 0,
    };
    let grouped = groups <= 1 || (experts % groups == 0 && (1..groups).contains(&groups_used));
    let sound = if experts == 0 {
        used == 0 && groups == 0
    } else {
        experts <= MAX_EXPERTS && (1..=experts).contains(&used) && groups < experts && grouped
    };
    if sound {
        return Ok(());
    }
    let reason = format!("{experts} experts in {groups} groups, {used} and {groups_used} of them used, cannot be");
    Err(wrong(key("expert_count"), reason))
}

fn check_numbers(header: &Header) -> Result<(), GgufError> {
    let key = |name: &str| format!("{}.{name}", header.architecture());
    if let Some(kind) = header.text(&key("rope.scaling.type"))
        && !["none", "linear", "yarn", "longrope"].contains(&kind)
    {
        let kind: String = kind.chars().take(40).collect();
        return Err(wrong(key("rope.scaling.type"), format!("'{kind}' is not known")));
    }
    for name in ["rope.dimension_count", "rope.dimension_count_swa"] {
        if let Some(count) = header.number(&key(name)).filter(|count| count % 2 != 0) {
            return Err(wrong(key(name), format!("{count} is odd")));
        }
    }
    if let Some(kind) = header.number(&key("pooling_type")).filter(|&kind| kind > 4) {
        return Err(wrong(key("pooling_type"), format!("{kind} is not known")));
    }
    let epsilons = header.metadata.iter().filter(|(key, _)| key.ends_with("epsilon"));
    for (key, value) in epsilons {
        if value.as_f64().is_some_and(|value| !value.is_finite() || value < 0.0) {
            return Err(wrong(key, "it is negative or no number"));
        }
    }
    Ok(())
}

/// llama.cpp wants every token's text to be its own, and, where texts are made of bytes, every byte to have a token.
fn check_vocabulary<R: Read + Seek>(header: &Header, file: R) -> Result<(), GgufError> {
    let key = "tokenizer.ggml.tokens";
    let hasher = RandomState::new();
    // Their hashes are enough: two texts share one of 64 bits once in a hundred million vocabularies.
    let (mut seen, mut twice) = (HashSet::new(), None);
    header.texts(key, file, |index, text| {
        // As C reads it.
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        let fresh = match text {
            [] => seen.insert(hasher.hash_one(format!("[EMPTY_{index}]").as_bytes())),
            text => seen.insert(hasher.hash_one(text)),
        };
        if !fresh {
            twice.get_or_insert(index);
        }
    })?;
    if let Some(index) = twice {
        return Err(wrong(key, format!("token {index} has the text of another one")));
    }
    let known = |text: &[u8]| seen.contains(&hasher.hash_one(text));
    let model = header.text("tokenizer.ggml.model").unwrap_or_default();
    let by_bytes = matches!(model, "llama" | "plamo2");
    let without = (0..=u8::MAX).find(|byte| {
        let alone = model == "llama" && *byte != 0 && known(&[*byte]);
        by_bytes && !alone && !known(format!("<0x{byte:02X}>").as_bytes())
    });
    match without {
        Some(byte) => Err(wrong(key, format!("there is no token for the byte 0x{byte:02X}"))),
        None => Ok(()),
    }
}
