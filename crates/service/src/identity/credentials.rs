//! How services prove to each other who they are, and for whom they speak.
//!
//! Each service has an Ed25519 key pair, made at its first start. The private half is a file of mode 0600 in the
//! service's own state; the public half lies in a folder of the service's own that the others may only read. So whoever
//! can check a service's word cannot speak in its name, and no secret is shared. A call carries a token in
//! `x-remora-service`: who signs, for which service, until when, and on whose behalf.
//!
//! Not a JWT: one algorithm and one shape need no negotiation, which is where JWT libraries are attacked.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use rand::TryRng;
use remora_types::identity::{CallerInfo, ServiceName, Who};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::access::{Caller, Roles};
use crate::durable;
use crate::error::ApiError;

/// Carries a service's token.
pub const SERVICE_HEADER: HeaderName = HeaderName::from_static("x-remora-service");

/// How long a token is good for. It never leaves the machine, so this covers a busy moment and no more.
const LIFE: Duration = Duration::from_mins(1);

/// How long a retired key is still believed: its last tokens end by then.
const OVERLAP: Duration = Duration::from_mins(2);

/// How often files are looked at again.
const REFRESH: Duration = Duration::from_secs(1);

/// The folder with a folder of each service, for the others to read.
const PUBLIC: &str = "public";

/// Sets these signatures apart from any other that the same key might make.
const DOMAIN: &[u8] = b"remora service token 1\0";

/// A credential that cannot be read or made.
#[derive(Debug, Error)]
#[error("cannot {what} the credential in {}", path.display())]
pub struct CredentialError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The private half, as it lies in its file.
#[derive(Serialize, Deserialize)]
struct PrivateFile {
    id: String,
    #[serde(with = "hex::serde")]
    seed: [u8; 32],
}

/// The public halves of one service, the current one first.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PublicFile {
    keys: Vec<PublicKey>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PublicKey {
    id: String,
    #[serde(with = "hex::serde")]
    key: [u8; 32],
    /// When it ends to be believed; absent for the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    key: String,
    from: ServiceName,
    to: ServiceName,
    /// Seconds since 1970.
    until: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caller: Option<CallerInfo>,
}

/// The credentials folder, as one service uses it.
pub(crate) struct Credentials {
    folder: PathBuf,
    own: ServiceName,
    signing: Mutex<Signing>,
    known: Mutex<HashMap<ServiceName, Known>>,
}

struct Signing {
    id: String,
    key: SigningKey,
    version: Option<Version>,
    looked_at: Instant,
}

struct Known {
    keys: Vec<PublicKey>,
    /// Of the file, when it was read.
    version: Option<Version>,
    looked_at: Instant,
}

impl Credentials {
    /// Reads the service's own key pair, or makes it.
    pub(crate) fn open(folder: &Path, own: ServiceName) -> Result<Self, CredentialError> {
        let failed = |what| {
            let path = folder.to_owned();
            move |source| CredentialError { what, path, source }
        };
        let private_folder = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        private_folder(folder).map_err(failed("make the folder of"))?;
        let public = public_folder(folder, own);
        std::fs::create_dir_all(&public).map_err(failed("make the folder of"))?;
        let path = private_path(folder, own);
        if !path.exists() {
            make(folder, own).map_err(failed("make"))?;
        }
        let signing = read_signing(&path).map_err(failed("read"))?;
        // A crash between the two files, or a public folder that is new.
        if !read_public(folder, own).iter().any(|key| key.id == signing.id) {
            publish(folder, own, &signing).map_err(failed("publish"))?;
        }
        Ok(Self { folder: folder.to_owned(), own, signing: Mutex::new(signing), known: Mutex::default() })
    }

    /// Where every service has a folder for others to read.
    pub(crate) fn published(&self) -> PathBuf {
        self.folder.join(PUBLIC)
    }

    /// A new key pair from now on; gives its id. Tokens of the old one are believed as long as they live.
    pub(crate) fn rotate(&self) -> Result<String, CredentialError> {
        let failed = |source| CredentialError { what: "replace", path: self.folder.clone(), source };
        let mut signing = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        make(&self.folder, self.own).map_err(failed)?;
        *signing = read_signing(&private_path(&self.folder, self.own)).map_err(failed)?;
        Ok(signing.id.clone())
    }

