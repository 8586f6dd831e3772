//! Reading within the bounds of a file.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use crate::GgufError;

/// A file whose size is known, read from the front.
pub(crate) struct Source<R> {
    reader: BufReader<R>,
    pub(crate) position: u64,
    pub(crate) size: u64,
}

impl<R: Read + Seek> Source<R> {
    /// A source that begins at a place of the file.
    pub(crate) fn new(mut file: R, position: u64) -> io::Result<Self> {
        let size = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(position))?;
        Ok(Self { reader: BufReader::with_capacity(64 << 10, file), position, size })
    }

    pub(crate) fn left(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    /// Refuses a length that the file does not have.
    pub(crate) fn claim(&self, length: u64, within: &str) -> Result<(), GgufError> {
        if length <= self.left() { Ok(()) } else { Err(self.cut(within)) }
    }

    pub(crate) fn cut(&self, within: &str) -> GgufError {
        GgufError::HeaderCut { size: self.size, within: within.to_owned() }
    }

    pub(crate) fn bytes<const N: usize>(&mut self, within: &str) -> Result<[u8; N], GgufError> {
        self.claim(N as u64, within)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes, within)?;
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self, within: &str) -> Result<u32, GgufError> {
        self.bytes(within).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, within: &str) -> Result<u64, GgufError> {
        self.bytes(within).map(u64::from_le_bytes)
    }

    /// So many bytes, which the caller has bounded.
    pub(crate) fn vec(&mut self, length: u64, within: &str) -> Result<Vec<u8>, GgufError> {
        self.claim(length, within)?;
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| self.cut(within))?];
        self.fill(&mut bytes, within)?;
        Ok(bytes)
    }

    pub(crate) fn skip(&mut self, length: u64, within: &str) -> Result<(), GgufError> {
        self.claim(length, within)?;
        let distance = i64::try_from(length).map_err(|_| self.cut(within))?;
        self.reader.seek_relative(distance)?;
        self.position += length;
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8], within: &str) -> Result<(), GgufError> {
        match self.reader.read_exact(bytes) {
            // The file has become shorter since.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.cut(within)),
            read => read?,
        }
        self.position += bytes.len() as u64;
        Ok(())
    }
}
