//! A master and two replicas, watched by three Sentinels.

use std::sync::{Arc, OnceLock};

use session_state::RedisStore;
use session_state::store::{Outcome, Store as _, Version};

use super::failover::{self, Load};
use super::servers::{Watched, url};
use super::{PREFIX, beside, key, keys_without_ttl, now, prefix, record};

/// Servers that the tests of this process share.
struct Shared;

impl Shared {
    fn watched() -> Option<&'static Watched> {
        static WATCHED: OnceLock<Option<Watched>> = OnceLock::new();
        WATCHED.get_or_init(Watched::start).as_ref()
    }

    fn shared(&self) -> Option<String> {
        Self::watched().map(|_| String::new())
    }
}

conformance_on_server!(Shared, open_shared, without sweep);

async fn open(watched: &Watched) -> RedisStore {
    RedisStore::connect_sentinel(watched.client()).await.unwrap().with_key_prefix(prefix()).unwrap()
}

async fn open_shared(_: &str) -> RedisStore {
    open(Shared::watched().unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_next_master_is_found_and_at_most_the_last_moment_is_lost() {
    let Some(watched) = Watched::start() else { return };
    let load = Load::begin(open(&watched).await).await;
    load.more(2_000).await;
    load.checkpoint();
    failover::wait_for_replicas(&url(watched.master()), 2);
    load.more(2_000).await;
    let victim = watched.master();
    victim.kill();
    load.until_all_are_answered().await;
    assert_ne!(watched.master().address(), victim.address());
    load.more(2_000).await;
    // It restarts as a master, and the Sentinels demote it.
    victim.restart();
    watched.wait_until_whole();
    load.healed();
    load.more(2_000).await;
    load.end("sentinel").await;
    assert_eq!(keys_without_ttl(&mut beside(&url(watched.master())), PREFIX), [""; 0]);
}

#[tokio::test]
async fn a_hanging_master_is_replaced_by_the_next_one() {
    let Some(watched) = Watched::start() else { return };
    let store = open(&watched).await;
    assert!(store.create(&key(1), Arc::new(record(1, 1)), now()).await.unwrap());
    failover::wait_for_replicas(&url(watched.master()), 2);
    let victim = watched.master();
    victim.stop();
    let outcome =
        failover::until_ok(async || store.update(&key(1), Version::FIRST, Arc::new(record(2, 2)), now()).await).await;
    assert_eq!(outcome, Outcome::Done);
    assert_ne!(watched.master().address(), victim.address());
    victim.cont();
}
