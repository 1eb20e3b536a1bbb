//! Sessions in MongoDB.

mod document;
mod principals;
mod renew;

use std::fmt;
use std::sync::Arc;

use mongodb::bson::{DateTime, Document, doc};
use mongodb::error::{Error as DriverError, ErrorKind, WriteFailure};
use mongodb::options::{
    ClientOptions, CollectionOptions, IndexOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Collection, Database, IndexModel};

use super::{Entry, Handle, Outcome, Record, Renewal, Store, StoreError, StoreKey};
use crate::clock::{Clock as _, SystemClock, Timestamp, whole_millis};
use crate::error::ConfigError;
use document::{EXPIRES_AT, ID, LAST_SEEN_AT, PURGE_AT, VERSION, binary, millis};

const NAME: &str = "mongodb";

const DEFAULT_DATABASE: &str = "session_state";
const DEFAULT_COLLECTION: &str = "sessions";

/// The most bytes of a document, less what it takes beside the values, the principal and the label.
const MOST_BYTES: usize = 16 * 1024 * 1024 - 4_096;

/// The end of the year 9999, after which dates are not what they seem.
const LAST_DATE: i64 = 253_402_300_799_999;

/// What the server answers when a key is taken.
const DUPLICATE_KEY: i32 = 11_000;

/// Keeps sessions in a collection of [MongoDB](https://www.mongodb.com) 6 or later, over the official driver.
///
/// A session is one document. Its `_id` is the key, a hash of the session's ID; times are milliseconds since the Unix
/// epoch; `version`, `handle`, `principal` and `label` are fields of their own; `values` is opaque. A session that was
/// renewed leaves a document with `grace_until` under its old key.
///
/// Every write names the version and the deadline that it replaces, in one conditional command. Nothing needs a
/// transaction, so a standalone server will do.
///
/// A renewal that loses against another write removes again what it had put under the new key. Should its node die at that
/// moment, a document is left that no ID leads to. It is in lists of its principal until it expires or is revoked.
///
/// # Setting up
///
/// [`migrate`](Self::migrate) makes the two indexes there are. By one the server removes what has expired, about once a
/// minute and by its own clock; the store never returns what has expired, removed or not. Without it the collection
/// grows for ever: [sweeping](Store::sweep) has nothing to do here. By the other it finds the sessions of a principal;
/// without it they are found all the same, by reading the whole collection. Anonymous sessions are not in it.
///
/// # Concerns
///
/// Writes are acknowledged by a [majority](Self::with_write_concern) of the replica set, loads go to the primary,
/// whatever the client or its URL says. So a logout that was answered outlives the loss of the primary, and the next
/// load sees it. For the seconds in which a primary that lost its majority has not noticed, it still answers loads from
/// what it knew.
///
/// # Errors
///
/// A record that does not fit into a document of 16 MiB is refused with
/// [`StoreErrorKind::TooLarge`](super::StoreErrorKind::TooLarge).
///
/// # The driver
///
/// Its crate cannot be built without TLS, so `rustls` comes with this feature. Everything else is left out: add
/// `mongodb` to your own dependencies with `dns-resolver` for URLs of `mongodb+srv`, with other kinds of
/// authentication, or with compression. Its connection pool is used as it is configured, and a call that is dropped
/// takes its connection with it. Where the server can tell a repetition, the driver itself makes a call again once.
/// Other time limits than its own (30 seconds to find a server) come from the layer's
/// [store timeout](crate::SessionLayer::with_store_timeout).
///
/// The tests of this crate run on SecantusDB 0.7, which speaks MongoDB's protocol over MongoDB's storage engine as a
/// replica set of one: what a majority acknowledged was tried with servers that are killed, a failover was not.
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
    database: Database,
    sessions: Collection<Document>,
    write_concern: WriteConcern,
}

