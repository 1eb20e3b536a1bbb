//! Session state for tower and axum: in a store, in a sealed cookie, or some of it in each.
//!
//! A session is what a web application remembers about a visitor from one request to the next. This crate is a tower
//! layer that keeps it, with extractors for axum.
//!
//! ```
//! # #[cfg(feature = "axum")]
//! # {
//! use axum::{Router, routing::get};
//! use session_state::{Error, MemoryStore, Session, SessionLayer};
//!
//! async fn visits(session: Session) -> Result<String, Error> {
//!     let visits = session.update("visits", |visits: &mut u32| *visits += 1)?;
//!     Ok(format!("visit number {visits}"))
//! }
//!
//! let app = Router::new().route("/", get(visits)).layer(SessionLayer::server(MemoryStore::new()));
//! # use axum::body::{Body, to_bytes};
//! # use axum::http::Request;
//! # use tower::ServiceExt as _;
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! # let first = app.clone().oneshot(Request::get("/").body(Body::empty())?).await?;
//! # let cookie = first.headers()["set-cookie"].to_str()?.to_owned();
//! # assert!(cookie.starts_with("__Host-Http-id="));
//! # assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/"));
//! # let cookie = cookie.split(';').next().ok_or("no cookie")?;
//! # let second = app.oneshot(Request::get("/").header("cookie", cookie).body(Body::empty())?).await?;
//! # assert_eq!(to_bytes(second.into_body(), 100).await?, "visit number 2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - **Concurrent requests do not overwrite each other.** In a store, the changes of a request are applied to the
//!   newest version of the session: different keys merge, and every [`update`](Session::update) counts.
//! - **What was ended stays ended.** In a store, a slow request cannot bring a session back after a logout. If it
//!   changed something, it gets [`Ended`](ErrorKind::Ended) (409): a client never sees success for a change that was
//!   dropped.
//! - **No extractor, no work.** A handler that does not ask for its session costs no look-up, and a visitor who only
//!   looks gets no record and no cookie.
//! - **Idle and absolute timeout together**, both enforced by the server, and either of them settable for one session.
//! - **Nothing to deadlock with.** A handler holds no guard, every access after the extractor is immediate, and no code
//!   of the application runs under a lock. A response may be dropped at any point and holds up no other request.
//!
//! # Where the state lives
//!
//! | | how | the client has | good for |
//! | --- | --- | --- | --- |
//! | in a store | [`SessionLayer::server`] | an ID | most applications |
//! | in the cookie | [`SessionLayer::client`] with [`CookieState`] | all of it, encrypted, or signed and readable | small state without any storage |
//! | one part in a separate cookie | [`SessionLayer::with_part`] with [`InCookie`] | that part, sealed | preferences beside a session in a store |
//! | one part in a separate record | [`SessionLayer::with_part`] with [`InStore`] | an ID | large state that few requests need |
//! | a part of it in tables | [`SessionLayer::with_part`] with `InTables` | an ID | what is queried, or becomes data that stays |
//!
//! Handlers stay the same. The crate comes with the [`MemoryStore`], its features add stores for servers, and yours
//! implements [`Store`](store::Store). An [`AnyStore`] is chosen by its URL at run time.
//!
//! # The guide
//!
//! - [Quick start](guide::quick_start): from nothing to a login and a logout.
//! - [Timeouts](guide::timeouts), [keys](guide::keys) and [stores](guide::stores).
//! - [Parts](guide::parts), [which state goes where](guide::places), and [parts in tables](guide::tables).
//! - [Accounts](guide::accounts): logins, devices, and ending sessions from outside.
//! - [Recipes](guide::recipes): short answers, from a login in a test to state in cookies behind nginx.
//! - [Events](guide::events): what happens to sessions, and what to be alarmed at.
//! - [Security](guide::security): the rules, their sources, and what cannot be had.
//! - [Design](guide::design): why it is made the way it is.
//! - [Comparison](guide::comparison) with other crates, read in their sources.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `axum` | yes | [`Session`], [`Part<T>`](Part) and [`SessionLoader`] as arguments of handlers, and [`Error`] as a response |
//! | `memcached` | no | `MemcachedStore`: one server of memcached, which may forget |
//! | `mongodb` | no | `MongodbStore`: MongoDB, over its driver |
//! | `sqlite`, `postgres`, `mysql` | no | `SqliteStore`, `PostgresStore`, `MySqlStore` (MariaDB too), over a pool of sqlx, and `InTables` for parts |
//! | `redis` | no | `RedisStore`: one server of Redis or Valkey, or any connection of the crate `redis` |
//! | `redis-cluster`, `redis-sentinel` | no | `RedisStore::connect_cluster`, `RedisStore::connect_sentinel` |
//! | `tracing` | no | [events](guide::events) of sessions, and a span around each call of a store |
//! | `test-kit` | no | for `[dev-dependencies]`: a suite that tries the contract on a store, a clock that stands still, an observer that remembers, a store that fails on demand |
//!
//! The crate needs Rust 1.88, and 1.94 with the features for SQL. It runs on tokio, whose timers bound the calls of a
//! store, and has no unsafe code.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod account;
mod base64url;
mod clock;
mod cookie;
mod error;
mod event;
pub mod guide;
mod middleware;
mod part;
mod random;
mod record;
mod seal;
mod session;
mod state;
pub mod store;
#[cfg(feature = "test-kit")]
pub mod test_kit;

pub use account::{RecentLoginService, RequireRecentLogin, require_recent_login};
pub use account::{Revocations, SessionInfo, Sessions};
pub use clock::{Clock, SystemClock, Timestamp};
pub use cookie::{CookieConfig, CookieLifetime, SameSite};
pub use error::{ConfigError, Error, ErrorKind};
pub use event::{Observer, RevocationCause, SessionEvent};
pub use middleware::{BodyOrError, ErrorBody, ResponseFuture, SessionLayer, SessionService};
pub use part::{InCookie, InStore, PartPlace, Placement, SessionPart};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use part::{InTables, SqlEngine, Tables};
pub use record::Lifetime;
pub use record::lifetime::Expiry;
pub use seal::{Key, KeyRing};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use session::PartTransaction;
pub use session::{Main, Part, PartInfo, PartOrDefault, Session, SessionLoader};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use state::LockStatement;
pub use state::{ConflictPolicy, CookieState, ServerErrorPolicy, SessionLimitPolicy};
#[cfg(feature = "memcached")]
pub use store::MemcachedStore;
#[cfg(feature = "mongodb")]
pub use store::MongodbStore;
#[cfg(feature = "mysql")]
pub use store::MySqlStore;
#[cfg(feature = "postgres")]
pub use store::PostgresStore;
#[cfg(feature = "redis")]
pub use store::RedisStore;
#[cfg(feature = "sqlite")]
pub use store::SqliteStore;
pub use store::{AnyStore, Handle, MemoryStore};

#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
enum Readme {}
