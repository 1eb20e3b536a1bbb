//! A store whose type is chosen at run time.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::calls::{Outcome, Renewal, Touch};
use super::contract::{FindPrincipals, Store};
use super::entry::{Entry, Forward};
use super::erased::ErasedStore;
use super::error::StoreError;
#[cfg(feature = "memcached")]
use super::memcached::MemcachedStore;
use super::memory::MemoryStore;
#[cfg(feature = "mongodb")]
use super::mongodb::MongodbStore;
use super::principals::PrincipalFinder;
#[cfg(feature = "redis")]
use super::redis::RedisStore;
#[cfg(feature = "mysql")]
use super::sql::MySqlStore;
#[cfg(feature = "postgres")]
use super::sql::PostgresStore;
#[cfg(feature = "sqlite")]
use super::sql::SqliteStore;
use crate::clock::Timestamp;
use crate::record::{Handle, Record, StoreKey, Version};

/// Store of any kind, chosen at run time.
///
/// [`connect`](Self::connect) finds the kind in a URL, and [`new`](Self::new) takes any [`Store`]. Clones are cheap and
/// share the store.
///
/// A layer over it makes the same calls as a layer over the store itself, and is as fast.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use session_state::{AnyStore, SessionLayer};
///
/// let url = std::env::var("SESSIONS").unwrap_or("memory:".to_owned());
/// let store = AnyStore::connect(&url).await?;
/// store.migrate().await?;
/// let sessions = SessionLayer::server(store);
/// # let _ = sessions;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct AnyStore {
    store: Arc<dyn ErasedStore>,
}

/// Returns a store as a trait object. The store in an [`AnyStore`] is one already.
pub(crate) fn erase(store: impl Store) -> Arc<dyn ErasedStore> {
    match (&store as &dyn Any).downcast_ref::<AnyStore>() {
        Some(any) => Arc::clone(&any.store),
        None => Arc::new(store),
    }
}

impl AnyStore {
    /// Creates it from a store.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self { store: erase(store) }
    }

    /// Connects to the store at `url`, which is one of these. The features must be on.
    ///
    /// | URL | store | feature |
    /// | --- | --- | --- |
    /// | `memory:` | [`MemoryStore`] | |
    /// | `sqlite:` | `SqliteStore` | `sqlite` |
    /// | `postgres:`, `postgresql:` | `PostgresStore` | `postgres` |
    /// | `mysql:`, `mariadb:` | `MySqlStore` | `mysql` |
    /// | `redis:`, `rediss:`, `redis+unix:`, `valkey:`, `valkeys:`, `valkey+unix:`, `unix:` | `RedisStore` | `redis` |
    /// | `memcached:` | `MemcachedStore` | `memcached` |
    /// | `mongodb:`, `mongodb+srv:` | `MongodbStore` | `mongodb` |
    ///
    /// It calls `connect` of the store, which describes the rest of the URL.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the URL begins otherwise, if the feature is off, or if the store cannot be reached. It does
    /// not contain the URL, which may contain a password.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        // Schemes ignore case (RFC 3986 §3.1).
        let (scheme, rest) = url.split_once(':').unwrap_or_default();
        let url = &*format!("{}:{rest}", scheme.to_ascii_lowercase());
        match &url[..scheme.len()] {
            "memory" if matches!(rest, "" | "//") => Ok(Self::new(MemoryStore::new())),
            #[cfg(feature = "sqlite")]
            "sqlite" => SqliteStore::connect(url).await.map(Self::new),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => PostgresStore::connect(url).await.map(Self::new),
            #[cfg(feature = "mysql")]
            "mysql" | "mariadb" => MySqlStore::connect(url).await.map(Self::new),
            #[cfg(feature = "redis")]
            "redis" | "rediss" | "redis+unix" | "valkey" | "valkeys" | "valkey+unix" | "unix" => {
                RedisStore::connect(url).await.map(Self::new)
            }
            #[cfg(feature = "memcached")]
            "memcached" => MemcachedStore::connect(url).await.map(Self::new),
            #[cfg(feature = "mongodb")]
            "mongodb" | "mongodb+srv" => MongodbStore::connect(url).await.map(Self::new),
            scheme => Err(StoreError::failed(NAME, UnknownScheme::of(scheme))),
        }
    }

    /// Creates or migrates the tables of an SQL store, or the indexes of a `MongodbStore`, as their own `migrate` does.
    /// Other stores need nothing, and are not called.
    ///
    /// It does not reach a store that another one wraps.
    ///
    /// # Errors
    ///
    /// As for the store's own `migrate`.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        #[cfg(feature = "sqlite")]
        if let Some(store) = self.downcast_ref::<SqliteStore>() {
            return store.migrate().await;
        }
        #[cfg(feature = "postgres")]
        if let Some(store) = self.downcast_ref::<PostgresStore>() {
            return store.migrate().await;
        }
        #[cfg(feature = "mysql")]
        if let Some(store) = self.downcast_ref::<MySqlStore>() {
            return store.migrate().await;
        }
        #[cfg(feature = "mongodb")]
        if let Some(store) = self.downcast_ref::<MongodbStore>() {
            return store.migrate().await;
        }
        Ok(())
    }

    /// Returns the store itself if it is an `S`, for what only that store has, such as a pool of connections.
    #[must_use]
    pub fn downcast_ref<S: Store>(&self) -> Option<&S> {
        self.store.as_any().downcast_ref()
    }
}

