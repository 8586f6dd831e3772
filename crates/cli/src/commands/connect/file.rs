//! Another program's settings file: read, shown as it would change, and replaced as a whole.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use similar::TextDiff;
use tempfile::NamedTempFile;

use crate::failure::{Exit, Failure};

/// Larger than any settings, in bytes.
const LARGEST: u64 = 4 << 20;

/// Unchanged lines shown around a change.
const AROUND: usize = 2;

/// A settings file as it was found.
#[derive(Debug)]
pub(super) struct SettingsFile {
    /// Behind links: people keep such files in a repository and link to them.
    path: PathBuf,
    /// `None` where there is no file yet.
    text: Option<String>,
}

impl SettingsFile {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let path = match fs::canonicalize(path) {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let text = read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path, text })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its text; empty where there is no file.
    pub(super) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// The change as a unified diff.
    pub(super) fn diff(&self, new: &str) -> String {
        let name = self.path.display().to_string();
        let old = if self.text.is_some() { name.as_str() } else { "/dev/null" };
        TextDiff::from_lines(self.text(), new).unified_diff().context_radius(AROUND).header(old, &name).to_string()
    }

    /// Puts the new text in the old one's place, which goes into a `.bak` beside it; returns that one's path. A reader
    /// sees the old file or the new one. Fails where somebody else has changed it since it was read.
    pub(super) fn write(&self, new: &str) -> anyhow::Result<Option<PathBuf>> {
        let folder = self.path.parent().context("a settings file lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        if read(&self.path)? != self.text {
            let failure = Failure::new(Exit::Failure, format!("{} has changed meanwhile", self.path.display()));
            return Err(failure.hint("nothing was written; run this again").into());
        }
        // What is new may come to hold a key.
        let mode = self.path.metadata().map_or_else(|_| Permissions::from_mode(0o600), |found| found.permissions());
        let mut backup = None;
        if let Some(old) = &self.text {
            let mut name = OsString::from(&self.path);
            name.push(".bak");
            let path = PathBuf::from(name);
            replace(&path, old, &mode).with_context(|| format!("cannot write {}", path.display()))?;
            backup = Some(path);
        }
        replace(&self.path, new, &mode).with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(backup)
    }
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Ok(found) if !found.is_file() => anyhow::bail!("it is not a file"),
        Ok(found) if found.len() > LARGEST => anyhow::bail!("{} bytes are no settings", found.len()),
        _ => {}
    }
    let bytes = fs::read(path)?;
    Ok(Some(String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("it is not UTF-8"))?))
}

fn replace(path: &Path, text: &str, mode: &Permissions) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(mode.clone())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_old_file_is_kept_beside_the_new_one_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        fs::write(&path, "old\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let backup = SettingsFile::read(&path).unwrap().write("new\n").unwrap().unwrap();
        assert_eq!(backup, fs::canonicalize(folder.path()).unwrap().join("settings.json.bak"));
        assert_eq!(
            (fs::read_to_string(&path).unwrap(), fs::read_to_string(&backup).unwrap()),
            ("new\n".into(), "old\n".into())
        );
        assert_eq!((mode(&path), mode(&backup)), (0o640, 0o640));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_new_file_is_its_owners_alone_and_needs_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/settings.json");
        let file = SettingsFile::read(&path).unwrap();
        assert_eq!(file.text(), "");
        assert!(file.diff("new\n").starts_with("--- /dev/null\n"));
        assert_eq!(file.write("new\n").unwrap(), None);
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.json"), folder.path().join("link.json"));
        fs::write(&real, "old\n").unwrap();
        symlink(&real, &link).unwrap();
        SettingsFile::read(&link).unwrap().write("new\n").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "new\n");
    }

    #[test]
    fn what_somebody_else_changed_meanwhile_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        fs::write(&path, "old\n").unwrap();
        let file = SettingsFile::read(&path).unwrap();
        fs::write(&path, "theirs\n").unwrap();
        assert!(file.write("new\n").unwrap_err().to_string().contains("changed meanwhile"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs\n");
        assert!(SettingsFile::read(folder.path()).is_err(), "a folder is no file");
    }
}
