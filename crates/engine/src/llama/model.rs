//! A model file, loaded.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use remora_gguf::GgufError;

use super::embedder::EmbeddingKind;
use super::file::ModelFile;
use super::log;
use super::vocabulary::{self, ControlTexts, Token, Vocabulary};
use crate::adapter::{BaseModel, MatrixSize};
use crate::load::NotEnough;

/// Texts up to this length are tokenized in one go.
const SPLIT_BYTES: usize = 16 << 10;

/// Why a file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("no model file at {}", .0.display())]
    Missing(PathBuf),
    #[error("cannot read the model file {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is a folder; give the GGUF file in it", .0.display())]
    Folder(PathBuf),
    #[error("{} is not a GGUF file: it does not begin with 'GGUF'", .0.display())]
    NotGguf(PathBuf),
    #[error("{} is not usable", path.display())]
    Broken {
        path: PathBuf,
        #[source]
        source: GgufError,
    },
    #[error("llama.cpp cannot load {}: {reason}", path.display())]
    Refused { path: PathBuf, reason: String },
    #[error("{} has no tokenizer, so it cannot answer text", .0.display())]
    NoTokenizer(PathBuf),
    #[error("{} writes no text from front to back, and makes no embeddings: such models are not served here", .0.display())]
    NotGenerative(PathBuf),
    #[error("{} is a reranker; those are not served here", .0.display())]
    Reranker(PathBuf),
    #[error("{} has a tokenizer that adds a token which it does not have", .0.display())]
    NoSpecialToken(PathBuf),
    #[error("no room for {slots} requests of {tokens} tokens each (--slots, --ctx): {reason}")]
    NoRoom { slots: u32, tokens: u32, reason: String },
    #[error(transparent)]
    NotEnough(#[from] NotEnough),
    #[error("loading was given up")]
    GivenUp,
    #[error("llama.cpp did not start")]
    Backend(#[source] llama_cpp_2::LlamaCppError),
}

/// A loaded model. Immutable: any thread may tokenize while the engine's thread decodes.
pub(crate) struct Model {
    inner: LlamaModel,
    vocabulary: Vocabulary,
    architecture: String,
    embedding: Option<EmbeddingKind>,
    /// What adapters can change, by llama.cpp's names. It does not tell them, so the file is read for them.
    matrices: HashMap<String, MatrixSize>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("tokens", &self.vocabulary.len()).finish_non_exhaustive()
    }
}

/// llama.cpp's global state; it can be set up once per process, and no model outlives it.
pub(super) fn backend() -> Result<&'static LlamaBackend, LoadError> {
    static BACKEND: OnceLock<LlamaBackend> = OnceLock::new();
    static SETUP: Mutex<()> = Mutex::new(());
    let _one_at_a_time = SETUP.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(backend) = BACKEND.get() {
        return Ok(backend);
    }
    let backend = LlamaBackend::init().map_err(LoadError::Backend)?;
    Ok(BACKEND.get_or_init(|| backend))
}

impl Model {
    /// Loads a file; `progress` hears how much of it is in, from 0 to 1, and may give up by answering false.
    pub(crate) fn load(
        file: &ModelFile,
        gpu_layers: u32,
        progress: impl FnMut(f32) -> bool + 'static,
    ) -> Result<Self, LoadError> {
        log::install();
        let embedding = file.embedding()?;
        let path = file.path().to_owned();
        let params = LlamaModelParams::default().with_n_gpu_layers(gpu_layers).with_progress_callback(progress);
        let backend = backend()?;
        log::start_recording();
        let inner = match LlamaModel::load_from_file(backend, &path, &params) {
            Ok(inner) => inner,
            Err(error) => {
                let reason = log::first_error().unwrap_or_else(|| error.to_string());
                return Err(LoadError::Refused { path, reason });
            }
        };
        // Tokenizing without a tokenizer aborts the process; so does adding a token that is not there.
        let metadata = |key: &str| inner.meta_val_str(key).ok();
        if matches!(metadata("tokenizer.ggml.model").as_deref(), None | Some("none" | "no_vocab")) {
            return Err(LoadError::NoTokenizer(path));
        }
        let vocab = inner.vocab();
        let added = [
            (vocab.should_add_bos(), vocab.bos()),
            (vocab.should_add_eos(), vocab.eos()),
            (vocab.should_add_sep(), vocab.sep()),
        ];
        if added.iter().any(|(added, token)| *added && token.0 < 0) {
            return Err(LoadError::NoSpecialToken(path));
        }
        let architecture = metadata("general.architecture").unwrap_or_default();
        let vocabulary = Vocabulary::read(&inner);
        Ok(Self { inner, vocabulary, architecture, embedding, matrices: file.matrices() })
    }

