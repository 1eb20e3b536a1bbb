//! The store: its collection and its calls.

use std::fmt;
use std::sync::Arc;

use mongodb::bson::{Document, doc};
use mongodb::error::Error as DriverError;
use mongodb::options::{
    ClientOptions, CollectionOptions, IndexOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Collection, Database, IndexModel};

use super::document::{self, EXPIRES_AT, ID, LAST_SEEN_AT, PURGE_AT, binary, millis};
use super::principals;
use super::query::{NAME, and, by_key, by_version, failed, is_duplicate_key, live, purge_at, to_document, to_forward};
use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::store::{
    Entry, FindPrincipals, Forward, Handle, Outcome, PrincipalFinder, Record, Renewal, Store, StoreError, StoreKey,
    Touch, Version,
};

const DEFAULT_DATABASE: &str = "session_state";
const DEFAULT_COLLECTION: &str = "sessions";

/// Store in a collection of [MongoDB](https://www.mongodb.com) 6 or later, over the official driver.
///
/// A session is one document. Its `_id` is the key, a hash of the session's ID; times are milliseconds since the Unix
/// epoch; `version`, `generation`, `handle`, `principal` and `label` are fields; `values` is opaque. A renewal leaves a
/// document with `grace_until` under the old key, and an end one under the last key.
///
/// Every write is one command with the expected version and the deadline as conditions. Nothing needs a transaction, so
/// a standalone server is enough.
///
/// A renewal that loses against a concurrent write deletes the document under the new key. If its node crashes at that
/// moment, a document remains whose ID no client has. It is in the lists of its principal until it expires or is
/// revoked.
///
/// # Setting up
///
/// [`migrate`](Self::migrate) creates two indexes. With the first the server deletes expired documents, about once a
/// minute and by its own clock; the store never returns an expired one. Without this index the collection grows without
/// bound, since [sweeping](Store::sweep) does nothing. The second finds the sessions of a principal; without it, these
/// calls read the whole collection. Anonymous sessions are not in it.
///
/// # Rights
///
/// The user needs this role. The first call of [`migrate`](Self::migrate) also needs `createIndex`; once the indexes
/// exist, it changes nothing.
///
/// ```js
/// db.createRole({ role: "sessions", roles: [], privileges: [{
///     resource: { db: "shop", collection: "sessions" },
///     actions: ["find", "insert", "update", "remove", "listIndexes"] }] })
/// ```
///
/// # Concerns
///
/// Writes are acknowledged by a [majority](Self::with_write_concern) of the replica set and loads go to the primary,
/// whatever the client or its URL says. So an acknowledged logout survives the loss of the primary, and the next load
/// sees it. A primary that has lost its majority may return stale records for the seconds until it notices.
///
/// # Errors
///
/// A record that does not fit into a document of 16 MiB is rejected with
/// [`StoreErrorKind::TooLarge`](crate::store::StoreErrorKind::TooLarge).
///
/// # The driver
///
/// The driver cannot be built without TLS, so this feature includes `rustls` and nothing else. Add `mongodb` to your
/// own dependencies with the feature `dns-resolver` for `mongodb+srv` URLs, for other kinds of authentication, or for
/// compression. Its connection pool keeps its configuration, and a cancelled call closes its connection. The driver
/// retries idempotent calls once. After `NotWritablePrimary` the driver discovers the
/// new primary, and the layer retries the call. Apart from the driver's own time limit
/// (30 seconds to select a server), the layer's [store timeout](crate::SessionLayer::with_store_timeout) applies.
///
/// The tests of this crate run on SecantusDB 0.7, which implements MongoDB's protocol over MongoDB's storage engine, as
/// a replica set of one: majority acknowledgement was tested by killing servers, failover was not tested.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use session_state::{MongodbStore, SessionLayer};
///
/// let store = MongodbStore::connect("mongodb://localhost:27017/shop").await?;
/// store.migrate().await?;
/// let sessions = SessionLayer::server(store);
/// # let _ = sessions;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MongodbStore {
    pub(super) database: Database,
    pub(super) sessions: Collection<Document>,
    pub(super) write_concern: WriteConcern,
}

