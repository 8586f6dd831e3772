//! When keys were last used.
//!
//! The file with the keys has one writer, so each service keeps its own times, in the folder that it publishes its
//! credential in: its own to write, the others' to read. Whoever lists the keys takes the latest of all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::KeyTable;
use crate::durable;
use crate::lifecycle::Stop;

/// How often times are written.
const FLUSH: Duration = Duration::from_secs(30);

/// The file's name in each service's folder.
const FILE: &str = "last-use.json";

/// Times by key id.
type Times = BTreeMap<String, Timestamp>;

/// Writes down, twice a minute and at the end, which keys were used in this service; `folder` is its own.
pub(crate) async fn record(table: &KeyTable, folder: PathBuf, stop: Stop) {
    let path = folder.join(FILE);
    let mut times = read(&path);
    loop {
        let last = tokio::select! {
            () = tokio::time::sleep(FLUSH) => false,
            () = stop.closing() => true,
        };
        let (used, now) = (table.take_used(), Timestamp::now());
        if !used.is_empty() {
            times.extend(used.into_iter().map(|id| (id, now)));
            if let Err(error) = write(&path, &times) {
                tracing::warn!(%error, path = %path.display(), "cannot write down when keys were last used");
            }
        }
        if last {
            return;
        }
    }
}

/// The latest time of each key over every service; `published` holds a folder for each.
pub(crate) fn latest(published: &Path) -> Times {
    let folders = std::fs::read_dir(published).into_iter().flatten().flatten();
    let mut latest = Times::new();
    for (id, time) in folders.flat_map(|folder| read(&folder.path().join(FILE))) {
        let known = latest.entry(id).or_insert(time);
        *known = time.max(*known);
    }
    latest
}

fn read(path: &Path) -> Times {
    std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn write(path: &Path, times: &Times) -> std::io::Result<()> {
    durable::write(path, &serde_json::to_vec(times)?)?;
    // The gateway may run as another user.
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_every_service_counts() {
        let published = tempfile::tempdir().unwrap();
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let (early, late) = (time("2026-01-01T00:00:00Z"), time("2026-01-02T00:00:00Z"));
        for (service, times) in
            [("gateway", [("a", late), ("b", early)]), ("agents-server", [("a", early), ("c", late)])]
        {
            let folder = published.path().join(service);
            std::fs::create_dir(&folder).unwrap();
            write(&folder.join(FILE), &times.map(|(id, time)| (id.to_owned(), time)).into()).unwrap();
        }
        std::fs::create_dir(published.path().join("no-file")).unwrap();
        let expected = [("a", late), ("b", early), ("c", late)].map(|(id, time)| (id.to_owned(), time));
        assert_eq!(latest(published.path()), expected.into());
    }
}
