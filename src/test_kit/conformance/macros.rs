//! The macros that make tests of the cases.

/// Generates a `#[test]` for each rule of the [`Store`](crate::store::Store) contract.
///
/// The argument is a future that creates the store, such as an `async` block or the call of an `async fn`. Each test
/// evaluates it on its own tokio runtime; the calling crate does not need tokio. All stores may share one database,
/// under the conditions of [`conformance`](crate::test_kit::conformance).
///
/// A store that does not find principals is tested `without principals`, and one whose engine removes expired entries
/// by itself `without sweep`. The tests of these groups are then shown as ignored.
///
/// Attributes at the end apply to each test. Put several stores of one file into separate modules.
///
/// ```no_run
/// use session_state::MemoryStore;
///
/// async fn open() -> MemoryStore {
///     MemoryStore::new()
/// }
///
/// mod unlimited {
///     session_state::store_conformance_tests!(super::open());
/// }
///
/// mod limited {
///     session_state::store_conformance_tests!(
///         async { super::open().await.with_max_sessions(10_000) },
///         #[cfg(unix)]
///     );
/// }
///
/// # mod memcached {
/// # use session_state::MemoryStore;
/// # async fn open() -> MemoryStore { MemoryStore::new() }
/// session_state::store_conformance_tests!(open(), without principals and sweep);
/// # }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_conformance_tests {
    ($factory:expr, without principals and sweep $(, $(#[$attribute:meta])*)?) => {
        $crate::__each_store_conformance_case! {
            { $crate::__store_conformance_tests } $factory, { $($(#[$attribute])*)? } no_sweep no_principals
        }
    };
    ($factory:expr, without sweep and principals $(, $(#[$attribute:meta])*)?) => {
        $crate::store_conformance_tests! { $factory, without principals and sweep $(, $(#[$attribute])*)? }
    };
    ($factory:expr, without principals $(, $(#[$attribute:meta])*)?) => {
        $crate::__each_store_conformance_case! {
            { $crate::__store_conformance_tests } $factory, { $($(#[$attribute])*)? } run no_principals
        }
    };
    ($factory:expr, without sweep $(, $(#[$attribute:meta])*)?) => {
        $crate::__each_store_conformance_case! {
            { $crate::__store_conformance_tests } $factory, { $($(#[$attribute])*)? } no_sweep run
        }
    };
    ($factory:expr $(, $(#[$attribute:meta])*)?) => {
        $crate::__each_store_conformance_case! {
            { $crate::__store_conformance_tests } $factory, { $($(#[$attribute])*)? } run run
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_conformance_tests {
    (
        [$factory:expr, $attributes:tt $sweep:ident $principals:ident]
        always { $($module:ident { $($name:ident)* })* }
        sweep { $($of_sweep:ident { $($swept:ident)* })* }
        principals { $($of_principals:ident { $($found:ident)* })* }
    ) => {
        $($($crate::__store_conformance_test! { run $attributes $name $factory })*)*
        $crate::__store_conformance_test! { checks $sweep $attributes $factory }
        $($($crate::__store_conformance_test! { $sweep $attributes $swept $factory })*)*
        $crate::__store_conformance_test! { checks $principals $attributes $factory }
        $($($crate::__store_conformance_test! { $principals $attributes $found $factory })*)*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_conformance_test {
    (run { $(#[$attribute:meta])* } $name:ident $factory:expr) => {
        $(#[$attribute])*
        #[test]
        fn $name() {
            $crate::test_kit::conformance::check($factory, $crate::test_kit::conformance::cases::$name);
        }
    };
    (no_sweep { $(#[$attribute:meta])* } $name:ident $factory:expr) => {
        $(#[$attribute])*
        #[test]
        #[ignore = "the store is not swept"]
        fn $name() {}
    };
    (no_principals { $(#[$attribute:meta])* } $name:ident $factory:expr) => {
        $(#[$attribute])*
        #[test]
        #[ignore = "the store does not find principals"]
        fn $name() {}
    };
    (checks run $attributes:tt $factory:expr) => {};
    (checks no_sweep { $(#[$attribute:meta])* } $factory:expr) => {
        $(#[$attribute])*
        #[test]
        fn the_store_is_not_swept() {
            $crate::test_kit::conformance::check($factory, $crate::test_kit::conformance::has_no_sweep);
        }
    };
    (checks no_principals { $(#[$attribute:meta])* } $factory:expr) => {
        $(#[$attribute])*
        #[test]
        fn the_store_does_not_find_principals() {
            $crate::test_kit::conformance::check($factory, $crate::test_kit::conformance::has_no_principals);
        }
    };
}
