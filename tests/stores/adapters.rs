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
            what_one_node_writes_the_others_read_at_once
            a_logout_on_one_node_is_at_once_one_on_all
            a_login_on_one_node_lets_the_old_id_die_on_all
            additions_on_one_node_after_the_other_add_up
            fifty_additions_at_once_on_three_nodes_add_up
            a_renewal_on_one_node_is_followed_on_all
            a_renewal_without_grace_on_one_node_is_the_end_of_the_old_id_on_all
            a_node_that_is_killed_takes_no_session_with_it
            a_node_that_is_killed_among_additions_loses_none_that_was_acknowledged
        }
    };
    ([cookies] $state:expr) => {
        tests_of_adapter! { [on_nodes] cookies $state,
            a_cookie_that_was_logged_out_is_refused_on_all_nodes
            the_cookies_of_a_principal_are_ended_on_all_nodes_and_later_logins_live
            thirty_revocations_at_once_on_three_nodes_all_take_place
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
            at_rest { values_encrypted_at_rest_come_back_and_the_store_has_none_of_them }
            round_trips { each_kind_of_request_goes_to_the_server_no_more_often_than_it_must }
            faults {
                a_server_that_cannot_be_reached_is_503_and_never_an_empty_session
                a_network_that_fails_during_a_write_leaves_the_session_as_it_was_or_was_to_be
                a_request_that_loses_a_reply_is_answered_and_takes_place_once
                a_network_that_fails_after_a_lost_reply_is_503_and_nothing_is_written_twice
                connections_that_have_died_unused_are_noticed_by_no_request
                a_restart_between_two_requests_is_noticed_by_no_request
            }
            outages {
                nothing_acknowledged_is_lost_and_nothing_comes_back_when_the_server_is_killed
                nothing_acknowledged_is_lost_and_nothing_comes_back_when_the_server_is_halted
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
            Box::pin(async move {
                SessionLayer::server(MemcachedStore::connect(&url).await.expect("it accepts connections"))
            })
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
                let store = MongodbStore::connect(&url).await.expect("it accepts connections");
                store.migrate().await.expect("the index is made");
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
            Box::pin(
                async move { SessionLayer::server(RedisStore::connect(url).await.expect("it accepts connections")) },
            )
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
                let store = PostgresStore::connect(&url).await.expect("it accepts connections");
                store.migrate().await.expect("it makes a table");
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
                let store = MySqlStore::connect(&url).await.expect("it accepts connections");
                store.migrate().await.expect("it makes a table");
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
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        format!("sqlite:{}", directory.join("sessions.db").display())
    }
}
