//! The header of a GGUF file: its metadata, and where every tensor lies.
//!
//! llama.cpp reads these files in C++ and says little when one is broken; whoever wants to know what a model needs
//! before it is loaded would have to load it. This reads the header alone, within a few megabytes whatever the file
//! claims: every length is held against the size of the file before anything is put aside for it, and long arrays (the
//! vocabulary) are passed over and can be read one text at a time.
//!
//! The format: "GGUF", version, number of tensors and of keys; keys with typed values; name, dimensions (columns
//! first), type and place of every tensor; then, aligned, their numbers. All little-endian. Versions 2 and 3, which are
//! the same but for byte orders that nobody uses.

mod error;
mod header;
mod shape;
mod source;
mod tensor;
mod value;

pub use error::GgufError;
pub use header::{Header, read};
pub use shape::Shape;
pub use tensor::{Tensor, TensorType};
pub use value::{Array, Value, ValueType};

/// What every file begins with.
pub const MAGIC: &[u8; 4] = b"GGUF";

/// How tensors are aligned in a file that does not say it.
pub const ALIGNMENT: u64 = 32;