/// Shows the store.
impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyStore").field(&self.store).finish()
    }
}

#[deny(clippy::missing_trait_methods)]
impl Store for AnyStore {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.store.load(key, now).get().await
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.store.put(key, expected, entry, now).get().await
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        self.store.create(key, record, now).get().await
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        self.store.update(key, expected, record, now).get().await
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        self.store.touch(key, touch, now).get().await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        self.store.renew(renewal, now).get().await
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        self.store.delete(key, forward, now).get().await
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.store.sweep(now, limit).get().await
    }

    fn principals(&self) -> Option<PrincipalFinder<'_>> {
        self.store.principals()
    }
}

/// The calls fail if the store does not find principals; [`Store::principals`] tells.
#[deny(clippy::missing_trait_methods)]
impl FindPrincipals for AnyStore {
    async fn list(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        self.store.list(principal, after, limit, now).get().await
    }

    async fn count(&self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        self.store.count(principal, now).get().await
    }

    async fn revoke(
        &self,
        principal: &str,
        sessions: &[Handle],
        forward: Forward,
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        self.store.revoke(principal, sessions, forward, now).get().await
    }
}

/// The name in errors of a URL for which there is no store.
const NAME: &str = "any";

/// The schemes of URLs, the features that they need, and whether those are on.
const SCHEMES: [(&str, &str, bool); 15] = [
    ("sqlite", "sqlite", cfg!(feature = "sqlite")),
    ("postgres", "postgres", cfg!(feature = "postgres")),
    ("postgresql", "postgres", cfg!(feature = "postgres")),
    ("mysql", "mysql", cfg!(feature = "mysql")),
    ("mariadb", "mysql", cfg!(feature = "mysql")),
    ("redis", "redis", cfg!(feature = "redis")),
    ("rediss", "redis", cfg!(feature = "redis")),
    ("redis+unix", "redis", cfg!(feature = "redis")),
    ("valkey", "redis", cfg!(feature = "redis")),
    ("valkeys", "redis", cfg!(feature = "redis")),
    ("valkey+unix", "redis", cfg!(feature = "redis")),
    ("unix", "redis", cfg!(feature = "redis")),
    ("memcached", "memcached", cfg!(feature = "memcached")),
    ("mongodb", "mongodb", cfg!(feature = "mongodb")),
    ("mongodb+srv", "mongodb", cfg!(feature = "mongodb")),
];

/// There is no store for the scheme of a URL. It does not contain the scheme: a password may be mistaken for one.
struct UnknownScheme {
    /// The scheme and the feature that it needs, if that is off.
    switched_off: Option<(&'static str, &'static str)>,
}

impl UnknownScheme {
    fn of(scheme: &str) -> Self {
        let known = SCHEMES.iter().find(|(known, ..)| *known == scheme);
        Self { switched_off: known.map(|(scheme, feature, _)| (*scheme, *feature)) }
    }
}

impl fmt::Display for UnknownScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((scheme, feature)) = self.switched_off {
            write!(f, "a URL that begins with `{scheme}:` needs the feature `{feature}` of session-state; ")?;
        }
        f.write_str("the URL of a store is `memory:`, or begins with one of")?;
        for (at, (scheme, feature, is_on)) in SCHEMES.into_iter().enumerate() {
            write!(f, "{} `{scheme}:`", if at == 0 { "" } else { "," })?;
            if !is_on {
                write!(f, " (feature `{feature}`)")?;
            }
        }
        Ok(())
    }
}