    /// A token for a call to `to`, on this service's own account or on a caller's behalf.
    pub(crate) fn token(&self, to: ServiceName, caller: Option<&CallerInfo>) -> HeaderValue {
        let mut signing = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        if signing.looked_at.elapsed() > REFRESH {
            let path = private_path(&self.folder, self.own);
            // Another process of this service may have rotated; an unreadable file leaves the key we have.
            if version(&path) != signing.version
                && let Ok(fresh) = read_signing(&path)
            {
                *signing = fresh;
            }
            signing.looked_at = Instant::now();
        }
        let until = Timestamp::now().as_second() + i64::try_from(LIFE.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims { key: signing.id.clone(), from: self.own, to, until, caller: caller.cloned() };
        let claims = serde_json::to_vec(&claims).expect("claims are plain data");
        let signature = signing.key.sign(&signed(&claims));
        let token = format!("{}.{}", URL_SAFE_NO_PAD.encode(&claims), URL_SAFE_NO_PAD.encode(signature.to_bytes()));
        let mut value = HeaderValue::try_from(token).expect("base64 is a legal header value");
        value.set_sensitive(true);
        value
    }

    /// The caller that a token stands for.
    pub(crate) fn verify(&self, token: &HeaderValue) -> Result<Caller, ApiError> {
        let claims = self.claims(token).map_err(|why| {
            let message = format!("the service token is not valid: {why}");
            ApiError::new(StatusCode::UNAUTHORIZED, "invalid_service_token", message)
        })?;
        if let Some(info) = claims.caller {
            return Ok(Caller::from_info(info, Some(claims.from), None));
        }
        let because = format!("a token signed by {}", claims.from);
        Ok(Caller::new(Who::Service { name: claims.from }, Roles::NONE, vec![because]))
    }

    fn claims(&self, token: &HeaderValue) -> Result<Claims, &'static str> {
        let (claims, signature) = token
            .to_str()
            .ok()
            .and_then(|text| text.split_once('.'))
            .ok_or("it is not of the form CLAIMS.SIGNATURE")?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "it is not base64");
        let (bytes, signature) = (decode(claims)?, decode(signature)?);
        let signature = Signature::from_slice(&signature).map_err(|_| "its signature has the wrong length")?;
        let claims: Claims = serde_json::from_slice(&bytes).map_err(|_| "its claims cannot be read")?;
        let key = self.public_key(claims.from, &claims.key).ok_or("it is signed with a key that nobody published")?;
        key.verify_strict(&signed(&bytes), &signature).map_err(|_| "its signature is wrong")?;
        if claims.to != self.own {
            return Err("it is meant for another service");
        }
        if claims.until < Timestamp::now().as_second() {
            return Err("it has expired");
        }
        if matches!(claims.caller, Some(CallerInfo { who: Who::Service { .. }, .. })) {
            return Err("it passes on a service, which must speak for itself");
        }
        Ok(claims)
    }

    /// A published key that is still believed.
    fn public_key(&self, service: ServiceName, id: &str) -> Option<VerifyingKey> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let version = version(&public_folder(&self.folder, service).join("keys.json"));
        // An id that is not there may be that of a key made just now.
        let stale = |known: &Known| {
            let has_it = known.keys.iter().any(|key| key.id == id);
            if has_it { known.looked_at.elapsed() > REFRESH } else { known.version != version }
        };
        if known.get(&service).is_none_or(stale) {
            let keys = read_public(&self.folder, service);
            known.insert(service, Known { keys, version, looked_at: Instant::now() });
        }
        let keys = &known.get(&service)?.keys;
        let believed = |key: &&PublicKey| key.id == id && key.until.is_none_or(|until| until > Timestamp::now());
        VerifyingKey::from_bytes(&keys.iter().find(believed)?.key).ok()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("own", &self.own).finish_non_exhaustive()
    }
}

