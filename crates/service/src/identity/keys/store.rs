//! The file with the keys, as its one writer sees it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rand::TryRng;
use remora_types::identity::{CreatedKey, KeyInfo, NewKey};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use thiserror::Error;

use super::{ID_LENGTH, KeyRow, KeyTable, PREFIX, hash, last_use};

/// A change of the keys that did not happen.
#[derive(Debug, Error)]
pub enum KeyStoreError {
    /// A living key has this name already.
    #[error("there is a key named {0} already; revoke it first, or choose another name")]
    NameTaken(String),
    /// No key has this name or id.
    #[error("there is no key {0}")]
    Unknown(String),
    /// It would never be valid.
    #[error("the key would have expired already: expires_at lies in the past")]
    Expired,
    /// The folder or file cannot be made.
    #[error("cannot open the keys")]
    Open(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// SQLite failed: a full disk, say.
    #[error("cannot change the keys")]
    Storage(#[from] sqlx::Error),
    /// The operating system gives no randomness.
    #[error("cannot make a key: the system gives no random bytes")]
    Randomness,
}

/// Makes, lists and revokes keys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KeyStore {
    pool: SqlitePool,
    table: Arc<KeyTable>,
    /// Where services publish, among other things, when they saw which key.
    published: PathBuf,
}

impl KeyStore {
    /// Opens the file that `table` reads, or makes it.
    pub(crate) async fn open(table: Arc<KeyTable>, published: PathBuf) -> Result<Self, KeyStoreError> {
        let path = table.path();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| KeyStoreError::Open(e.into()))?;
        }
        private(path).map_err(|e| KeyStoreError::Open(e.into()))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Delete)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        sqlx::migrate!("migrations/keys").run(&pool).await.map_err(|e| KeyStoreError::Open(e.into()))?;
        Ok(Self { pool, table, published })
    }

    /// Makes a key; what it gives is the only copy of the secret.
    pub async fn create(&self, new: NewKey, created_by: String) -> Result<CreatedKey, KeyStoreError> {
        if new.expires_at.is_some_and(|end| end <= Timestamp::now()) {
            return Err(KeyStoreError::Expired);
        }
        let mut random = [0; ID_LENGTH / 2 + 32];
        rand::rngs::SysRng.try_fill_bytes(&mut random).map_err(|_| KeyStoreError::Randomness)?;
        let (id, secret) = random.split_at(ID_LENGTH / 2);
        let (id, secret) = (hex::encode(id), hex::encode(secret));
        let info = KeyInfo {
            id,
            name: new.name,
            role: new.role,
            models: new.models,
            requests_per_minute: new.requests_per_minute,
            tokens_per_minute: new.tokens_per_minute,
            created_at: Timestamp::now(),
            created_by,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        let inserted = sqlx::query(
            "INSERT INTO keys (id, name, role, hash, models, requests_per_minute, tokens_per_minute, created_at, \
             created_by, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&info.id)
        .bind(info.name.as_str())
        .bind(info.role.as_str())
        .bind(hash(&secret).to_vec())
        .bind(info.models.as_ref().map(|models| serde_json::to_string(models).expect("names are plain data")))
        .bind(info.requests_per_minute)
        .bind(info.tokens_per_minute)
        .bind(info.created_at.to_string())
        .bind(&info.created_by)
        .bind(info.expires_at.map(|at| at.to_string()))
        .execute(&self.pool)
        .await;
        match inserted {
            Ok(_) => {}
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                return Err(KeyStoreError::NameTaken(info.name.into()));
            }
            Err(error) => return Err(error.into()),
        }
        self.table.expire();
        Ok(CreatedKey { key: format!("{PREFIX}{}_{secret}", info.id), info })
    }

    /// Every key, the newest first.
    pub async fn list(&self) -> Result<Vec<KeyInfo>, KeyStoreError> {
        let rows: Vec<KeyRow> =
            sqlx::query_as("SELECT * FROM keys ORDER BY created_at DESC").fetch_all(&self.pool).await?;
        let used = last_use::latest(&self.published);
        let info = |row: KeyRow| {
            let last_used_at = used.get(&row.id).copied();
            KeyInfo::try_from(row).ok().map(|info| KeyInfo { last_used_at, ..info })
        };
        Ok(rows.into_iter().filter_map(info).collect())
    }

    /// Ends a key, by id or by the name of a living one. A key that has ended stays as it is; that is no failure.
    pub async fn revoke(&self, key: &str) -> Result<KeyInfo, KeyStoreError> {
        let found: Option<KeyRow> =
            sqlx::query_as("SELECT * FROM keys WHERE id = ?1 OR name = ?1 ORDER BY revoked_at IS NOT NULL, id != ?1")
                .bind(key)
                .fetch_optional(&self.pool)
                .await?;
        let unknown = || KeyStoreError::Unknown(key.to_owned());
        let row = found.ok_or_else(unknown)?;
        let now = Timestamp::now().to_string();
        sqlx::query("UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL")
            .bind(&now)
            .bind(&row.id)
            .execute(&self.pool)
            .await?;
        self.table.expire();
        let revoked_at = row.revoked_at.clone().or(Some(now));
        KeyInfo::try_from(KeyRow { revoked_at, ..row }).map_err(|()| unknown())
    }
}

/// Makes the file, readable for its owner and group only: the hashes in it are of no use, but nobody else's business.
fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o640).open(path).map(drop)
}

impl TryFrom<KeyRow> for KeyInfo {
    type Error = ();

    fn try_from(row: KeyRow) -> Result<Self, ()> {
        let time = |text: String| text.parse::<Timestamp>().map_err(drop);
        Ok(Self {
            id: row.id,
            name: row.name.parse().map_err(drop)?,
            role: row.role.parse().map_err(drop)?,
            models: row.models.map(|list| serde_json::from_str(&list).map_err(drop)).transpose()?,
            requests_per_minute: row.requests_per_minute,
            tokens_per_minute: row.tokens_per_minute,
            created_at: time(row.created_at)?,
            created_by: row.created_by,
            expires_at: row.expires_at.map(time).transpose()?,
            revoked_at: row.revoked_at.map(time).transpose()?,
            last_used_at: None,
        })
    }
}
