//! Digests of files and of bundles.

use remora_types::agents::{BundleFile, Digest, Sha256};
use sha2::Digest as _;

/// The SHA-256 of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// A bundle's digest: SHA-256 over `path\0sha256\n` of every file, by path in byte order.
#[must_use]
pub fn digest(files: &[BundleFile]) -> Digest {
    let mut sorted: Vec<&BundleFile> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hash = sha2::Sha256::new();
    for file in sorted {
        hash.update(file.path.as_bytes());
        hash.update([0]);
        hash.update(file.sha256.to_string().as_bytes());
        hash.update(b"\n");
    }
    Digest(Sha256(hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_what_sha256sum_says() {
        let file = |path: &str, text: &[u8]| BundleFile {
            path: path.into(),
            size_bytes: text.len() as u64,
            sha256: sha256(text),
            executable: false,
        };
        let digest = digest(&[file("tools/b", b"B"), file("a", b"A")]);
        // printf 'a\0%s\ntools/b\0%s\n' "$(printf A | sha256sum | cut -c-64)" "$(printf B | sha256sum | cut -c-64)" | sha256sum
        let expected = "0a4af61ec0588f98660b4ea6c814b9c19fa672cc468ea9c357bcfd941bf5996d";
        assert_eq!(digest.0.to_string(), expected);
    }
}
