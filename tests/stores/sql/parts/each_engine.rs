//! The tests of parts in tables, made for each engine.

/// Makes the tests of parts that all engines share, in a module that has those of `tests_of_sql_store`, and in it
/// `const WATCH`, the triggers of [`Database::watch`], and `TEXT`, a type for texts. With `[shop]` it makes only what
/// they need, and with `[each]` those that are named.
macro_rules! tests_of_parts {
    ([each] $($module:ident { $($name:ident)* })*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                if let Some(shop) = shop().await {
                    crate::sql::parts::$module::$name(shop).await;
                }
            }
        )*)*
    };
    ([alone] $($module:ident { $($name:ident)* })*) => {
        $($(
            /// In a separate thread, which a deadlock would block forever.
            #[test]
            fn $name() {
                let (sender, receiver) = std::sync::mpsc::channel();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
                    runtime.unwrap().block_on(async {
                        if let Some(shop) = shop().await {
                            crate::sql::parts::$module::$name(shop).await;
                        }
                    });
                    sender.send(()).unwrap();
                });
                receiver.recv_timeout(std::time::Duration::from_secs(60)).expect("it neither fails nor blocks");
            }
        )*)*
    };
    ([network] $server:expr, $store:ident, $pool_at:expr, $($name:ident)*) => {
        /// Creates an application whose store is behind a proxy.
        async fn shop_behind_proxy() -> Option<(Shop, crate::harness::proxy::Proxy)> {
            let proxy = crate::harness::proxy::Proxy::start($server.server()?.address()).await;
            let (scene, pool) = (Scene::migrated().await?, $pool_at($server.url(proxy.address())).await);
            let store = $store::new(pool).with_table(&scene.table).unwrap();
            Some((open(scene, store).await, proxy))
        }

        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                if let Some((shop, proxy)) = shop_behind_proxy().await {
                    crate::sql::parts::network::$name(shop, proxy).await;
                }
            }
        )*
    };
    ([network] $server:expr, $store:ident, $pool_at:expr) => {
        tests_of_parts! { [network] $server, $store, $pool_at,
            a_row_whose_reply_is_lost_is_written_once
            a_row_can_be_removed_after_the_reply_to_its_insert_was_lost
            a_checkout_whose_reply_is_lost_takes_place_once_or_not_at_all
            dead_connections_fail_no_checkout
            a_request_that_is_dropped_leaves_no_transaction_on_its_connection
            a_request_takes_the_minimum_of_round_trips
        }
    };
    ([shop] $engine:ident, $store:ident) => {
        use std::sync::Arc;

        use session_state::{Error, InTables, LockStatement, Part, SessionLayer};

        use super::*;
        use crate::browser::App;
        use crate::sql::parts::{Boxed, Cart, Checkout, Database, End, Line, Plan, Seats, Shop};

        impl Database for Scene {
            fn run(&self, sql: String) -> Boxed<'_, ()> {
                Box::pin(async move { Scene::run(self, &sql).await })
            }

            fn number(&self, sql: String) -> Boxed<'_, i64> {
                Box::pin(async move { Scene::number(self, &sql).await })
            }

            fn sweep(&self, now: session_state::Timestamp) -> Boxed<'_, usize> {
                Box::pin(async move { self.store.sweep(now, 1_000_000).await.unwrap() })
            }

            fn watch(&self) -> Boxed<'_, ()> {
                Box::pin(async move {
                    Scene::run(self, &format!("CREATE TABLE @t_log (what {TEXT}, sku {TEXT})")).await;
                    for event in ["INSERT", "UPDATE", "DELETE"] {
                        let row = if event == "DELETE" { "OLD" } else { "NEW" };
                        Scene::run(self, &WATCH.replace("@event", event).replace("@row", row)).await;
                    }
                })
            }

            fn check_out<'a>(&'a self, cart: &'a mut Part<Cart>, plan: Plan) -> Boxed<'a, Result<Checkout, Error>> {
                Box::pin(self.order(cart, plan))
            }

            fn take<'a>(&'a self, lock: &'a LockStatement, plan: Plan) -> Boxed<'a, Option<Checkout>> {
                Box::pin(self.take_in_own_transaction(lock, plan))
            }
        }

        impl Scene {
            async fn order(&self, cart: &mut Part<Cart>, mut plan: Plan) -> Result<Checkout, Error> {
                let Some(mut checkout) = cart.begin::<sqlx::$engine>().await? else { return Ok(Checkout::Nothing) };
                plan.pass().await;
                let rows: Vec<_> =
                    checkout.lines.iter().map(|line| format!("('{}', {})", line.sku, line.quantity)).collect();
                let sql = match plan.end {
                    End::Fail => "INSERT INTO @t_orders VALUES (NULL, NULL)".to_owned(),
                    End::Commit | End::Drop => format!("INSERT INTO @t_orders VALUES {}", rows.join(", ")),
                };
                let sql = sqlx::AssertSqlSafe(sql.replace("@t", &self.table));
                let ordered = sqlx::raw_sql(sql).execute(checkout.connection()).await;
                if ordered.is_err() || plan.end == End::Drop {
                    return Ok(Checkout::Dropped);
                }
                let shown = checkout.shown();
                checkout.commit().await?;
                Ok(Checkout::Ordered(shown))
            }
        }

        impl Scene {
            /// Turns the lines of a cart into orders in a transaction that sqlx and not the layer begins.
            async fn take_in_own_transaction(&self, lock: &LockStatement, mut plan: Plan) -> Option<Checkout> {
                let mut transaction = self.pool.begin().await.unwrap();
                let locking = sqlx::query(sqlx::AssertSqlSafe(lock.sql())).bind(lock.data());
                if locking.execute(&mut *transaction).await.unwrap().rows_affected() == 0 {
                    return None;
                }
                plan.pass().await;
                let of_session = format!("WHERE session = {}", literal(lock.session().as_bytes()));
                let select = format!("SELECT sku, quantity FROM {}_lines {of_session} ORDER BY sku", self.table);
                let rows = sqlx::query_as(sqlx::AssertSqlSafe(select)).fetch_all(&mut *transaction).await.unwrap();
                let lines = rows.into_iter().map(|(sku, quantity)| Line { sku, quantity, wish: None }).collect();
                for statement in [
                    "INSERT INTO @t_orders SELECT sku, quantity FROM @t_lines",
                    "DELETE FROM @t_lines",
                    "DELETE FROM @t_carts",
                ] {
                    let sql = format!("{} {of_session}", statement.replace("@t", &self.table));
                    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await.unwrap();
                }
                if plan.end != End::Commit {
                    return Some(Checkout::Dropped);
                }
                transaction.commit().await.unwrap();
                Some(Checkout::Ordered(Cart { lines, ..Cart::default() }.shown()))
            }
        }

        async fn shop() -> Option<Shop> {
            let scene = Scene::migrated().await?;
            let store = scene.store.clone();
            Some(open(scene, store).await)
        }

        /// Creates the tables, and an application over a store with the scene's table.
        async fn open(scene: Scene, store: $store) -> Shop {
            let name = |table: &str| format!("{}_{table}", scene.table);
            let cart = InTables::new(&store).with_row(&name("carts"));
            let cart = cart.add_collection("lines", &name("lines"), &["sku"]);
            let seats = InTables::new(&store).add_collection("meals", &name("meals"), &["name"]);
            let seats = seats.add_collection("seats", &name("seats"), &["bench", "place"]);
            let (begin, end) = ("\"quantity\" ", " NOT NULL");
            let schema = format!("{}{}", cart.schema::<Cart>().unwrap(), seats.schema::<Seats>().unwrap());
            // With a constraint that the type does not have.
            let (before, rest) = schema.replace('`', "\"").split_once(begin).map(own).unwrap();
            let (integer, after) = rest.split_once(end).unwrap();
            let schema = format!("{before}{begin}{integer}{end} CHECK (quantity <= 24){after}");
            let quote = if schema.contains("InnoDB") { "`" } else { "\"" };
            scene.run(&schema.replace('"', quote)).await;
            let text = TEXT;
            scene.run(&format!("CREATE TABLE @t_orders (sku {text} NOT NULL, quantity BIGINT NOT NULL)")).await;
            let (cart, seats) = (cart.check::<Cart>().await.unwrap(), seats.check::<Seats>().await.unwrap());
            let former = App::new(SessionLayer::server(store.clone()));
            let layer = SessionLayer::server(store).with_part::<Cart>(cart).unwrap().with_part::<Seats>(seats).unwrap();
            Shop { app: App::new(layer), former, database: Arc::new(scene) }
        }

        fn own((before, after): (&str, &str)) -> (String, String) {
            (before.to_owned(), after.to_owned())
        }
    };
    ($engine:ident, $store:ident) => {
        tests_of_parts! { [shop] $engine, $store }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_request_that_is_dropped_leaves_no_transaction_on_the_only_connection() {
            let Some(scene) = Scene::migrated().await else { return };
            let store = scene.on_one_connection().await;
            let shop = open(scene, store).await;
            crate::sql::parts::drops::a_request_that_is_dropped_leaves_no_transaction_on_the_only_connection(shop).await;
        }

        tests_of_parts! { [alone]
            closures { a_closure_may_use_the_session_while_a_checkout_is_open }
        }
        tests_of_parts! { [each]
            dead_ids {
                a_request_with_a_dead_id_sees_no_newer_row
                a_request_with_a_dead_id_writes_no_row
                a_request_with_a_dead_id_removes_no_row
                a_rejected_request_writes_no_row
                a_part_held_during_a_takeover_writes_no_row_into_the_new_session
            }
            drops {
                a_request_that_is_dropped_leaves_its_rows_and_its_session_in_step
                a_checkout_that_is_dropped_takes_place_whole_or_not_at_all
            }
            rows {
                a_part_survives_a_round_trip_and_reading_writes_nothing
                only_the_changed_of_two_hundred_rows_are_written
                two_requests_that_change_different_rows_both_win
                the_later_change_of_one_row_wins_field_by_field
                a_closure_runs_again_on_the_row_written_by_another_request
                a_removed_row_is_not_revived_by_a_change
                with_the_fail_policy_requests_conflict_by_row_and_not_by_part
                twenty_requests_at_once_lose_no_row
                a_row_that_violates_a_constraint_is_409_and_the_request_saves_nothing
            }
            moves {
                a_part_that_leaves_the_record_moves_into_its_tables_with_its_first_change
                a_part_that_is_still_in_the_record_is_checked_out_once
            }
            lifetimes {
                rows_go_with_their_session
                abandoned_carts_leave_no_row
                rows_stay_through_renewals_and_a_login
                rows_written_after_the_end_of_a_session_belong_to_a_new_one
                a_late_request_revives_no_row
                another_principal_never_gets_the_rows
            }
            checkouts {
                a_checkout_takes_place_once
                without_rows_there_is_no_checkout
                a_checkout_that_is_dropped_or_fails_changes_nothing
                one_of_eight_concurrent_checkouts_succeeds
                rows_added_during_a_checkout_are_in_the_next_cart
                an_order_includes_rows_added_just_before
                a_checkout_follows_renewals_before_and_during_it
                a_checkout_works_on_sessions_that_are_sealed
                after_a_checkout_the_request_goes_on
                a_part_that_has_no_tables_cannot_become_an_order
            }
            lock_statements {
                a_transaction_of_the_application_turns_a_cart_into_an_order_once
                a_lock_statement_affects_no_session_that_has_changed_or_ended
                changes_during_a_locked_transaction_are_replayed_on_what_it_leaves
                one_of_eight_concurrent_transactions_takes_the_cart
                after_a_transaction_of_the_application_the_request_goes_on
                a_part_that_is_still_in_the_record_is_locked_with_its_rows
                there_is_no_lock_statement_without_a_session_or_without_tables
            }
        }
    };
}
