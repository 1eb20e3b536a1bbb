//! The stores of this crate that need a server, and the expectations for each.

use std::future::Future;
use std::pin::Pin;

use session_state::SessionLayer;

use crate::harness::engines::Engine;

/// A store and the server it is for.
pub(crate) struct Adapter {
    pub(crate) engine: &'static Engine,
    /// Makes a layer over a store at an address. Creates the table if the store has one and it is missing.
    pub(crate) open: fn(String) -> Opening,
    /// Whether acknowledged writes survive a kill and restart of the server.
    pub(crate) is_durable: bool,
    /// The round trips of a renewal, without the load.
    pub(crate) renewal: usize,
    /// Counts the sessions and forwards on a server at an address.
    pub(crate) count: fn(String) -> Count,
}

pub(crate) type Count = Pin<Box<dyn Future<Output = u64> + Send>>;

pub(crate) type Opening = Pin<Box<dyn Future<Output = SessionLayer> + Send>>;

/// Makes the tests that every adapter has to pass.
macro_rules! tests_of_adapter {
    ([on_server] $adapter:expr, $($module:ident { $($name:ident)* })*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                crate::$module::$name(&$adapter).await;
            }
        )*)*
    };
    ([on_nodes] $module:ident $state:expr, $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                if let Some(state) = $state {
                    crate::$module::$name(&state);
                }
            }
        )*
    };
    ([nodes] $state:expr) => {
        tests_of_adapter! { [on_nodes] nodes $state,
            writes_of_one_node_are_visible_to_the_others_at_once
            a_logout_on_one_node_takes_effect_on_all_at_once
            a_login_on_one_node_kills_the_old_id_on_all
            additions_on_one_node_after_the_other_add_up
            fifty_additions_at_once_on_three_nodes_add_up
            a_renewal_on_one_node_is_followed_on_all
            a_renewal_without_grace_on_one_node_kills_the_old_id_on_all
            a_killed_node_loses_no_session
            a_node_killed_during_additions_loses_no_acknowledged_one
        }
    };
    ([cookies] $state:expr) => {
        tests_of_adapter! { [on_nodes] cookies $state,
            a_logged_out_cookie_is_rejected_on_all_nodes
            the_cookies_of_a_principal_are_ended_on_all_nodes_and_later_logins_live
            thirty_concurrent_revocations_on_three_nodes_all_succeed
        }
    };
    ([devices] $state:expr) => {
        tests_of_adapter! { [on_nodes] devices $state,
            devices_are_listed_on_all_nodes_as_soon_as_they_log_in_and_no_longer_than_they_live
            a_device_that_is_ended_on_one_node_is_anonymous_on_all
            all_other_devices_and_all_devices_are_ended_on_all_nodes
            a_hundred_logins_at_once_on_three_nodes_with_room_for_three_leave_exactly_three
        }
    };
    ($adapter:expr) => {
        tests_of_adapter! { [on_server] $adapter,
            at_rest { values_encrypted_at_rest_survive_and_are_hidden_from_the_store }
            round_trips { each_kind_of_request_takes_the_minimum_of_round_trips }
            faults {
                a_server_that_cannot_be_reached_is_503_and_never_an_empty_session
                a_network_failure_during_a_write_leaves_the_session_unchanged_or_fully_changed
                a_request_that_loses_a_reply_is_answered_and_takes_effect_once
                a_network_that_fails_after_a_lost_reply_is_503_and_nothing_is_written_twice
                dead_idle_connections_fail_no_request
                a_restart_between_two_requests_is_transparent
            }
            outages {
                a_killed_server_loses_no_acknowledged_write_and_revives_no_session
                a_halted_server_loses_no_acknowledged_write_and_revives_no_session
            }
        }
        tests_of_adapter! { [nodes] $adapter.engine.shared() }
        tests_of_adapter! { [cookies] $adapter.engine.shared() }
    };
}

#[cfg(feature = "memcached")]
mod memcached {
    use session_state::SessionLayer;
    use session_state::store::MemcachedStore;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::Adapter;
    use crate::harness::engines::MEMCACHED;

    const ADAPTER: Adapter = Adapter {
        engine: &MEMCACHED,
        open: |url| {
            Box::pin(async move { SessionLayer::server(MemcachedStore::connect(&url).await.expect("a connection")) })
        },
        // It keeps everything in memory.
        is_durable: false,
        renewal: 2,
        count: |url| {
            Box::pin(async move {
                let mut server = TcpStream::connect(url.trim_start_matches("memcached://")).await.unwrap();
                server.write_all(b"stats\r\nquit\r\n").await.unwrap();
                let mut stats = String::new();
                server.read_to_string(&mut stats).await.unwrap();
                let count = stats.lines().find_map(|line| line.strip_prefix("STAT curr_items "));
                count.unwrap().parse().unwrap()
            })
        },
    };