impl MongodbStore {
    /// Creates a store in the collection `sessions` of a database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        let write_concern = WriteConcern::majority();
        let sessions = collection(&database, DEFAULT_COLLECTION, &write_concern);
        Self { database, sessions, write_concern }
    }

    /// Creates a store like [`new`](Self::new), in the database of the URL or in `session_state`, and pings the server.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the URL is invalid or the server cannot be reached.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = ClientOptions::parse(url).await.map_err(|_| {
            // The driver's message may contain a part of the password, also in a URL without an `@`.
            let rule = "the url of MongoDB cannot be read: it is like `mongodb://user:password@host:27017/database`, \
                        characters such as `/` and `@` in a name or password are written as `%2F` and `%40`, and \
                        `mongodb+srv` needs the driver's feature `dns-resolver`";
            StoreError::failed(NAME, ConfigError::new(rule))
        })?;
        let client = Client::with_options(options).map_err(failed)?;
        let database = client.default_database().unwrap_or_else(|| client.database(DEFAULT_DATABASE));
        database.run_command(doc! { "ping": 1 }).await.map_err(failed)?;
        Ok(Self::new(database))
    }

    /// Sets the collection. The default is `sessions`.
    ///
    /// Applications that share a database need different collections.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the name is empty or longer than 100 bytes, contains characters other than letters, digits,
    /// `_`, `-` and `.`, or begins with a dot or with `system.`.
    pub fn with_collection(mut self, name: &str) -> Result<Self, ConfigError> {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        let begins = !name.starts_with('.') && !name.starts_with("system.");
        if name.is_empty() || name.len() > 100 || !is_plain || !begins {
            return Err(ConfigError::new(format!("{name:?} is not a valid name of a session collection")));
        }
        self.sessions = collection(&self.database, name, &self.write_concern);
        Ok(self)
    }

    /// Sets the write concern. The default is a majority, with the journaling of the server.
    ///
    /// # Security
    ///
    /// With less than a majority, the loss of the primary can undo an acknowledged logout.
    #[must_use]
    pub fn with_write_concern(mut self, write_concern: WriteConcern) -> Self {
        self.sessions = collection(&self.database, self.sessions.name(), &write_concern);
        self.write_concern = write_concern;
        self
    }

    /// Creates the missing indexes: one for the expiry of documents, the other for the sessions of a principal. Call it
    /// when the application starts or is deployed. Any number of nodes may do so at once.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the server cannot be reached or rejects the indexes.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let options = IndexOptions::builder().expire_after(std::time::Duration::ZERO).build();
        let index = IndexModel::builder().keys(doc! { PURGE_AT: 1 }).options(options).build();
        let needed = [index, principals::index()];
        // The collection may not exist, or the user may not list its indexes.
        let present = self.indexes().await.unwrap_or_default();
        if needed.iter().all(|needed| present.iter().any(|index| is_same_index(index, needed))) {
            return Ok(());
        }
        self.sessions.create_indexes(needed).await.map(drop).map_err(failed)
    }

    async fn indexes(&self) -> Result<Vec<IndexModel>, DriverError> {
        let (mut found, mut indexes) = (self.sessions.list_indexes().await?, Vec::new());
        while found.advance().await? {
            indexes.push(found.deserialize_current()?);
        }
        Ok(indexes)
    }

    pub(super) async fn find(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let Some(document) = self.sessions.find_one(by_key(key)).await.map_err(failed)? else { return Ok(None) };
        let entry = document::to_entry(&document).map_err(|error| StoreError::undecodable(NAME, error))?;
        Ok(Some(entry).filter(|entry| !entry.is_expired(now)))
    }

    /// Returns the outcome of a call that found no live record of the expected version.
    pub(super) async fn outcome(&self, key: &StoreKey, now: Timestamp) -> Result<Outcome, StoreError> {
        Ok(match self.find(key, now).await? {
            Some(Entry::Live(record)) => Outcome::Conflict(Some(record)),
            Some(Entry::Retired(forward)) => Outcome::Retired(forward),
            None => Outcome::Gone,
        })
    }
}

