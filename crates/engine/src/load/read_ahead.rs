//! Reads a model's files before llama.cpp maps them.
//!
//! llama.cpp maps a file as a whole and has the kernel fetch it at once: minutes, with a large model on a slow disk,
//! of which it tells nothing and which cannot be given up. Read in pieces before, the file is in the kernel's cache by
//! then, and how far it is can be told. Pieces that are there already are passed over.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::io::ReadWriteFlags;

use super::available::available;

/// What is read between two looks at whether it is there, and whether it is still wanted.
const PIECE: u64 = 8 << 20;

/// Reads files of these sizes; `told` hears which share is in, 0 to 1, and gives up by answering false. Trouble is left
/// for llama.cpp to find: what is not read here, it reads.
pub(crate) fn read_ahead<'a>(files: impl Iterator<Item = (&'a Path, u64)> + Clone, mut told: impl FnMut(f32) -> bool) {
    let total: u64 = files.clone().map(|(_, size)| size).sum();
    // What does not stay is read in vain.
    if available().is_some_and(|available| total > available.bytes) {
        return;
    }
    let mut before = 0;
    for (path, size) in files {
        let Ok(file) = File::open(path) else { return };
        let mut place = 0;
        while place < size {
            let length = PIECE.min(size - place);
            if !is_cached(&file, place) && read(&file, place, length).is_err() {
                return;
            }
            place += length;
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a share has two digits")]
            if !told(((before + place) as f64 / total as f64) as f32) {
                return;
            }
        }
        before += size;
    }
}

/// Whether a read there would not have to wait for the disk; false where the kernel does not say.
fn is_cached(file: &File, place: u64) -> bool {
    let mut byte = [0];
    rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], place, ReadWriteFlags::NOWAIT).is_ok()
}

fn read(file: &File, place: u64, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut place = place;
    let end = place + length;
    while place < end {
        match file.read_at(&mut buffer, place)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => place += read as u64,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_told_and_may_be_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&a, vec![1; 12 << 20]).unwrap();
        std::fs::write(&b, vec![1; 4 << 20]).unwrap();
        let files = [(a.as_path(), 12 << 20), (b.as_path(), 4 << 20)];
        let mut shares = Vec::new();
        read_ahead(files.into_iter(), |share| {
            shares.push(share);
            true
        });
        assert_eq!(shares, [0.5, 0.75, 1.0]);
        shares.clear();
        read_ahead(files.into_iter(), |share| {
            shares.push(share);
            false
        });
        assert_eq!(shares, [0.5]);
        assert!(read(&File::open(&b).unwrap(), 0, 4 << 20).is_ok());
        assert!(read(&File::open(&b).unwrap(), 0, 5 << 20).is_err());
    }
}
