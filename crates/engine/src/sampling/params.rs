//! What a request says about choosing tokens, checked in vLLM's words.

use std::fmt;

use remora_protocol::openai::SamplingFields;

use crate::llama::{Model, Token, Vocabulary};

/// Below this, temperature means greedy.
const GREEDY: f32 = 1e-5;
/// Lower temperatures than this overflow; vLLM raises them to it too.
const LEAST_TEMPERATURE: f32 = 1e-2;

/// How tokens are chosen; checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SamplingParams {
    /// 0 takes the likeliest token.
    pub(crate) temperature: f32,
    /// 0 keeps all.
    pub(crate) top_k: usize,
    /// 1 keeps all.
    pub(crate) top_p: f32,
    /// 0 keeps all.
    pub(crate) min_p: f32,
    pub(crate) presence: f32,
    pub(crate) frequency: f32,
    /// 1 changes nothing.
    pub(crate) repetition: f32,
    pub(crate) bias: Vec<(Token, f32)>,
    pub(crate) allowed: Option<Vec<Token>>,
    /// None draws differently each time.
    pub(crate) seed: Option<u64>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            presence: 0.0,
            frequency: 0.0,
            repetition: 1.0,
            bias: Vec::new(),
            allowed: None,
            seed: None,
        }
    }
}

/// What the model's author recommends; a request goes before it, vLLM's defaults after.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct SamplingDefaults {
    temperature: Option<f64>,
    top_k: Option<i64>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    repetition: Option<f64>,
}

impl SamplingDefaults {
    /// Reads the file's recommendation, the counterpart of `generation_config.json`.
    pub(crate) fn read(model: &Model) -> Self {
        Self {
            temperature: model.metadata("general.sampling.temp"),
            top_k: model.metadata("general.sampling.top_k"),
            top_p: model.metadata("general.sampling.top_p"),
            min_p: model.metadata("general.sampling.min_p"),
            repetition: model.metadata("general.sampling.penalty_repeat"),
        }
    }
}

/// A value that is out of its range, or does not go with another. Displays as vLLM's message, field and value behind it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", self.behind())]
pub(crate) struct InvalidParams {
    /// vLLM's words.
    pub(crate) message: String,
    /// The field, where vLLM names it.
    pub(crate) param: Option<&'static str>,
    /// The value, where vLLM repeats it.
    pub(crate) value: Option<String>,
}

impl InvalidParams {
    /// A fault of this field, or of one that vLLM does not name.
    pub(crate) fn new(param: impl Into<Option<&'static str>>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: param.into(), value: None }
    }

    /// Repeats the value.
    pub(crate) fn with_value(self, value: impl fmt::Debug) -> Self {
        Self { value: Some(format!("{value:?}")), ..self }
    }

    fn behind(&self) -> String {
        match (self.param, &self.value) {
            (None, _) => String::new(),
            (Some(param), None) => format!(" (parameter={param})"),
            (Some(param), Some(value)) => format!(" (parameter={param}, value={value})"),
        }
    }
}

