//! Reading files so that bytes and hash are of one piece.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use jiff::Timestamp;
use remora_types::agents::Sha256;
use sha2::Digest;

use super::disk::{BLOCK, OnDisk};
use super::walk::Found;
use crate::bundle::sha256;

/// How long ago a file must have changed for its times to tell the next change: file systems round to up to 2 s.
const SETTLED_AFTER_NS: i128 = 2_500_000_000;

/// Times this far in the future come from a wrong clock and tell nothing.
const CLOCK_SKEW_NS: i128 = 60_000_000_000;

/// What the file system says about a file; any change of its bytes changes some of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    pub(super) size: u64,
    modified_ns: i128,
    /// Also set by what keeps the modification time (`cp -p`), so it is the surer sign.
    changed_ns: i128,
    mode: u32,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            mode: metadata.mode(),
        }
    }

    /// Whether another write at this moment would be seen in the times: if not, the file is read again next time.
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let age = i128::try_from(now).unwrap_or(i128::MAX) - self.changed_ns.max(self.modified_ns);
        !(-CLOCK_SKEW_NS..SETTLED_AFTER_NS).contains(&age)
    }
}

/// A file as it was when it was read.
#[derive(Debug)]
pub(super) struct StoredFile {
    identity: Identity,
    pub(super) sha256: Sha256,
    pub(super) content: Stored,
    /// Whether it begins like a program.
    looks_executable: bool,
}

/// Where a file's bytes are.
#[derive(Debug)]
pub(super) enum Stored {
    Held(Bytes),
    OnDisk(OnDisk),
}

impl StoredFile {
    pub(super) fn size(&self) -> u64 {
        match &self.content {
            Stored::Held(bytes) => bytes.len() as u64,
            Stored::OnDisk(on_disk) => on_disk.len(),
        }
    }

    pub(super) fn held(&self) -> Option<&Bytes> {
        match &self.content {
            Stored::Held(bytes) => Some(bytes),
            Stored::OnDisk(_) => None,
        }
    }

    /// Whether it can be run, by its permissions or by its first bytes.
    pub(super) fn executable(&self) -> bool {
        self.marked_executable() || self.looks_executable
    }

    /// Whether only its permissions, and not its content, say that it can be run.
    pub(super) fn oddly_executable(&self) -> bool {
        self.marked_executable() && !self.looks_executable
    }

    fn marked_executable(&self) -> bool {
        self.identity.mode & 0o100 != 0
    }

    /// When it was last modified; the epoch where that is out of any calendar.
    pub(super) fn modified(&self) -> Timestamp {
        Timestamp::from_nanosecond(self.identity.modified_ns).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Whether a file found now is the one read then.
    pub(super) fn is(&self, found: &Identity) -> bool {
        self.identity == *found
    }

    /// Whether nothing that is served differs.
    pub(super) fn serves_as(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
            && self.identity == other.identity
            && self.held().is_some() == other.held().is_some()
    }
}

/// Reads and hashes a file: into memory where `hold` says so and it is still no larger than that, else block by block.
/// Also says whether its times can be trusted to show the next change.
pub(super) fn read(root: &Path, found: &Found, hold: Option<u64>) -> io::Result<(StoredFile, bool)> {
    let mut file = open(root, &found.location)?;
    // Taken before the bytes: a write while we read then shows as a difference next time.
    let identity = Identity::of(&file.metadata()?);
    if let Some(limit) = hold.filter(|limit| identity.size <= *limit) {
        let mut bytes = Vec::with_capacity(usize::try_from(identity.size).unwrap_or_default());
        (&mut file).take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= limit {
            let looks_executable = looks_executable(&bytes);
            let stored =
                StoredFile { identity, sha256: sha256(&bytes), content: Stored::Held(bytes.into()), looks_executable };
            return Ok((stored, identity.is_settled()));
        }
        // It has grown past the limit while we read it.
        file = open(root, &found.location)?;
    }
    let mut whole = sha2::Sha256::new();
    let (mut blocks, mut length, mut first) = (Vec::new(), 0, Vec::new());
    let mut block = Vec::with_capacity(BLOCK);
    loop {
        block.clear();
        (&mut file).take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            break;
        }
        if blocks.is_empty() {
            first = block[..block.len().min(8)].to_vec();
        }
        whole.update(&block);
        blocks.push(sha256(&block));
        length += block.len() as u64;
        if block.len() < BLOCK {
            break;
        }
    }
    let on_disk = OnDisk::new(root, &found.location, length, blocks);
    let stored = StoredFile {
        identity,
        sha256: Sha256(whole.finalize().into()),
        content: Stored::OnDisk(on_disk),
        looks_executable: looks_executable(&first),
    };
    Ok((stored, identity.is_settled()))
}

/// Scripts and programs, by their first bytes: `#!`, ELF, Mach-O.
fn looks_executable(bytes: &[u8]) -> bool {
    [&b"#!"[..], b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"].iter().any(|magic| bytes.starts_with(magic))
}

/// Opens a regular file below the root without following a single link: between the walk and now, any part of the path
/// may have become one. `location` is relative to the root.
#[cfg(target_os = "linux")]
pub(super) fn open(root: &Path, location: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    use rustix::io::Errno;

    let folder = File::open(root)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&folder, location, flags, Mode::empty(), resolve) {
        Ok(descriptor) => regular(File::from(descriptor)),
        // Kernels before 5.6, and containers whose seccomp profile does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_checked(root, location),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn open(root: &Path, location: &Path) -> io::Result<File> {
    open_checked(root, location)
}

/// The next best thing: the path is checked to be free of links, then opened.
fn open_checked(root: &Path, location: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};

    let path = root.join(location);
    if path.canonicalize()? != path {
        return Err(io::Error::other("a part of its path has become a link"));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    regular(File::from(rustix::fs::open(&path, flags, Mode::empty())?))
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file any more")) }
}
