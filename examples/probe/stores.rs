//! The stores, each behind its feature.

use axum::Router;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use axum::routing::post;
use session_state::store::Store;
use session_state::{AnyStore, CookieState, InStore, SessionLayer};

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use crate::cart::{self, Cart};
use crate::options::{Engine, Error};

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

    /// Adds the cart, which only states of SQL have.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    async fn with_cart(self, engine: Engine, store: &AnyStore) -> Result<Self, Error> {
        let (tables, checkout) = match engine {
            #[cfg(feature = "sqlite")]
            Engine::Sqlite => (cart::sqlite::prepare(store).await?, post(cart::sqlite::checkout)),
            #[cfg(feature = "postgres")]
            Engine::Postgres => (cart::postgres::prepare(store).await?, post(cart::postgres::checkout)),
            #[cfg(feature = "mysql")]
            Engine::MySql => (cart::mysql::prepare(store).await?, post(cart::mysql::checkout)),
            _ => return Ok(self),
        };
        Ok(Self { layer: self.layer.with_part::<Cart>(tables)?, routes: cart::router(checkout), ..self })
    }

    #[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "mysql")))]
    async fn with_cart(self, _: Engine, _: &AnyStore) -> Result<Self, Error> {
        Ok(self)
    }
}

/// Opens the store at `address`, with a layer over it and the routes that only it has.
pub(crate) async fn open(engine: Engine, address: &str) -> Result<Opened, Error> {
    let store = connect(engine, address).await?;
    Opened::new(store.clone()).with_cart(engine, &store).await
}

/// Connects to the store at `address`. A table or an index that is missing is made.
async fn connect(engine: Engine, address: &str) -> Result<AnyStore, Error> {
    if engine == Engine::RedisCluster {
        return connect_cluster(address).await;
    }
    let store = AnyStore::connect(address).await?;
    store.migrate().await?;
    Ok(store)
}

#[cfg(feature = "redis-cluster")]
async fn connect_cluster(address: &str) -> Result<AnyStore, Error> {
    // Nodes of a Cluster, with commas between.
    let nodes = address.trim_start_matches("redis-cluster://").split(',');
    let store = session_state::RedisStore::connect_cluster(nodes.map(|node| format!("redis://{node}"))).await?;
    Ok(AnyStore::new(store))
}

/// The command line has been refused before it comes to this.
#[cfg(not(feature = "redis-cluster"))]
async fn connect_cluster(_: &str) -> Result<AnyStore, Error> {
    Err("the probe was built without the feature redis-cluster".into())
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
    Ok(remember(state, connect(engine, address).await?))
}