impl SamplingParams {
    /// Checks what a request says.
    #[expect(clippy::cast_possible_truncation, reason = "ranges are checked, and llama.cpp computes in f32")]
    pub(crate) fn new(
        fields: &SamplingFields,
        defaults: &SamplingDefaults,
        vocabulary: &Vocabulary,
    ) -> Result<Self, InvalidParams> {
        let presence = fields.presence_penalty.unwrap_or(0.0);
        let frequency = fields.frequency_penalty.unwrap_or(0.0);
        let repetition = fields.repetition_penalty.or(defaults.repetition).unwrap_or(1.0);
        let temperature = fields.temperature.or(defaults.temperature).unwrap_or(1.0);
        let top_p = fields.top_p.or(defaults.top_p).unwrap_or(1.0);
        let top_k = fields.top_k.or(defaults.top_k).unwrap_or(0);
        let min_p = fields.min_p.or(defaults.min_p).unwrap_or(0.0);
        let check = |holds: bool, message: String| if holds { Ok(()) } else { Err(InvalidParams::new(None, message)) };
        let check_named = |holds: bool, param: &'static str, value: f64, message: String| {
            if holds { Ok(()) } else { Err(InvalidParams::new(param, message).with_value(value)) }
        };
        let penalty = -2.0..=2.0;
        check(penalty.contains(&presence), format!("presence_penalty must be in [-2, 2], got {presence:?}."))?;
        check(penalty.contains(&frequency), format!("frequency_penalty must be in [-2, 2], got {frequency:?}."))?;
        check(repetition > 0.0, format!("repetition_penalty must be greater than zero, got {repetition:?}."))?;
        let warm = format!("temperature must be non-negative, got {temperature:?}.");
        check_named(temperature >= 0.0, "temperature", temperature, warm)?;
        let cool = format!("temperature must be in [0, 2], got {temperature:?}.");
        check_named(temperature <= 2.0, "temperature", temperature, cool)?;
        let share = format!("top_p must be in (0, 1], got {top_p:?}.");
        check_named(top_p > 0.0 && top_p <= 1.0, "top_p", top_p, share)?;
        check(top_k >= -1, format!("top_k must be 0 (disable), or at least 1, got {top_k}."))?;
        check((0.0..=1.0).contains(&min_p), format!("min_p must be in [0, 1], got {min_p:?}."))?;
        let temperature = match temperature as f32 {
            low if low < GREEDY => 0.0,
            low => low.max(LEAST_TEMPERATURE),
        };
        Ok(Self {
            temperature,
            top_k: usize::try_from(top_k).unwrap_or(0),
            // A value just above zero must not become zero.
            top_p: (top_p as f32).max(f32::MIN_POSITIVE),
            min_p: min_p as f32,
            presence: presence as f32,
            frequency: frequency as f32,
            repetition: (repetition as f32).clamp(f32::MIN_POSITIVE, f32::MAX),
            bias: bias(fields, vocabulary)?,
            allowed: allowed(fields, vocabulary)?,
            // vLLM reads -1 as no seed.
            seed: fields.seed.filter(|&seed| seed != -1).map(i64::cast_unsigned),
        })
    }

    /// Whether the likeliest token is always taken.
    pub(crate) fn is_greedy(&self) -> bool {
        self.temperature < GREEDY
    }

    /// Whether tokens of prompt and answer cost.
    #[expect(clippy::float_cmp, reason = "exactly 1 is the default")]
    pub(super) fn repeats_cost(&self) -> bool {
        self.repetition != 1.0
    }

    /// Whether it matters which tokens were generated.
    pub(super) fn counts_tokens(&self) -> bool {
        self.repeats_cost() || self.presence != 0.0 || self.frequency != 0.0
    }

    /// Whether scores are changed at all.
    pub(super) fn adjusts(&self) -> bool {
        self.counts_tokens() || !self.bias.is_empty() || self.allowed.is_some()
    }
}

fn bias(fields: &SamplingFields, vocabulary: &Vocabulary) -> Result<Vec<(Token, f32)>, InvalidParams> {
    let Some(given) = &fields.logit_bias else { return Ok(Vec::new()) };
    let mut bias = Vec::with_capacity(given.len());
    let mut unknown = Vec::new();
    for (key, &value) in given {
        let id = key.trim().parse::<i64>().map_err(|_| {
            let message =
                format!("logit_bias contains key(s) that cannot be converted to integer token IDs: ['{key}']");
            InvalidParams { value: Some(format!("['{key}']")), ..InvalidParams::new("logit_bias", message) }
        })?;
        #[expect(clippy::cast_possible_truncation, reason = "cut to a small range first")]
        match vocabulary.check(id) {
            Some(token) => bias.push((token, value.clamp(-100.0, 100.0) as f32)),
            None => unknown.push(id),
        }
    }
    if unknown.is_empty() { Ok(bias) } else { Err(out_of_vocabulary("logit_bias", &unknown, vocabulary)) }
}

fn allowed(fields: &SamplingFields, vocabulary: &Vocabulary) -> Result<Option<Vec<Token>>, InvalidParams> {
    let Some(given) = &fields.allowed_token_ids else { return Ok(None) };
    let refuse = |message: &str, ids: &[i64]| InvalidParams::new("allowed_token_ids", message).with_value(ids);
    if given.is_empty() {
        return Err(refuse("allowed_token_ids is not None and empty!", given));
    }
    let unknown: Vec<i64> = given.iter().copied().filter(|&id| vocabulary.check(id).is_none()).collect();
    if !unknown.is_empty() {
        return Err(refuse("allowed_token_ids contains out-of-vocab token id!", &unknown));
    }
    Ok(Some(given.iter().filter_map(|&id| vocabulary.check(id)).collect()))
}

/// Tokens that the model does not have.
pub(crate) fn out_of_vocabulary(param: &'static str, ids: &[i64], vocabulary: &Vocabulary) -> InvalidParams {
    let message =
        format!("token_id(s) {ids:?} in {param} contain out-of-vocab token ids. Vocabulary size: {}", vocabulary.len());
    InvalidParams::new(param, message).with_value(ids)
}
