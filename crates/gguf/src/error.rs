//! What can be wrong with a file.

use std::io;

/// Why a header was not read.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The operating system did not give the bytes.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
    /// It is another kind of file.
    #[error("it does not begin with 'GGUF'")]
    NotGguf,
    /// A version that is not known here.
    #[error("GGUF version {0} is not known here, only 2 and 3")]
    Version(u32),
    /// It was written for a machine with the other byte order.
    #[error("it was written for a big-endian machine")]
    BigEndian,
    /// The header ends with the file.
    #[error("the file is cut short: it ends after {size} bytes, within {within}; download it again")]
    HeaderCut {
        /// Size of the file.
        size: u64,
        /// What was being read.
        within: String,
    },
    /// A tensor ends behind the file's end.
    #[error("the file is cut short: tensor {name} ends at byte {end}, the file has {size}; download it again")]
    TensorCut {
        /// The tensor.
        name: String,
        /// Where it ends.
        end: u64,
        /// Size of the file.
        size: u64,
    },
    /// A key that is no key, or a value that cannot be one.
    #[error("key {key}: {reason}")]
    Key {
        /// The key; its number, where it has no name.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that cannot be one.
    #[error("tensor {name}: {reason}")]
    Tensor {
        /// The tensor; its number, where it has no name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A count beyond any model.
    #[error("it claims {count} {what}, more than any model has")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many it says there are.
        count: u64,
    },
}

impl GgufError {
    pub(crate) fn key(key: &str, reason: impl Into<String>) -> Self {
        Self::Key { key: shown(key), reason: reason.into() }
    }

    pub(crate) fn tensor(name: &str, reason: impl Into<String>) -> Self {
        Self::Tensor { name: shown(name), reason: reason.into() }
    }
}

/// A name from a file, fit for a message.
pub(crate) fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    if name.chars().nth(64).is_some() {
        text.push('…');
    }
    text
}