/// Signs calls from one service to another.
#[derive(Debug, Clone)]
pub struct Signer {
    pub(crate) credentials: Option<Arc<Credentials>>,
    pub(crate) to: ServiceName,
}

impl Signer {
    /// The header for a call on the service's own account; `None` where services are not told apart (tests, engines).
    #[must_use]
    pub fn own(&self) -> Option<(HeaderName, HeaderValue)> {
        Some((SERVICE_HEADER, self.credentials.as_ref()?.token(self.to, None)))
    }

    /// The header for a call on behalf of a caller.
    #[must_use]
    pub fn on_behalf_of(&self, caller: &Caller) -> Option<(HeaderName, HeaderValue)> {
        let info = (!caller.is_service()).then(|| caller.info());
        Some((SERVICE_HEADER, self.credentials.as_ref()?.token(self.to, info)))
    }
}

fn private_path(folder: &Path, service: ServiceName) -> PathBuf {
    folder.join(format!("{service}.private.json"))
}

fn public_folder(folder: &Path, service: ServiceName) -> PathBuf {
    folder.join(PUBLIC).join(service.as_str())
}

/// What changes when a file is replaced.
type Version = (u64, SystemTime);

fn version(path: &Path) -> Option<Version> {
    let meta = path.metadata().ok()?;
    Some((meta.ino(), meta.modified().ok()?))
}

