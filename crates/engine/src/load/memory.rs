//! Whether a model fits, and what it is given where nobody said.
//!
//! llama.cpp takes memory that is not there without a word: the kernel ends the process later, in the middle of an
//! answer. So the sum is made before.

use std::fmt;

use remora_gguf::Shape;

use super::available::{Available, available};
use crate::config::EngineConfig;
use crate::llama::{CONTEXT_STEP, ContextSize, EmbeddingKind, MICRO_BATCH, ModelFile};

/// Models below this size gain nothing from a second thread, and take many requests at a time.
pub(crate) const SMALL_MODEL_BYTES: u64 = 100 << 20;
/// Longest context that is given without being asked for; its memory is taken at once, for every slot.
const DEFAULT_CONTEXT: u32 = 8192;
/// Shortest context that is given without being asked for: less is of little use to anybody.
const LEAST_CONTEXT: u32 = 2048;

/// The same for embedding models, whose inputs are paragraphs.
const LEAST_INPUT: u32 = 512;

/// How a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) size: ContextSize,
    pub(crate) need: Need,
}

/// What a model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) weights: u64,
    /// Keys, values and recurrent state of every slot.
    pub(crate) cache: u64,
    /// What a step works in.
    pub(crate) compute: u64,
}

impl Need {
    pub(crate) fn total(self) -> u64 {
        self.weights.saturating_add(self.cache).saturating_add(self.compute)
    }
}

/// Why a model is not loaded: the sum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct NotEnough {
    plan: Plan,
    available: Available,
}

impl fmt::Display for NotEnough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { size, need } = self.plan;
        let (Need { weights, cache, compute }, Available { bytes, by_limit }) = (need, self.available);
        let of = if by_limit { "within the memory limit of this container or service" } else { "on this machine" };
        write!(
            f,
            "not enough memory: it needs {} ({} of weights, {} for {} x {} tokens of context, {} to compute), and {} \
             are free {of}. Lower --slots or --ctx, keep the context smaller with --kv-type q8_0, or take a smaller \
             quantization of the model; --force loads it all the same",
            Size(need.total()),
            Size(weights),
            Size(cache),
            size.slots,
            size.tokens_per_slot,
            Size(compute),
            Size(bytes),
        )
    }
}

/// A size for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "a size for people has two digits")]
        let mebibytes = self.0 as f64 / f64::from(1 << 20);
        if mebibytes < 1000.0 { write!(f, "{mebibytes:.0} MiB") } else { write!(f, "{:.1} GiB", mebibytes / 1024.0) }
    }
}

impl Plan {
    /// Divides the memory there is. What was asked for is given or refused; what was not is lowered until it fits.
    pub(crate) fn make(config: &EngineConfig, file: &ModelFile) -> Result<Self, NotEnough> {
        Self::within(available(), config, file)
    }

    fn within(available: Option<Available>, config: &EngineConfig, file: &ModelFile) -> Result<Self, NotEnough> {
        let plan = Self::wanted(config, file);
        let Some(available) = available.filter(|_| !config.force) else { return Ok(plan) };
        let fits = |plan: &Self| plan.need.total() <= available.bytes;
        if fits(&plan) {
            return Ok(plan);
        }
        let smaller = std::iter::successors(Some(plan), |plan| plan.smaller(config, file));
        let mut last = plan;
        for plan in smaller {
            if fits(&plan) {
                tracing::warn!(
                    slots = plan.size.slots,
                    context = plan.size.tokens_per_slot,
                    available_bytes = available.bytes,
                    "memory is short: fewer slots or less context than usual"
                );
                return Ok(plan);
            }
            last = plan;
        }
        Err(NotEnough { plan: last, available })
    }

    /// What the model gets where memory is no matter.
    fn wanted(config: &EngineConfig, file: &ModelFile) -> Self {
        let small = file.weight_bytes(0) < SMALL_MODEL_BYTES;
        let trained = file.shape().map_or(0, |shape| shape.trained_context);
        let trained = u32::try_from(trained).unwrap_or(u32::MAX).max(1);
        let wanted = config.context.unwrap_or_else(|| trained.min(DEFAULT_CONTEXT));
        if wanted > trained {
            tracing::warn!(
                wanted,
                trained,
                "the model was trained on less context than was asked for; using what it knows"
            );
        }
        let slots = config.slots.unwrap_or(if small { 16 } else { 4 });
        Self::of(slots, wanted.min(trained), config, file)
    }

