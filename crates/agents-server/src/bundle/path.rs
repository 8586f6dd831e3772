//! Paths that a `bundle.yaml` names.

use thiserror::Error;

/// A path that leads out of its bundle, or is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it leads outside of the bundle")]
pub struct Outside;

/// A path relative to the bundle's folder with `.` and `..` resolved, without leaving the folder on the way.
///
/// Refuses absolute paths, backslashes, drive letters, NUL, dotfiles and the empty path.
pub fn inside(path: &str) -> Result<String, Outside> {
    if path.starts_with('/') || path.contains(['\\', '\0', ':']) {
        return Err(Outside);
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop().ok_or(Outside)?),
            hidden if hidden.starts_with('.') => return Err(Outside),
            plain => segments.push(plain),
        }
    }
    if segments.is_empty() { Err(Outside) } else { Ok(segments.join("/")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(inside("./tools//a/../x.pym").unwrap(), "tools/x.pym");
        for bad in ["", ".", "..", "../x", "a/../../x", "/etc/passwd", "a\\b", "C:/x", ".git/config", "tools/.x", "a\0"]
        {
            assert_eq!(inside(bad), Err(Outside), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_plain(path in "[a./\\\\~:\\x00]{0,12}") {
            if let Ok(plain) = inside(&path) {
                prop_assert!(plain.split('/').all(|s| !s.is_empty() && !s.starts_with('.')));
                prop_assert!(!plain.contains(['\\', '\0']));
            }
        }
    }
}
