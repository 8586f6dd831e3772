//! The demo model, carried inside the program, so that `remora up` answers from any folder and without a download.

use std::io;
use std::path::{Path, PathBuf};

use remora_service::durable;

const NAME: &str = "remora-demo.gguf";
const BYTES: &[u8] = include_bytes!("../models/demo/remora-demo.gguf");

/// Puts the demo model into a folder, which is made where it is missing, and gives its path. A file that is the same
/// already is left alone; another one is replaced as a whole, so that an engine that has it open is not disturbed.
pub fn install(folder: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(NAME);
    if std::fs::read(&path).is_ok_and(|found| found == BYTES) {
        return Ok(path);
    }
    durable::write(&path, BYTES)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_copy_is_replaced_and_a_good_one_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = install(&folder.path().join("models")).unwrap();
        let first = std::fs::metadata(&path).unwrap().modified().unwrap();
        install(&folder.path().join("models")).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), first);
        std::fs::write(&path, "cut short").unwrap();
        install(&folder.path().join("models")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), BYTES);
    }
}