impl fmt::Debug for MongodbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongodbStore").field("collection", &self.sessions.namespace()).finish_non_exhaustive()
    }
}

impl Store for MongodbStore {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.find(key, now).await
    }

    /// With a version, replaces its document. Without one, replaces an expired document, or inserts: if the key has a
    /// live document, the filter does not match and the insert of the upsert fails.
    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let document = match &entry {
            Entry::Live(record) => to_document(key, record, now)?,
            Entry::Retired(forward) => to_forward(forward, now),
        };
        let Some(expected) = expected else {
            let free = doc! { ID: binary(key.as_bytes()), EXPIRES_AT: { "$lte": millis(now) } };
            return match self.sessions.replace_one(free, document).upsert(true).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate_key(&error) => Ok(false),
                Err(error) => Err(failed(error)),
            };
        };
        let result = self.sessions.replace_one(by_version(key, expected, now), document).await.map_err(failed)?;
        Ok(result.matched_count == 1)
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let is_done = self.put(key, Some(expected), Entry::Live(record), now).await?;
        if is_done { Ok(Outcome::Done) } else { self.outcome(key, now).await }
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        let Touch { expected, last_seen_at, expires_at } = touch;
        let later = doc! {
            LAST_SEEN_AT: millis(last_seen_at),
            EXPIRES_AT: millis(expires_at),
            PURGE_AT: purge_at(expires_at, now),
        };
        let touching = self.sessions.update_one(by_version(key, expected, now), doc! { "$max": later });
        let result = touching.await.map_err(failed)?;
        if result.matched_count == 1 { Ok(Outcome::Done) } else { self.outcome(key, now).await }
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        self.renew_record(&renewal, now).await
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        let live = and(&by_key(key), live(now));
        let ended = match forward {
            None => self.sessions.delete_one(live).await.map_err(failed)?.deleted_count,
            Some(forward) => {
                let forward = to_forward(&forward, now);
                self.sessions.replace_one(live, forward).await.map_err(failed)?.matched_count
            }
        };
        if ended == 1 {
            return Ok(Outcome::Done);
        }
        match self.outcome(key, now).await? {
            // Another session was created under the key in between. It is not the one to delete.
            Outcome::Conflict(_) => Ok(Outcome::Gone),
            outcome => Ok(outcome),
        }
    }

    fn principals(&self) -> Option<PrincipalFinder<'_>> {
        Some(PrincipalFinder::of(self))
    }
}

impl FindPrincipals for MongodbStore {
    async fn list(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        principals::list(&self.sessions, principal, after, limit, now).await
    }

    async fn count(&self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        principals::count(&self.sessions, principal, now).await
    }

    async fn revoke(
        &self,
        principal: &str,
        sessions: &[Handle],
        forward: Forward,
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        principals::revoke(&self.sessions, principal, sessions, Some(&forward), now).await
    }
}

/// Whether two indexes have the same fields and the same expiry.
fn is_same_index(one: &IndexModel, other: &IndexModel) -> bool {
    let expiry = |index: &IndexModel| index.options.as_ref().and_then(|options| options.expire_after);
    one.keys.keys().eq(other.keys.keys()) && expiry(one) == expiry(other)
}

fn collection(database: &Database, name: &str, write_concern: &WriteConcern) -> Collection<Document> {
    let options = CollectionOptions::builder()
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .read_concern(ReadConcern::local())
        .write_concern(write_concern.clone())
        .build();
    database.collection_with_options(name, options)
}