    /// What its adapters have to fit.
    pub(crate) fn as_base(&self) -> BaseModel<'_> {
        let count = |key: &str| self.metadata(&format!("{}.attention.{key}", self.architecture));
        let queries = count("head_count");
        let keys = count("head_count_kv").or(queries);
        BaseModel { architecture: &self.architecture, matrices: &self.matrices, heads: queries.zip(keys) }
    }

    /// How it makes embeddings; none for a model that generates.
    pub(crate) fn embedding(&self) -> Option<EmbeddingKind> {
        self.embedding
    }

    /// Its tokens.
    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Size of its weights.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.inner.size()
    }

    /// Number of its weights.
    pub(crate) fn parameters(&self) -> u64 {
        self.inner.n_params()
    }

    /// A value of the file's metadata, if it is there and reads as a `T`.
    pub(crate) fn metadata<T: FromStr>(&self, key: &str) -> Option<T> {
        self.inner.meta_val_str(key).ok()?.parse().ok()
    }

    /// The file's chat template, or the one of this name (`tool_use`).
    pub(crate) fn chat_template(&self, name: Option<&str>) -> Option<String> {
        self.inner.chat_template(name).ok()?.to_string().ok()
    }

    /// The tokens of a text; the texts of control tokens are read as such. With `add_special`, the tokenizer's own
    /// begin and end are added.
    pub(crate) fn tokenize(&self, text: &str, add_special: bool) -> Vec<Token> {
        let vocab = self.inner.vocab();
        // A tokenizer that ends a text of its own accord must see it whole.
        if text.len() <= SPLIT_BYTES || add_special && vocab.should_add_eos() {
            return vocabulary::from_llama(vocab.tokenize(text.as_bytes(), add_special, true));
        }
        let parts = split_at_controls(text, self.vocabulary.controls());
        let tokenize = |(index, part): (usize, &str)| vocab.tokenize(part.as_bytes(), add_special && index == 0, true);
        vocabulary::from_llama(parts.enumerate().flat_map(tokenize).collect())
    }

    /// The text of checked tokens, control tokens spelled out; U+FFFD where it is not whole characters.
    pub(crate) fn detokenize(&self, tokens: &[Token]) -> String {
        let tokens: Vec<_> = tokens.iter().copied().map(vocabulary::to_llama).collect();
        String::from_utf8_lossy(&self.inner.vocab().detokenize(&tokens, false, true)).into_owned()
    }

    /// How the vocabulary spells a checked token: `Ġhello`, `▁hello`.
    pub(crate) fn spelling(&self, token: Token) -> String {
        vocabulary::spelling(&self.inner.vocab(), token)
    }

    pub(super) fn inner(&self) -> &LlamaModel {
        &self.inner
    }
}

/// Splits a text before control tokens, into parts of at least [`SPLIT_BYTES`] where it has any. No other token reaches
/// over such a place, so the parts' tokens are the whole's. llama.cpp takes time that grows with the square of the number
/// of control tokens: twelve seconds for a megabyte of them.
fn split_at_controls<'a>(text: &'a str, controls: &'a ControlTexts) -> impl Iterator<Item = &'a str> {
    let mut cuts = controls.find(text).peekable();
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let begin = start?;
        while cuts.next_if(|&cut| cut < begin + SPLIT_BYTES).is_some() {}
        start = cuts.next();
        Some(&text[begin..start.unwrap_or(text.len())])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_split_before_control_tokens_only() {
        let controls = ControlTexts::new(std::iter::once(b"<|x|>".as_slice()));
        let plain = "word ".repeat(10_000);
        assert_eq!(split_at_controls(&plain, &controls).collect::<Vec<_>>(), [plain.as_str()]);
        let mixed = format!("{plain}<|x|>{plain}<|x|><|x|>é");
        let parts: Vec<&str> = split_at_controls(&mixed, &controls).collect();
        assert_eq!(parts.concat(), mixed);
        assert_eq!(parts.len(), 3);
        assert!(parts[1..].iter().all(|part| part.starts_with("<|x|>")));
    }
}