/// The same text: a `main` that returns the error prints its `Debug`.
impl fmt::Debug for UnknownScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for UnknownScheme {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Answer, StoreErrorKind};

    const KEY: StoreKey = StoreKey::from_bytes([1; 32]);
    const NOW: Timestamp = Timestamp::from_millis(0);

    /// Returns all that an error tells.
    fn told(error: &StoreError) -> String {
        let mut told = format!("{error:?}");
        let mut next: Option<&dyn StdError> = Some(error);
        while let Some(error) = next {
            told = format!("{told}: {error}");
            next = error.source();
        }
        told
    }

    #[test]
    fn an_erased_store_is_not_wrapped_again() {
        let any = AnyStore::new(MemoryStore::new());
        for erased in [erase(any.clone()), AnyStore::new(any.clone()).store] {
            assert!(Arc::ptr_eq(&erased, &any.store));
            assert!(erased.as_any().is::<MemoryStore>());
            assert!(matches!(erased.load(&KEY, NOW), Answer::Ready(Ok(None))), "it never waits");
        }
    }

    #[tokio::test]
    async fn a_url_without_a_store_names_the_schemes_and_is_not_told() {
        for url in ["", "secret", "secret@host", "secret:x", "app:secret@host/x", "memory:secret", "memory://secret"] {
            let error = AnyStore::connect(url).await.expect_err("no store");
            let told = told(&error);
            assert_eq!((error.kind(), error.store()), (StoreErrorKind::Failed, "any"));
            assert!(!told.to_lowercase().contains("secret"), "{told}");
            assert!(["`memory:`", "`sqlite:`", "`mongodb+srv:`"].iter().all(|scheme| told.contains(scheme)), "{told}");
        }
    }

    #[tokio::test]
    async fn a_scheme_ignores_case_and_may_have_slashes() {
        for url in ["memory:", "memory://", "Memory:"] {
            assert!(AnyStore::connect(url).await.is_ok(), "{url}");
        }
    }

    #[test]
    fn a_scheme_without_its_feature_names_the_feature() {
        for (scheme, feature, _) in SCHEMES {
            let told = UnknownScheme::of(scheme).to_string();
            assert!(told.starts_with(&format!("a URL that begins with `{scheme}:` needs the feature `{feature}`")));
        }
        let told = UnknownScheme::of("").to_string().contains("`redis:` (feature `redis`)");
        assert_ne!(told, cfg!(feature = "redis"));
    }

    #[tokio::test]
    async fn each_scheme_whose_feature_is_on_leads_to_its_store_which_does_not_tell_the_url() {
        for (scheme, feature, _) in SCHEMES.iter().filter(|(.., is_on)| *is_on) {
            // Nothing connects: the host or port cannot be read, and as a file it is in no directory.
            for rest in ["://user:top/secret@[x/y?z=secret", "://user:secret@[x/y", "://user:secret/y"] {
                let error = AnyStore::connect(&format!("{scheme}{rest}")).await.expect_err("no such store");
                let told = told(&error);
                assert_eq!(error.store(), *feature, "{told}");
                assert!(!told.contains("secret"), "{told}");
            }
        }
    }

    #[tokio::test]
    async fn the_memory_store_needs_no_migration() {
        let store = AnyStore::connect("memory:").await.expect("a store");
        store.migrate().await.expect("nothing to do");
        assert_eq!(Store::name(&store), "memory");
        assert!(store.downcast_ref::<MemoryStore>().is_some_and(MemoryStore::is_empty));
        assert!(format!("{store:?}").starts_with("AnyStore(MemoryStore"), "{store:?}");
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn an_sql_store_is_migrated() {
        use crate::record::Handle;

        let store = AnyStore::connect("sqlite::memory:").await.expect("a database");
        assert!(Store::load(&store, &KEY, NOW).await.is_err());
        store.migrate().await.expect("a schema");
        store.migrate().await.expect("the same schema");
        let deadline = NOW.after(std::time::Duration::from_secs(60));
        let record = Arc::new(Record::new(Handle::from_bytes([0; 16]), NOW, deadline));
        assert!(Store::create(&store, &KEY, record, NOW).await.expect("a table"));
        assert!(store.downcast_ref::<SqliteStore>().is_some());
    }
}
