//! The stores, each behind its feature.

use axum::Router;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use axum::routing::{MethodRouter, post};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use session_state::Tables;
#[cfg(feature = "memcached")]
use session_state::store::MemcachedStore;
#[cfg(feature = "mongodb")]
use session_state::store::MongodbStore;
#[cfg(feature = "mysql")]
use session_state::store::MySqlStore;
#[cfg(feature = "postgres")]
use session_state::store::PostgresStore;
#[cfg(feature = "redis")]
use session_state::store::RedisStore;
#[cfg(feature = "sqlite")]
use session_state::store::SqliteStore;
use session_state::store::Store;
use session_state::{CookieState, InStore, SessionLayer};

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use crate::cart::{self, Cart};
use crate::options::{Engine, Error};

/// Opens the store at an address. A table or an index that is missing is made.
#[cfg(any(
    feature = "sqlite",
    feature = "postgres",
    feature = "mysql",
    feature = "mongodb",
    feature = "redis-cluster"
))]
macro_rules! open {
    (migrated $store:ident $address:expr) => {{
        let store = $store::connect($address).await?;
        store.migrate().await?;
        store
    }};
    (redis_cluster $address:expr) => {{
        // Nodes of a Cluster, with commas between.
        let nodes = $address.trim_start_matches("redis-cluster://").split(',');
        RedisStore::connect_cluster(nodes.map(|node| format!("redis://{node}"))).await?
    }};
}

/// An open state on the server.
pub(crate) struct Opened {
    pub(crate) layer: SessionLayer,
    /// The place of parts in the same store.
    pub(crate) parts: InStore,
    /// The routes that only this state has.
    pub(crate) routes: Router,
}

impl Opened {
    pub(crate) fn new(store: impl Store + Clone) -> Self {
        Self { layer: SessionLayer::server(store.clone()), parts: InStore::new(store), routes: Router::new() }
    }

    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    fn with_cart(self, tables: Tables<Cart>, checkout: MethodRouter) -> Result<Self, Error> {
        Ok(Self { layer: self.layer.with_part::<Cart>(tables)?, routes: cart::router(checkout), ..self })
    }
}

/// Opens the store at `address`, with a layer over it and the routes that only it has.
pub(crate) async fn open(engine: Engine, address: &str) -> Result<Opened, Error> {
    match engine {
        #[cfg(feature = "sqlite")]
        Engine::Sqlite => {
            let store = open!(migrated SqliteStore address);
            let tables = cart::sqlite::prepare(&store).await?;
            Opened::new(store).with_cart(tables, post(cart::sqlite::checkout))
        }
        #[cfg(feature = "postgres")]
        Engine::Postgres => {
            let store = open!(migrated PostgresStore address);
            let tables = cart::postgres::prepare(&store).await?;
            Opened::new(store).with_cart(tables, post(cart::postgres::checkout))
        }
        #[cfg(feature = "mysql")]
        Engine::MySql => {
            let store = open!(migrated MySqlStore address);
            let tables = cart::mysql::prepare(&store).await?;
            Opened::new(store).with_cart(tables, post(cart::mysql::checkout))
        }
        #[cfg(feature = "redis")]
        Engine::Redis => Ok(Opened::new(RedisStore::connect(address).await?)),
        #[cfg(feature = "redis-cluster")]
        Engine::RedisCluster => Ok(Opened::new(open!(redis_cluster address))),
        #[cfg(feature = "memcached")]
        Engine::Memcached => Ok(Opened::new(MemcachedStore::connect(address).await?)),
        #[cfg(feature = "mongodb")]
        Engine::MongoDb => Ok(Opened::new(open!(migrated MongodbStore address))),
        #[cfg(not(all(
            feature = "sqlite",
            feature = "postgres",
            feature = "mysql",
            feature = "redis-cluster",
            feature = "memcached",
            feature = "mongodb",
        )))]
        _ => Err(not_built(engine, address)),
    }
}

/// Lets `store` remember which sessions that live in the cookie have ended. Returns the place of parts in it too.
pub(crate) fn remember(state: CookieState, store: impl Store + Clone) -> (CookieState, InStore) {
    (state.with_revocation(store.clone()), InStore::new(store))
}

/// Does so with the store at `address`.
pub(crate) async fn remember_at(
    state: CookieState,
    engine: Engine,
    address: &str,
) -> Result<(CookieState, InStore), Error> {
    match engine {
        #[cfg(feature = "sqlite")]
        Engine::Sqlite => Ok(remember(state, open!(migrated SqliteStore address))),
        #[cfg(feature = "postgres")]
        Engine::Postgres => Ok(remember(state, open!(migrated PostgresStore address))),
        #[cfg(feature = "mysql")]
        Engine::MySql => Ok(remember(state, open!(migrated MySqlStore address))),
        #[cfg(feature = "redis")]
        Engine::Redis => Ok(remember(state, RedisStore::connect(address).await?)),
        #[cfg(feature = "redis-cluster")]
        Engine::RedisCluster => Ok(remember(state, open!(redis_cluster address))),
        #[cfg(feature = "memcached")]
        Engine::Memcached => Ok(remember(state, MemcachedStore::connect(address).await?)),
        #[cfg(feature = "mongodb")]
        Engine::MongoDb => Ok(remember(state, open!(migrated MongodbStore address))),
        #[cfg(not(all(
            feature = "sqlite",
            feature = "postgres",
            feature = "mysql",
            feature = "redis-cluster",
            feature = "memcached",
            feature = "mongodb",
        )))]
        _ => {
            drop(state);
            Err(not_built(engine, address))
        }
    }
}

/// The command line has been refused before it comes to this.
#[cfg(not(all(
    feature = "sqlite",
    feature = "postgres",
    feature = "mysql",
    feature = "redis-cluster",
    feature = "memcached",
    feature = "mongodb",
)))]
fn not_built(engine: Engine, address: &str) -> Error {
    format!("the probe was built without {engine:?}, whose address has {} bytes", address.len()).into()
}
