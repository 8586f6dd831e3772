//! The key that servers are shown.
//!
//! It comes from the environment or a file, never from the command line, which every user of the machine can read.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;
use secrecy::SecretString;

use crate::failure::{Exit, Failure};

/// The environment variable that holds it.
pub(crate) const VARIABLE: &str = "REMORA_KEY";

/// What every key begins with.
const PREFIX: &str = "rmr_";

/// The key in the file, where one is named, else the one in the variable.
pub(crate) fn load(file: Option<&Path>, variable: Option<OsString>) -> anyhow::Result<Option<SecretString>> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| Failure::new(Exit::Usage, format!("cannot read {}", path.display())))?;
        return Ok(Some(check(&text, &path.display().to_string())?));
    }
    // Set to nothing is not set, as with every other variable.
    let variable = variable.filter(|text| !text.is_empty());
    Ok(variable.map(|text| check(&text.to_string_lossy(), VARIABLE)).transpose()?)
}

/// Takes what has the form of a key; only a server knows whether it is one. The text itself is never quoted.
fn check(text: &str, place: &str) -> Result<SecretString, Failure> {
    let key = text.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match key.strip_prefix(PREFIX) {
        Some(rest) if !rest.is_empty() && rest.chars().all(legal) => Ok(key.into()),
        _ => {
            let failure = Failure::new(Exit::Usage, format!("{place} does not hold a key of Remora"));
            Err(failure.hint("a key is one word that begins with rmr_; `remora key create` makes one"))
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn loaded(file: Option<&Path>, variable: &str) -> Result<Option<String>, String> {
        let key = load(file, Some(variable.into())).map_err(|error| error.to_string())?;
        Ok(key.map(|key| key.expose_secret().to_owned()))
    }

    #[test]
    fn a_file_comes_before_the_variable_and_nothing_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "rmr_0a1b_22\n").unwrap();
        assert_eq!(loaded(Some(&path), "rmr_other"), Ok(Some("rmr_0a1b_22".into())));
        assert_eq!(loaded(None, " rmr_other "), Ok(Some("rmr_other".into())));
        assert_eq!(loaded(None, ""), Ok(None));
        assert_eq!(load(None, None).unwrap().map(|_| ()), None);
    }

    #[test]
    fn what_is_no_key_is_told_without_being_repeated() {
        for wrong in ["sk-secret", "rmr_", "rmr_two words", "rmr_a\nrmr_b", "Bearer rmr_x", "rmr_ä"] {
            assert_eq!(loaded(None, wrong), Err("REMORA_KEY does not hold a key of Remora".into()), "{wrong}");
        }
        let gone = loaded(Some(Path::new("/no/such/key")), "rmr_other");
        assert_eq!(gone, Err("cannot read /no/such/key".into()));
    }
}
