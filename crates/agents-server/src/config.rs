//! Section `[agents_server]`.

use std::path::PathBuf;
use std::time::Duration;

use remora_service::Listen;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Settings of the agents server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// The folder that holds the bundles. It may come and go while the server runs.
    pub root: PathBuf,
    /// How changes are noticed.
    pub watch: WatchMode,
    /// Time between two looks at the whole folder, in milliseconds. They happen in both modes: events get lost.
    pub poll_interval_ms: u64,
    /// What the folder may take up.
    pub limits: Limits,
}

/// How changes in the folder are noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchMode {
    /// By the file system's events, and by looking.
    #[default]
    Auto,
    /// By looking only: for folders whose file system gives no events (Windows folders in a container).
    Poll,
}

/// What the folder may take up. What is beyond a limit is not served, and the listing says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Files and directories that are looked at.
    pub entries: usize,
    /// Levels of directories.
    pub depth: usize,
    /// Files up to this size are held in memory, in bytes; larger ones are read from disk for every request.
    pub held_file_bytes: u64,
    /// Memory for all held files together, in bytes; the smallest files go first.
    pub held_total_bytes: u64,
    /// Largest bundle that is offered as an archive, in bytes before compression.
    pub archive_bytes: u64,
}

/// Settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("agents_server.{key}: {rule}")]
pub struct InvalidConfig {
    key: &'static str,
    rule: &'static str,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp(([127, 0, 0, 1], 8001).into()),
            root: PathBuf::from("agents"),
            watch: WatchMode::default(),
            poll_interval_ms: 1000,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 20_000,
            depth: 16,
            held_file_bytes: 8 << 20,
            held_total_bytes: 256 << 20,
            archive_bytes: 64 << 20,
        }
    }
}

impl Config {
    /// Whether the settings make sense. That `root` exists is not asked: it may appear later.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let rules = [
            (!self.root.as_os_str().is_empty(), "root", "name the folder that holds the bundles"),
            ((100..=60_000).contains(&self.poll_interval_ms), "poll_interval_ms", "use 100 to 60000"),
            (self.limits.entries > 0, "limits.entries", "use at least 1"),
            ((1..=64).contains(&self.limits.depth), "limits.depth", "use 1 to 64"),
            (self.limits.held_file_bytes <= 1 << 30, "limits.held_file_bytes", "use at most 1073741824 (1 GiB)"),
            (self.limits.archive_bytes <= 1 << 30, "limits.archive_bytes", "use at most 1073741824 (1 GiB)"),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, key, rule)) => Err(InvalidConfig { key, rule }),
            None => Ok(()),
        }
    }

    pub(crate) fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_nonsense_names_its_key() {
        Config::default().validate().unwrap();
        let config = Config { poll_interval_ms: 5, ..Config::default() };
        assert!(config.validate().unwrap_err().to_string().starts_with("agents_server.poll_interval_ms"));
    }
}
