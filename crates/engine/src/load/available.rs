//! How much memory there is to be had.
//!
//! The kernel's own estimate for the machine (`MemAvailable`), or what is left of the container's limit, whichever is
//! less. What is only a cache of files counts as free, as it does in the kernel's estimate: a model that was read
//! before is in there, and is mapped rather than copied.

use std::fs;
use std::path::{Path, PathBuf};

/// Memory that can still be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Available {
    pub(crate) bytes: u64,
    /// Whether a limit of a container or service is what bounds it, not the machine.
    pub(crate) by_limit: bool,
}

/// What this process can still take; none where the kernel does not say.
pub(crate) fn available() -> Option<Available> {
    available_in(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
}

fn available_in(proc: &Path, cgroups: &Path) -> Option<Available> {
    let machine = field(&fs::read_to_string(proc.join("meminfo")).ok()?, "MemAvailable:")?.saturating_mul(1024);
    let own = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
    let limits = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        // Version 2 has one tree and names no controllers.
        let (root, version) = match controllers {
            "" => (cgroups.to_owned(), V2),
            _ if controllers.split(',').any(|name| name == "memory") => (cgroups.join("memory"), V1),
            _ => return None,
        };
        groups(&root, path).into_iter().filter_map(|group| left_in(&group, version)).min()
    });
    match limits.min() {
        Some(limit) if limit < machine => Some(Available { bytes: limit, by_limit: true }),
        _ => Some(Available { bytes: machine, by_limit: false }),
    }
}

/// Names of a group's files.
#[derive(Clone, Copy)]
struct Version {
    limit: &'static str,
    used: &'static str,
    cached: [&'static str; 2],
}

const V2: Version = Version { limit: "memory.max", used: "memory.current", cached: ["inactive_file", "active_file"] };
const V1: Version = Version {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: ["total_inactive_file", "total_active_file"],
};

/// A group and those above it. Inside a container the path may be one of the host's that is not there, and the
/// container's own group is the root.
fn groups(root: &Path, path: &str) -> Vec<PathBuf> {
    root.join(path).ancestors().take_while(|group| group.starts_with(root)).map(Path::to_owned).collect()
}

/// What is left of a group's limit; none where it has no limit.
fn left_in(group: &Path, version: Version) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    // Without a limit, version 2 says "max" and version 1 a number beyond any machine.
    let limit = number(version.limit)?;
    let used = number(version.used)?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cached = version.cached.iter().filter_map(|name| field(&stat, name)).fold(0, u64::saturating_add);
    Some(limit.saturating_sub(used.saturating_sub(cached)))
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| if words.next()? == name { words.next()?.parse().ok() } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(cgroup: &str, files: &[(&str, &str)]) -> Option<Available> {
        let root = tempfile::tempdir().unwrap();
        let (proc, cgroups) = (root.path().join("proc"), root.path().join("cgroup"));
        fs::create_dir_all(proc.join("self")).unwrap();
        fs::write(proc.join("meminfo"), "MemTotal:  100 kB\nMemAvailable:  64 kB\n").unwrap();
        fs::write(proc.join("self/cgroup"), cgroup).unwrap();
        for (path, content) in files {
            let path = cgroups.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        available_in(&proc, &cgroups)
    }

    const MACHINE: Option<Available> = Some(Available { bytes: 65536, by_limit: false });

    #[test]
    fn without_a_limit_it_is_the_machine_s() {
        assert_eq!(machine("", &[]), MACHINE);
        assert_eq!(machine("0::/\n", &[("memory.max", "max\n"), ("memory.current", "5000\n")]), MACHINE);
        let v1 = "4:memory:/docker/x\n1:name=systemd:/\n";
        let none = [("memory/memory.limit_in_bytes", "9223372036854771712"), ("memory/memory.usage_in_bytes", "1")];
        assert_eq!(machine(v1, &none), MACHINE);
    }

    #[test]
    fn the_tightest_group_counts_and_its_cache_is_free() {
        let files = [
            ("a/b/memory.max", "max"),
            ("a/memory.max", "10000"),
            ("a/memory.current", "7000"),
            ("a/memory.stat", "anon 1\nactive_file 500\ninactive_file 1500\n"),
        ];
        assert_eq!(machine("0::/a/b\n", &files), Some(Available { bytes: 5000, by_limit: true }));
        let v1 = [
            ("memory/memory.limit_in_bytes", "10000\n"),
            ("memory/memory.usage_in_bytes", "9000\n"),
            ("memory/memory.stat", "total_inactive_file 1000\n"),
        ];
        let limited = Some(Available { bytes: 2000, by_limit: true });
        assert_eq!(machine("5:cpu,memory:/of/the/host\n", &v1), limited);
    }

    #[test]
    fn this_machine_says_something() {
        assert!(available().unwrap().bytes > 0);
    }
}
