//! The conformance suite of the [`Store`] contract, with a case for each rule.
//!
//! One line runs it on a store:
//!
//! ```no_run
//! use session_state::MemoryStore;
//!
//! session_state::store_conformance_tests!(async { MemoryStore::new() });
//! # fn main() {}
//! ```
//!
//! See [`store_conformance_tests!`](crate::store_conformance_tests). Each of the [`cases`] is an `async fn` that panics
//! if the store breaks the rule; [`all`] and [`all_of_principals`] list them for your own test runner.
//!
//! | group | proves that |
//! | --- | --- |
//! | put | an entry is written if the key is free, or has the expected version, and only then |
//! | create | a record comes back exactly as it was, of any size, text and deadline, and takes a free key only |
//! | update | a compare-and-swap on the version replaces the whole record and its deadline, and revives nothing |
//! | touch | times move forward only, and neither the version nor a value changes |
//! | renew | a session moves to another key, and the old key leads there; a repeated renewal changes nothing |
//! | delete | a session ends whatever its version, its key keeps the forward, and no late write revives it |
//! | waits | a store that [never waits](Store::NEVER_WAITS) does not |
//! | keys | keys are told apart bit by bit |
//! | races | of concurrent calls exactly one succeeds, nothing is lost, and a session can always be found |
//! | model | random calls agree with a map in memory |
//! | sweep | expired entries are removed, and nothing else |
//! | principals | lists and counts are exact, in order, and never stale |
//! | revoke | exactly the given sessions end, also under new keys |
//! | principal_races | a list misses no session during renewals, and a revocation none |
//!
//! The last three need a store that [finds principals](FindPrincipals), and `sweep` one that is swept. A store without
//! them says so in the macro, and these tests are shown as ignored.
//!
//! - The cases use random keys. They may share one database, run at the same time, and leave entries behind.
//! - The database must be for tests: sweeps delete entries that expire within the next two hours.
//! - The cases pass the real time, or a later one to let an entry expire, and never wait. The clock of an engine that
//!   expires entries by itself must be right to within a few minutes.
//! - A case makes up to eight concurrent calls. Each must get a connection eventually.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::store::{FindPrincipals, Store};

mod create;
mod delete;
mod keys;
mod macros;
mod model;
mod principal_races;
mod principals;
mod put;
mod races;
mod renew;
mod revoke;
mod support;
mod sweep;
mod test_user;
mod touch;
mod update;
mod waits;

pub use model::compare_with_model;

