//! Keys in settings: given directly, or in a file.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// A key that cannot be used.
#[derive(Debug, Error)]
pub enum InvalidSecret {
    /// Given twice.
    #[error("gateway: {0} has both api_key and api_key_file; keep one")]
    Twice(String),
    /// A file that cannot be read.
    #[error("gateway: cannot read the key of {of} in {}", path.display())]
    File {
        /// Whose key.
        of: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Something that no HTTP header can hold.
    #[error("gateway: the key of {0} is empty, or holds characters that an HTTP header cannot")]
    Unusable(String),
}

/// The key of something, without blanks around it; `None` where it has none.
pub(crate) fn secret(
    of: &str,
    key: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretString>, InvalidSecret> {
    let key = match (key, file) {
        (Some(_), Some(_)) => return Err(InvalidSecret::Twice(of.to_owned())),
        (Some(key), None) => key.clone(),
        (None, Some(path)) => {
            let failed = |source| InvalidSecret::File { of: of.to_owned(), path: path.to_owned(), source };
            std::fs::read_to_string(path).map(SecretString::from).map_err(failed)?
        }
        (None, None) => return Ok(None),
    };
    match key.expose_secret().trim() {
        "" => Err(InvalidSecret::Unusable(of.to_owned())),
        key => Ok(Some(key.into())),
    }
}
