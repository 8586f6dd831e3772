//! Keys, for callers that the tailnet does not vouch for: a plain network, CI, a colleague's script.
//!
//! A key is `rmr_ID_SECRET` with 256 random bits, kept as its SHA-256. A slow hash (argon2id) protects passwords, which
//! people choose and reuse; nobody guesses 256 bits, and a hash that takes milliseconds would be a cheap way to keep the
//! gateway busy.
//!
//! They live in one SQLite file that the gateway alone writes ([`KeyStore`]) and every service reads ([`KeyTable`]). It
//! keeps SQLite's rollback journal: readers of a WAL need to write beside it, and theirs is a read-only volume.

mod allowance;
pub(crate) mod last_use;
mod store;
mod table;

use sha2::{Digest, Sha256};
use sqlx::FromRow;

pub use allowance::Allowance;
pub use store::{KeyStore, KeyStoreError};
pub(crate) use table::KeyTable;

/// What every key begins with. Other bearer tokens (editors insist on some) are none of our business.
pub(crate) const PREFIX: &str = "rmr_";

/// Length of an id, in hexadecimal digits.
const ID_LENGTH: usize = 8;

/// A row of the file.
#[derive(Debug, Clone, FromRow)]
struct KeyRow {
    id: String,
    name: String,
    role: String,
    hash: Vec<u8>,
    models: Option<String>,
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u32>,
    created_at: String,
    created_by: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
}

/// The id and the hash of a key as it was sent; `None` for what is not even the form of one.
fn read(key: &str) -> Option<(&str, [u8; 32])> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let plain = id.len() == ID_LENGTH && secret.len() == 64;
    plain.then(|| (id, hash(secret)))
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}