impl MongodbStore {
    /// Makes a store in the collection `sessions` of a database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        let write_concern = WriteConcern::majority();
        let sessions = collection(&database, DEFAULT_COLLECTION, &write_concern);
        Self { database, sessions, write_concern }
    }

    /// Makes a store as [`new`](Self::new) does, in the database that the URL names or in `session_state`, and asks the
    /// server whether it is there.
    ///
    /// # Errors
    ///
    /// When the URL cannot be read or the server not be reached.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = ClientOptions::parse(url).await.map_err(|error| {
            // What the driver says of a URL may be a part of its password.
            if url.contains('@') {
                let rule = "the url of MongoDB cannot be read: characters such as `/` and `@` in a name or password are \
                            written as `%2F` and `%40`, and `mongodb+srv` needs the driver's feature `dns-resolver`";
                StoreError::failed(NAME, ConfigError::new(rule))
            } else {
                failed(error)
            }
        })?;
        let client = Client::with_options(options).map_err(failed)?;
        let database = client.default_database().unwrap_or_else(|| client.database(DEFAULT_DATABASE));
        database.run_command(doc! { "ping": 1 }).await.map_err(failed)?;
        Ok(Self::new(database))
    }

    /// Sets the collection. The default is `sessions`.
    ///
    /// Applications that share a database each need a collection of their own.
    ///
    /// # Errors
    ///
    /// When the name is empty or longer than 100 bytes, has other characters than letters, digits, `_`, `-` and `.`, or
    /// begins with a dot or with `system.`.
    pub fn with_collection(mut self, name: &str) -> Result<Self, ConfigError> {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        let begins = !name.starts_with('.') && !name.starts_with("system.");
        if name.is_empty() || name.len() > 100 || !is_plain || !begins {
            return Err(ConfigError::new(format!("{name:?} cannot be the name of a collection of sessions")));
        }
        self.sessions = collection(&self.database, name, &self.write_concern);
        Ok(self)
    }

    /// Sets by how many servers a write is acknowledged. The default is a majority, journaled as the server has it.
    ///
    /// # Security
    ///
    /// With less than a majority, a logout that was answered can be lost with the primary, and the session is back.
    #[must_use]
    pub fn with_write_concern(mut self, write_concern: WriteConcern) -> Self {
        self.sessions = collection(&self.database, self.sessions.name(), &write_concern);
        self.write_concern = write_concern;
        self
    }

    /// Makes the indexes that are not there: by one the server removes what has expired, by the other it finds the
    /// sessions of a principal. To be called when the application starts, or when it is deployed; any number of nodes may
    /// do so at once.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let options = IndexOptions::builder().expire_after(std::time::Duration::ZERO).build();
        let index = IndexModel::builder().keys(doc! { PURGE_AT: 1 }).options(options).build();
        self.sessions.create_indexes([index, principals::index()]).await.map(drop).map_err(failed)
    }

    async fn find(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let Some(document) = self.sessions.find_one(by_key(key)).await.map_err(failed)? else { return Ok(None) };
        let entry = document::to_entry(&document).map_err(|error| StoreError::undecodable(NAME, error))?;
        Ok(Some(entry).filter(|entry| !is_expired(entry, now)))
    }

    /// Returns how a call ended that found no live record of the expected version.
    async fn outcome(&self, key: &StoreKey, now: Timestamp) -> Result<Outcome, StoreError> {
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
    const FINDS_PRINCIPALS: bool = true;

    fn name(&self) -> &'static str {
        NAME
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.find(key, now).await
    }

    /// Replaces what has expired or inserts. Of a live document under the key the condition is not met, and the insert
    /// that follows fails.
    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        let document = to_document(key, &record, now)?;
        let free = doc! { ID: binary(key.as_bytes()), EXPIRES_AT: { "$lte": millis(now) } };
        match self.sessions.replace_one(free, document).upsert(true).await {
            Ok(_) => Ok(true),
            Err(error) if is_duplicate_key(&error) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: u64,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let document = to_document(key, &record, now)?;
        let result = self.sessions.replace_one(by_version(key, expected, now), document).await.map_err(failed)?;
        if result.matched_count == 1 { Ok(Outcome::Done) } else { self.outcome(key, now).await }
    }

    async fn touch(
        &self,
        key: &StoreKey,
        expected: u64,
        last_seen_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
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
        renew::renew(self, &renewal, now).await
    }

    async fn delete(&self, key: &StoreKey, now: Timestamp) -> Result<Outcome, StoreError> {
        let mut live = by_key(key);
        live.insert(VERSION, doc! { "$exists": true });
        live.insert(EXPIRES_AT, doc! { "$gt": millis(now) });
        let result = self.sessions.delete_one(live).await.map_err(failed)?;
        if result.deleted_count == 1 {
            return Ok(Outcome::Done);
        }
        match self.outcome(key, now).await? {
            // It was created again in between; a session that has just begun is not the one that was to end.
            Outcome::Conflict(_) => Ok(Outcome::Gone),
            outcome => Ok(outcome),
        }
    }

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

    async fn revoke(&self, principal: &str, sessions: &[Handle], now: Timestamp) -> Result<Vec<Handle>, StoreError> {
        principals::revoke(&self.sessions, principal, sessions, now).await
    }
}

/// The server answered a command and did not carry it out. What it says may hold values.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server refused a write, or not enough servers acknowledged it")
    }
}

impl std::error::Error for Refused {}

fn collection(database: &Database, name: &str, write_concern: &WriteConcern) -> Collection<Document> {
    let options = CollectionOptions::builder()
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .read_concern(ReadConcern::local())
        .write_concern(write_concern.clone())
        .build();
    database.collection_with_options(name, options)
}

fn by_key(key: &StoreKey) -> Document {
    doc! { ID: binary(key.as_bytes()) }
}

/// The live record of a version. A forward has none.
fn by_version(key: &StoreKey, expected: u64, now: Timestamp) -> Document {
    doc! { ID: binary(key.as_bytes()), VERSION: expected.cast_signed(), EXPIRES_AT: { "$gt": millis(now) } }
}

fn to_document(key: &StoreKey, record: &Record, now: Timestamp) -> Result<Document, StoreError> {
    check_size(record)?;
    Ok(document::of_record(key, record, purge_at(record.expires_at, now)))
}

fn check_size(record: &Record) -> Result<(), StoreError> {
    let texts = [&record.principal, &record.label].into_iter().flatten().map(|text| text.len()).sum::<usize>();
    let size = record.values.as_frames().len() + texts;
    if size > MOST_BYTES { Err(StoreError::too_large(NAME, size, MOST_BYTES)) } else { Ok(()) }
}

/// The time at which the engine, by its own clock, may remove what expires at `expires_at`.
fn purge_at(expires_at: Timestamp, now: Timestamp) -> DateTime {
    let real = SystemClock.now().as_millis().saturating_add(whole_millis(expires_at.since(now)));
    DateTime::from_millis(i64::try_from(real).unwrap_or(LAST_DATE).min(LAST_DATE))
}

fn is_expired(entry: &Entry, now: Timestamp) -> bool {
    match entry {
        Entry::Live(record) => record.is_expired(now),
        Entry::Retired(forward) => now >= forward.expires_at,
    }
}

fn is_duplicate_key(error: &DriverError) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}

fn failed(error: DriverError) -> StoreError {
    StoreError::failed(NAME, error)
}