    tests_of_adapter!(ADAPTER);
    tests_of_adapter! { [on_nodes] devices ADAPTER.engine.shared(),
        a_state_without_lists_has_none_of_their_routes
    }
}

#[cfg(feature = "mongodb")]
mod mongodb {
    use session_state::SessionLayer;
    use session_state::store::MongodbStore;

    use super::Adapter;
    use crate::harness::engines::MONGODB;

    const ADAPTER: Adapter = Adapter {
        engine: &MONGODB,
        open: |url| {
            Box::pin(async move {
                let store = MongodbStore::connect(&url).await.expect("a connection");
                store.migrate().await.expect("a migrated collection");
                SessionLayer::server(store)
            })
        },
        is_durable: true,
        renewal: 2,
        count: |url| {
            Box::pin(async move {
                let client = mongodb::Client::with_uri_str(url).await.unwrap();
                let sessions = client.database("sessions").collection::<mongodb::bson::Document>("sessions");
                sessions.count_documents(mongodb::bson::doc! {}).await.unwrap()
            })
        },
    };

    tests_of_adapter!(ADAPTER);
    tests_of_adapter!([devices] ADAPTER.engine.shared());
}

#[cfg(feature = "redis")]
mod redis {
    use session_state::SessionLayer;
    use session_state::store::RedisStore;

    use super::Adapter;
    use crate::harness::engines::REDIS;

    const ADAPTER: Adapter = Adapter {
        engine: &REDIS,
        open: |url| {
            Box::pin(async move { SessionLayer::server(RedisStore::connect(url).await.expect("a connection")) })
        },
        is_durable: true,
        renewal: 1,
        count: |url| {
            Box::pin(async move {
                let client = redis::Client::open(url).unwrap();
                let mut connection = client.get_multiplexed_async_connection().await.unwrap();
                let keys: Vec<String> = redis::cmd("KEYS").arg("session:*").query_async(&mut connection).await.unwrap();
                // Without the indexes of principals.
                keys.iter().filter(|key| !key.starts_with("session:p:")).count() as u64
            })
        },
    };

    tests_of_adapter!(ADAPTER);
    tests_of_adapter!([devices] ADAPTER.engine.shared());
}

#[cfg(feature = "postgres")]
mod postgres {
    use session_state::{PostgresStore, SessionLayer};

    use super::Adapter;
    use crate::harness::engines::POSTGRES;

    const ADAPTER: Adapter = Adapter {
        engine: &POSTGRES,
        open: |url| {
            Box::pin(async move {
                let store = PostgresStore::connect(&url).await.expect("a connection");
                store.migrate().await.expect("a migrated table");
                SessionLayer::server(store)
            })
        },
        is_durable: true,
        renewal: 1,
        count: |url| {
            Box::pin(async move {
                let pool = sqlx::PgPool::connect(&url).await.unwrap();
                let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM session_state").fetch_one(&pool);
                u64::try_from(count.await.unwrap()).unwrap()
            })
        },
    };

    tests_of_adapter!(ADAPTER);
    tests_of_adapter!([devices] ADAPTER.engine.shared());
}

#[cfg(feature = "mysql")]
mod mysql {
    use session_state::{MySqlStore, SessionLayer};

    use super::Adapter;
    use crate::harness::engines::MYSQL;

    const ADAPTER: Adapter = Adapter {
        engine: &MYSQL,
        open: |url| {
            Box::pin(async move {
                let store = MySqlStore::connect(&url).await.expect("a connection");
                store.migrate().await.expect("a migrated table");
                SessionLayer::server(store)
            })
        },
        is_durable: true,
        renewal: 1,
        count: |url| {
            Box::pin(async move {
                let pool = sqlx::MySqlPool::connect(&url).await.unwrap();
                let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM session_state").fetch_one(&pool);
                u64::try_from(count.await.unwrap()).unwrap()
            })
        },
    };

    tests_of_adapter!(ADAPTER);
    tests_of_adapter!([devices] ADAPTER.engine.shared());
}

/// A file, which needs no server and is immune to network faults.
#[cfg(feature = "sqlite")]
mod sqlite {
    use std::sync::atomic::{AtomicU32, Ordering};

    tests_of_adapter!([nodes] Some(new_database()));
    tests_of_adapter!([cookies] Some(new_database()));
    tests_of_adapter!([devices] Some(new_database()));

    fn new_database() -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("nodes");
        let directory = directory.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        format!("sqlite:{}", directory.join("sessions.db").display())
    }
}
