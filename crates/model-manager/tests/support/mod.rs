//! What the tests of this crate share.

pub(crate) mod child;

use std::time::Duration;

/// Longest wait for anything that should happen at once, on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Whether a process runs; a dead one that nobody has collected yet does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state stands after the name in brackets, which may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// `kill -9`
pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