fn signed(claims: &[u8]) -> Vec<u8> {
    [DOMAIN, claims].concat()
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Makes a key pair: published first, so that no token is ever signed with a key that nobody knows.
fn make(folder: &Path, service: ServiceName) -> io::Result<()> {
    let private = PrivateFile { id: hex::encode(random::<4>()?), seed: random()? };
    let signing = Signing {
        id: private.id.clone(),
        key: SigningKey::from_bytes(&private.seed),
        version: None,
        looked_at: Instant::now(),
    };
    publish(folder, service, &signing)?;
    durable::write(&private_path(folder, service), &serde_json::to_vec(&private)?)
}

/// Puts a public key first; those before it end soon.
fn publish(folder: &Path, service: ServiceName, signing: &Signing) -> io::Result<()> {
    let end = Timestamp::now() + OVERLAP;
    let current = PublicKey { id: signing.id.clone(), key: signing.key.verifying_key().to_bytes(), until: None };
    let retired = read_public(folder, service).into_iter();
    let retired = retired.filter(|key| key.until.is_none_or(|until| until > Timestamp::now()) && key.id != current.id);
    let retired = retired.map(|key| PublicKey { until: Some(key.until.unwrap_or(end).min(end)), ..key });
    let retired: Vec<_> = retired.collect();
    let file = PublicFile { keys: std::iter::once(current).chain(retired).collect() };
    let path = public_folder(folder, service).join("keys.json");
    durable::write(&path, &serde_json::to_vec(&file)?)?;
    // Other services run as other users. It is no secret.
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
}

fn read_signing(path: &Path) -> io::Result<Signing> {
    // Before its content: a replacement in between is then read once more, not missed.
    let version = version(path);
    let private: PrivateFile = serde_json::from_slice(&std::fs::read(path)?)?;
    Ok(Signing { id: private.id, key: SigningKey::from_bytes(&private.seed), version, looked_at: Instant::now() })
}

/// What a service has published; nothing where that cannot be read, so that its tokens are not believed.
fn read_public(folder: &Path, service: ServiceName) -> Vec<PublicKey> {
    let bytes = std::fs::read(public_folder(folder, service).join("keys.json")).unwrap_or_default();
    serde_json::from_slice::<PublicFile>(&bytes).unwrap_or_default().keys
}

#[cfg(test)]
mod tests {
    use remora_types::identity::Role;

    use super::*;

    fn pair() -> (tempfile::TempDir, Credentials, Credentials) {
        let folder = tempfile::tempdir().unwrap();
        let gateway = Credentials::open(folder.path(), ServiceName::Gateway).unwrap();
        let manager = Credentials::open(folder.path(), ServiceName::ModelManager).unwrap();
        (folder, gateway, manager)
    }

    fn refusal(callee: &Credentials, token: &HeaderValue) -> String {
        callee.verify(token).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_service_is_known_by_its_token() {
        let (folder, gateway, manager) = pair();
        let caller = manager.verify(&gateway.token(ServiceName::ModelManager, None)).unwrap();
        assert_eq!(caller.service(), Some(ServiceName::Gateway));
        assert!(caller.is_service());
        let mode = |name: &str| {
            let meta = folder.path().join(name).metadata().unwrap();
            std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777
        };
        assert_eq!(mode("gateway.private.json"), 0o600);
        assert_eq!(mode("public/gateway/keys.json"), 0o644);
    }

    #[test]
    fn a_caller_is_passed_on_with_its_own_roles() {
        let (_folder, gateway, manager) = pair();
        let who = Who::User { login: "bob@b.org".into(), node: "laptop".into() };
        let bob = Caller::new(who, [Role::Use].into(), vec!["everyone".into()]);
        let caller = manager.verify(&gateway.token(ServiceName::ModelManager, Some(bob.info()))).unwrap();
        assert_eq!((caller.info(), caller.via()), (bob.info(), Some(ServiceName::Gateway)));
    }

    #[test]
    fn forged_misdirected_and_mangled_tokens_are_refused() {
        let (folder, gateway, manager) = pair();
        let token = gateway.token(ServiceName::ModelManager, None);
        let text = token.to_str().unwrap();
        let (claims, signature) = text.split_once('.').unwrap();
        let agents = Credentials::open(folder.path(), ServiceName::AgentsServer).unwrap();
        assert!(refusal(&agents, &token).contains("another service"));
        let raised = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let raised = raised.replace("\"gateway\"", "\"update-agent\"");
        for forged in [
            format!("{}.{signature}", URL_SAFE_NO_PAD.encode(raised)),
            format!("{claims}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
            format!("{claims}.{signature}A"),
            format!("{claims}."),
            claims.to_owned(),
            ".".to_owned(),
            String::new(),
        ] {
            assert!(manager.verify(&HeaderValue::try_from(forged.clone()).unwrap()).is_err(), "{forged}");
        }
    }

    #[test]
    fn an_old_token_has_expired() {
        let (_folder, gateway, manager) = pair();
        let signing = gateway.signing.lock().unwrap();
        let claims = Claims {
            key: signing.id.clone(),
            from: ServiceName::Gateway,
            to: ServiceName::ModelManager,
            until: Timestamp::now().as_second() - 1,
            caller: None,
        };
        let claims = serde_json::to_vec(&claims).unwrap();
        let signature = signing.key.sign(&signed(&claims)).to_bytes();
        let token = format!("{}.{}", URL_SAFE_NO_PAD.encode(&claims), URL_SAFE_NO_PAD.encode(signature));
        assert!(refusal(&manager, &token.try_into().unwrap()).contains("expired"));
    }

    #[test]
    fn rotation_replaces_the_key_and_lets_living_tokens_live() {
        let (folder, gateway, manager) = pair();
        let before = gateway.token(ServiceName::ModelManager, None);
        let old = gateway.signing.lock().unwrap().id.clone();
        let new = gateway.rotate().unwrap();
        assert_ne!(old, new);
        assert!(manager.verify(&before).is_ok());
        let after = gateway.token(ServiceName::ModelManager, None);
        assert_ne!(before, after);
        // The callee has just read the list without the new key; it looks again.
        assert!(manager.verify(&after).is_ok());
        let keys = read_public(folder.path(), ServiceName::Gateway);
        assert_eq!(
            keys.iter().map(|k| (k.id.as_str(), k.until.is_some())).collect::<Vec<_>>(),
            [(new.as_str(), false), (old.as_str(), true)]
        );
    }

    #[test]
    fn nothing_secret_is_printed() {
        let (folder, gateway, _manager) = pair();
        let file: PrivateFile =
            serde_json::from_slice(&std::fs::read(private_path(folder.path(), ServiceName::Gateway)).unwrap()).unwrap();
        assert!(!format!("{gateway:?}").contains(&hex::encode(file.seed)));
        assert_eq!(format!("{:?}", gateway.token(ServiceName::Gateway, None)), "Sensitive");
    }
}