/// The time limit of a case, which only a store that hangs exceeds.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// The list of all cases, by group and module: passes `[$args]` and the list to the macro in braces. The compiler
/// reports a case that is missing here as dead code.
#[doc(hidden)]
#[macro_export]
macro_rules! __each_store_conformance_case {
    ({ $($then:tt)* } $($args:tt)*) => {
        $($then)*! {
            [$($args)*]
            always {
                put {
                    a_put_takes_a_free_key
                    a_put_without_a_version_never_replaces
                    a_put_replaces_the_record_of_its_version
                    a_put_of_an_expired_entry_frees_the_key
                    a_put_with_a_version_never_creates_or_replaces_another
                    one_of_concurrent_puts_succeeds
                }
                waits {
                    a_store_that_never_waits_is_always_ready
                }
                create {
                    a_key_that_was_never_used_has_no_entry
                    a_created_record_loads_exactly_as_it_was
                    an_empty_record_loads_exactly_as_it_was
                    keys_values_and_texts_in_any_script_load_exactly
                    a_long_principal_is_not_cut
                    values_of_one_mebibyte_survive
                    a_record_may_live_for_400_days
                    a_deadline_at_the_end_of_time_has_not_passed
                    a_record_is_live_until_the_millisecond_it_expires
                    create_rejects_a_taken_key_and_changes_nothing
                    create_rejects_a_retired_key_and_changes_nothing
                    create_replaces_an_expired_record
                    create_replaces_an_expired_forward
                    a_deleted_key_can_be_created_again
                }
                update {
                    an_update_replaces_the_whole_record
                    an_update_sets_the_new_deadline
                    an_update_that_expects_an_earlier_version_conflicts_and_changes_nothing
                    an_update_that_expects_a_later_version_conflicts_and_changes_nothing
                    an_update_never_creates
                    an_update_after_a_delete_finds_the_session_gone
                    an_update_of_an_expired_record_finds_it_gone
                    an_update_just_before_the_deadline_succeeds
                    an_update_of_a_retired_key_returns_the_forward_and_changes_nothing
                    an_update_of_one_session_leaves_the_others
                }
                touch {
                    a_touch_moves_the_times_and_nothing_else
                    a_touched_record_lives_until_its_new_deadline
                    a_touch_never_moves_a_time_backwards
                    a_touch_moves_each_time_independently
                    a_touch_of_another_version_does_nothing
                    an_update_after_a_touch_expects_the_same_version
                    a_touch_never_creates
                    a_touch_never_revives_a_deleted_record
                    a_touch_never_revives_an_expired_record
                    a_touch_of_a_retired_key_does_nothing
                }
                renew {
                    a_renewal_moves_the_record_and_leaves_the_forward
                    forwards_load_exactly_as_they_were
                    a_renewal_of_another_version_conflicts_and_changes_nothing
                    a_renewal_never_begins_a_session
                    a_renewal_after_a_delete_finds_the_session_gone
                    a_renewal_of_an_expired_record_finds_it_gone
                    a_renewal_of_a_retired_key_returns_the_forward_and_changes_nothing
                    a_repeated_renewal_finds_its_own_forward_and_changes_nothing
                    each_renewal_of_a_session_leaves_a_separate_forward
                    a_renewed_record_is_written_under_its_new_key
                    a_forward_is_kept_until_the_millisecond_it_expires
                    the_forward_and_the_record_have_separate_deadlines
                }
                delete {
                    a_deleted_record_is_gone
                    a_record_of_any_version_is_deleted
                    a_delete_of_a_retired_key_returns_the_forward_and_keeps_it
                    a_delete_of_the_new_key_leaves_the_forward
                    a_delete_of_an_expired_forward_finds_it_gone
                    a_delete_of_an_expired_record_finds_it_gone
                    a_delete_leaves_the_forward_that_it_is_given
                    a_delete_that_ends_nothing_leaves_no_forward
                    the_forward_of_a_delete_is_kept_until_the_millisecond_it_expires
                }
                keys {
                    keys_that_differ_in_one_bit_are_distinct
                    keys_that_differ_in_the_case_of_letters_are_distinct
                    keys_that_differ_after_a_zero_or_in_their_padding_are_distinct
                    keys_that_are_not_utf8_or_collate_equal_are_distinct
                }
                races {
                    concurrent_increments_lose_nothing
                    one_of_concurrent_updates_of_one_version_is_done
                    one_of_concurrent_creates_of_one_key_succeeds
                    one_of_concurrent_renewals_of_one_session_is_done
                    one_of_a_concurrent_update_and_renewal_is_done
                    one_of_concurrent_deletes_of_one_session_is_done
                    a_session_is_found_throughout_its_renewal
                    nothing_is_live_after_a_delete_that_followed_the_forward
                    nothing_is_live_after_a_delete_during_updates_and_touches
                    concurrent_touches_lose_no_update
                }
                model {
                    random_calls_agree_with_a_plain_model
                }
            }
            sweep {
                sweep {
                    sweeps_remove_expired_entries_and_nothing_else
                    a_sweep_uses_the_time_it_is_given
                    a_sweep_stops_at_about_its_limit
                    concurrent_sweeps_are_safe
                }
            }
            principals {
                principals {
                    a_store_that_finds_principals_says_so
                    sessions_are_found_by_their_principal_with_all_fields
                    pages_follow_the_order_of_handles
                    principals_are_compared_byte_by_byte
                    the_empty_principal_is_not_the_absence_of_one
                    a_session_is_found_until_the_millisecond_it_expires
                    a_touched_session_is_found_with_its_new_times
                    an_updated_session_is_found_as_it_was_written
                    an_update_moves_a_session_from_one_principal_to_another
                    a_renewed_session_is_found_once
                    a_login_is_found
                    a_session_that_is_taken_over_is_found_with_its_new_principal
                    a_deleted_session_is_not_found
                    a_session_that_was_replaced_is_not_found
                    a_session_that_a_put_writes_or_ends_is_found_or_not
                    failed_calls_do_not_change_lists
                }
                revoke {
                    a_revocation_ends_the_given_sessions_and_no_others
                    a_revocation_of_unknown_or_foreign_sessions_ends_nothing
                    nothing_revives_a_revoked_session
                    a_revocation_leaves_a_forward_under_the_key_of_each_session
                    a_renewed_session_is_revoked_under_its_current_key
                    hundreds_of_sessions_are_found_in_pages_and_revoked
                }
                principal_races {
                    a_list_never_misses_a_session_that_is_renewed
                    nothing_is_live_after_a_revocation_during_renewals
                    one_of_concurrent_revocations_of_one_session_ends_it
                    lists_match_the_live_sessions_after_concurrent_calls
                }
            }
        }
    };
}