    fn of(slots: u32, tokens_per_slot: u32, config: &EngineConfig, file: &ModelFile) -> Self {
        let embedding = file.embedding().ok().flatten();
        // A step has room for a token of every slot; for a whole input, where that must be computed in one go.
        let batch = config.batch.max(if embedding.is_some() { tokens_per_slot } else { slots });
        let size = ContextSize { slots, tokens_per_slot, batch };
        let gpu_layers = config.gpu_layers().count();
        let weights = file.weight_bytes(gpu_layers);
        let Some(shape) = file.shape() else {
            return Self { size, need: Need { weights, cache: 0, compute: 0 } };
        };
        if let Some(kind) = embedding {
            let need = Need { weights, ..Self::for_embedding(shape, size, kind, config) };
            return Self { size, need };
        }
        let tokens = u64::from(size.tokens_per_slot).next_multiple_of(CONTEXT_STEP.into());
        let cache = shape.cache_bytes(tokens.saturating_mul(size.slots.into()), config.kv_type.as_tensor());
        let cache = cache.saturating_add(shape.state_bytes.saturating_mul(size.slots.into()));
        // A GPU keeps the cache of the layers it has.
        let here = shape.layers.saturating_sub(gpu_layers.into());
        let cache = cache / shape.layers.max(1) * here;
        let step = size.batch.min(MICRO_BATCH);
        let compute = shape.compute_bytes(step.into(), size.slots.into(), tokens);
        Self { size, need: Need { weights, cache, compute } }
    }

    /// What vectors take: inputs share one step's memory, and one that looks both ways keeps nothing of it.
    fn for_embedding(shape: Shape, size: ContextSize, kind: EmbeddingKind, config: &EngineConfig) -> Need {
        let (tokens, step) = (u64::from(size.batch), u64::from(kind.micro_batch(size.batch)));
        let cache = if kind.causal { shape.cache_bytes(tokens, config.kv_type.as_tensor()) } else { 0 };
        let shape = Shape { vocabulary: if kind.causal { shape.vocabulary } else { 0 }, ..shape };
        Need { weights: 0, cache, compute: shape.compute_bytes(step, 0, tokens) }
    }

    /// The next smaller division of what nobody asked for: first fewer slots, then less context.
    fn smaller(&self, config: &EngineConfig, file: &ModelFile) -> Option<Self> {
        let ContextSize { slots, tokens_per_slot, .. } = self.size;
        let embeds = matches!(file.embedding(), Ok(Some(_)));
        let least = if embeds { LEAST_INPUT } else { LEAST_CONTEXT };
        if config.slots.is_none() && slots > 1 && !embeds {
            Some(Self::of(slots / 2, tokens_per_slot, config, file))
        } else if config.context.is_none() && tokens_per_slot > least {
            Some(Self::of(slots, (tokens_per_slot / 2).max(least), config, file))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::llama::KvType;

    fn demo() -> ModelFile {
        ModelFile::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/remora-demo.gguf")).unwrap()
    }

    fn plan(bytes: u64, change: impl FnOnce(&mut EngineConfig)) -> Result<Plan, NotEnough> {
        let mut config = EngineConfig::new("demo.gguf");
        change(&mut config);
        Plan::within(Some(Available { bytes, by_limit: true }), &config, &demo())
    }

    #[test]
    fn the_sum_is_that_of_the_model() {
        let Plan { size, need } = plan(u64::MAX, |_| {}).unwrap();
        assert_eq!((size.slots, size.tokens_per_slot), (16, 2048));
        assert_eq!(need.weights, demo().header().tensor_bytes());
        // 4 layers, keys and values of 3 heads of 32 numbers in F16.
        assert_eq!(need.cache, 16 * 2048 * 4 * 2 * 3 * 32 * 2);
        let quantized = plan(u64::MAX, |config| config.kv_type = KvType::Q8_0).unwrap();
        assert_eq!(quantized.need.cache, 16 * 2048 * 4 * 2 * 3 * 34);
    }

    #[test]
    fn what_nobody_asked_for_is_lowered_until_it_fits() {
        let whole = plan(u64::MAX, |_| {}).unwrap();
        assert_eq!(plan(whole.need.total(), |_| {}).unwrap(), whole);
        let less = plan(whole.need.total() - 1, |_| {}).unwrap();
        assert_eq!((less.size.slots, less.size.tokens_per_slot), (8, 2048));
        let all = |config: &mut EngineConfig| config.force = true;
        assert_eq!(plan(0, all).unwrap(), whole, "asked to, it does not look");
    }

    #[test]
    fn what_was_asked_for_is_given_or_refused_with_the_sum() {
        let asked = |config: &mut EngineConfig| (config.slots, config.context) = (Some(16), Some(1024));
        let need = plan(u64::MAX, asked).unwrap().need.total();
        assert!(plan(need, asked).is_ok());
        let refused = plan(need - 1, asked).unwrap_err().to_string();
        let expected = "MiB for 16 x 1024 tokens of context";
        assert!(refused.starts_with("not enough memory: it needs ") && refused.contains(expected), "{refused}");
        for part in ["are free within the memory limit", "--slots or --ctx", "--kv-type q8_0", "--force"] {
            assert!(refused.contains(part), "{refused}");
        }
    }
}
