//! One scan of the folder: what is there, read where it is new.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use remora_types::agents::Finding;

use super::store::{self, StoredFile};
use super::walk::{self, Found};
use crate::config::Limits;

/// Every file that may be served, by path.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The folder, free of links; `None` where there is none.
    pub(super) root: Option<PathBuf>,
    pub(super) files: BTreeMap<String, Row>,
    /// What was found but is not served.
    pub(super) skipped: Vec<Finding>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) file: Arc<StoredFile>,
    /// Whether the file's times would show another write.
    settled: bool,
}

impl Table {
    /// Looks at every file below `root`, and reads those that `previous` does not know as they are now. Blocking.
    pub(super) fn scan(root: &Path, limits: Limits, previous: &Self) -> Self {
        let walk = walk::walk(root, limits);
        let mut table = Self { root: walk.root, files: BTreeMap::new(), skipped: walk.skipped };
        let Some(root) = table.root.clone() else { return table };
        let held = choose_held(&walk.files, limits);
        for found in walk.files {
            let hold = held.contains(&found.path).then_some(limits.held_file_bytes);
            let known = previous.files.get(&found.path);
            match row(&root, &found, hold, known) {
                Ok(row) => drop(table.files.insert(found.path, row)),
                // Gone again since the walk.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let message = format!("{} is not served: it cannot be read: {error}", found.path);
                    let finding = Finding { code: "unreadable".into(), message, path: Some(found.path), line: None };
                    table.skipped.push(finding);
                }
            }
        }
        table
    }

    /// Whether both tables serve the same.
    pub(super) fn serves_as(&self, other: &Self) -> bool {
        let same = |((a, x), (b, y)): ((&String, &Row), (&String, &Row))| a == b && Arc::ptr_eq(&x.file, &y.file);
        self.root == other.root
            && self.skipped == other.skipped
            && self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(same)
    }

    /// The rows whose paths begin like this, in byte order.
    pub(super) fn below(&self, prefix: &str) -> impl Iterator<Item = (&str, &Row)> {
        let rows = self.files.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        rows.map(|(path, row)| (path.as_str(), row)).take_while(move |(path, _)| path.starts_with(prefix))
    }
}

/// A file's row: the known one where nothing has changed, else read anew.
fn row(root: &Path, found: &Found, hold: Option<u64>, known: Option<&Row>) -> std::io::Result<Row> {
    let known = known.filter(|k| k.file.held().is_some() == hold.is_some());
    if let Some(row) = known.filter(|k| k.settled && k.file.is(&found.identity)) {
        return Ok(Row { file: row.file.clone(), settled: true });
    }
    let (read, settled) = store::read(root, found, hold)?;
    // The same file object for the same content, so that tables can be compared by pointer.
    let file = match known {
        Some(row) if row.file.serves_as(&read) => row.file.clone(),
        _ => Arc::new(read),
    };
    Ok(Row { file, settled })
}

/// The files that go into memory: the smallest first, as long as there is room.
fn choose_held(files: &[Found], limits: Limits) -> BTreeSet<String> {
    let mut candidates: Vec<&Found> = files.iter().filter(|f| f.identity.size <= limits.held_file_bytes).collect();
    candidates.sort_by(|a, b| (a.identity.size, &a.path).cmp(&(b.identity.size, &b.path)));
    let mut room = limits.held_total_bytes;
    let fits = candidates.into_iter().map_while(|found| {
        room = room.checked_sub(found.identity.size)?;
        Some(found.path.clone())
    });
    fits.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn paths(table: &Table) -> Vec<&str> {
        table.files.keys().map(String::as_str).collect()
    }

    fn scan(root: &Path, previous: &Table) -> Table {
        Table::scan(root, Limits::default(), previous)
    }

    #[test]
    fn links_are_followed_inside_and_nowhere_else() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("real/sub")).unwrap();
        fs::create_dir(root.join(".git")).unwrap();
        fs::write(root.join(".git/config"), "hidden").unwrap();
        fs::write(root.join("real/sub/a"), "a").unwrap();
        fs::write(root.join("back\\slash"), "x").unwrap();
        symlink("real/sub", root.join("inside")).unwrap();
        symlink(root.join("real/sub/a"), root.join("absolute")).unwrap();
        symlink(outside.path().join("secret"), root.join("file-out")).unwrap();
        symlink(outside.path(), root.join("dir-out")).unwrap();
        symlink("../../..", root.join("real/up")).unwrap();
        symlink("..", root.join("real/circle")).unwrap();
        symlink(".git/config", root.join("to-hidden")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let table = scan(root, &Table::default());
        assert_eq!(paths(&table), ["absolute", "inside/a", "real/sub/a"]);
        let told: Vec<&str> = table.skipped.iter().filter_map(|f| f.path.as_deref()).collect();
        assert_eq!(told, ["back\\slash", "dir-out", "file-out", "real/circle", "real/up", "to-hidden"]);
    }

    #[test]
    fn a_file_that_became_a_link_after_the_walk_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "inside").unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("f"), "secret").unwrap();
        let walk = walk::walk(&root, Limits::default());
        fs::rename(root.join("d"), root.join("old")).unwrap();
        symlink(outside.path(), root.join("d")).unwrap();
        assert!(store::read(&root, &walk.files[0], Some(100)).is_err());
    }

    #[test]
    fn what_is_unchanged_is_the_same_object_and_an_edit_that_hides_its_time_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "one").unwrap();
        let first = scan(folder.path(), &Table::default());
        let second = scan(folder.path(), &first);
        assert!(first.serves_as(&second));
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "two").unwrap();
        fs::File::open(&file).unwrap().set_modified(time).unwrap();
        let third = scan(folder.path(), &second);
        assert_eq!(third.files["f"].file.held().unwrap().as_ref(), b"two");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let fourth = scan(folder.path(), &third);
        assert!(fourth.files["f"].file.executable() && !fourth.serves_as(&third));
    }

    #[test]
    fn limits_hold() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(folder.path().join(name), [0; 10]).unwrap();
        }
        fs::write(folder.path().join("d"), [0; 5]).unwrap();
        fs::write(folder.path().join("e"), [0; 11]).unwrap();
        let limits = Limits { held_file_bytes: 10, held_total_bytes: 25, ..Limits::default() };
        let table = Table::scan(folder.path(), limits, &Table::default());
        let held: Vec<&str> =
            table.files.iter().filter(|(_, r)| r.file.held().is_some()).map(|(p, _)| p.as_str()).collect();
        assert_eq!(held, ["a", "b", "d"]);
        assert_eq!(table.files.len(), 5);

        let few = Table::scan(folder.path(), Limits { entries: 2, ..limits }, &Table::default());
        assert_eq!(paths(&few), ["a", "b"]);
        assert_eq!(few.skipped[0].code, "too_many_entries");
        fs::create_dir_all(folder.path().join("1/2/3")).unwrap();
        fs::write(folder.path().join("1/2/3/deep"), "").unwrap();
        let flat = Table::scan(folder.path(), Limits { depth: 2, ..limits }, &Table::default());
        assert!(flat.skipped.iter().any(|f| f.code == "too_deep"), "{:?}", flat.skipped);
    }
}