macro_rules! export_cases {
    (
        []
        always { $($module:ident { $($name:ident)* })* }
        sweep { $($sweep:ident { $($swept:ident)* })* }
        principals { $($principals:ident { $($of_principals:ident)* })* }
    ) => {
        /// The cases. Each panics if the store breaks its rule.
        pub mod cases {
            $(pub use super::$module::{$($name),*};)*
            $(pub use super::$sweep::{$($swept),*};)*
            $(pub use super::$principals::{$($of_principals),*};)*
        }

        /// Returns the cases that hold for each store that is [swept](Store::sweep).
        #[must_use]
        pub fn all<S: Store>() -> Vec<Case<S>> {
            vec![$($(case!($name)),*),*, $($(case!($swept)),*),*]
        }

        /// Returns the cases of the groups `principals`, `revoke` and `principal_races`, which need a store that finds
        /// principals.
        #[must_use]
        pub fn all_of_principals<S: FindPrincipals>() -> Vec<Case<S>> {
            vec![$($(case!($of_principals)),*),*]
        }
    };
}

macro_rules! case {
    ($name:ident) => {
        Case { name: stringify!($name), run: |store| Box::pin(async move { cases::$name(&store).await }) }
    };
}

__each_store_conformance_case!({ export_cases });

/// A case by its name.
pub struct Case<S> {
    name: &'static str,
    run: fn(Arc<S>) -> Run,
}

type Run = Pin<Box<dyn Future<Output = ()>>>;

impl<S: Store> Case<S> {
    /// Returns the name, which states the rule.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the case on the store that `factory` makes, with [`check`].
    ///
    /// # Panics
    ///
    /// If the store breaks the rule.
    pub fn check(&self, factory: impl Future<Output = S>) {
        check(factory, async |store| (self.run)(Arc::clone(store)).await);
    }
}

impl<S> fmt::Debug for Case<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Runs a case on the store that `factory` makes, on a separate tokio runtime with several threads.
///
/// # Panics
///
/// If the store breaks the rule, or the case takes two minutes.
pub fn check<S: Store>(factory: impl Future<Output = S>, case: impl AsyncFnOnce(&Arc<S>)) {
    // Real threads: on one thread, a store that never waits has no races.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let run = async { case(&Arc::new(factory.await)).await };
        tokio::time::timeout(TIME_LIMIT, run).await.expect("the store hangs: the case has taken two minutes");
    });
}

/// Checks that a store tested `without sweep` removes nothing in a sweep.
///
/// # Panics
///
/// If it does.
#[doc(hidden)]
pub async fn has_no_sweep(store: &Arc<impl Store>) {
    sweep::removes_nothing(store).await;
}

/// Checks that a store tested `without principals` does not find them.
///
/// # Panics
///
/// If it does.
#[doc(hidden)]
pub async fn has_no_principals(store: &Arc<impl Store>) {
    assert!(store.principals().is_none(), "the store finds principals: test it without `without principals`");
}
