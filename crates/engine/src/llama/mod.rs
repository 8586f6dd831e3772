//! llama.cpp, made safe: the only place with `unsafe`.
//!
//! The crate `llama-cpp-2` is safe on paper, yet several of its calls abort the process when given a number out of
//! range (a batch that is too long, a sequence that does not exist, a token that is not in the vocabulary). Nothing
//! outside this folder can pass such a number: [`Context`] checks what it is given, and [`Vocabulary`] answers for
//! tokens from a table it read once.

mod adapter;
mod checks;
mod context;
mod embedder;
mod file;
mod log;
mod model;
mod vocabulary;

pub(crate) use adapter::AdapterLoadError;
pub use context::KvType;
pub(crate) use context::{
    AdapterId, CONTEXT_STEP, Computing, Context, ContextError, ContextSize, MAX_SLOTS, MICRO_BATCH, Row,
};
pub(crate) use embedder::{Embedder, EmbeddingKind};
pub(crate) use file::ModelFile;
pub(crate) use model::{LoadError, Model};
pub(crate) use vocabulary::{ControlTexts, Token, Vocabulary};
