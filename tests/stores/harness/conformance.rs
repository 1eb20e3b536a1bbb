//! The conformance suite on a server.

/// Makes a `#[test]` of every rule of the store contract, as `store_conformance_tests!` does, on a shared server.
///
/// The arguments are an engine, an `async` function that takes the engine's address as `&str` and returns a store, and
/// which groups of the suite the store is tested without. The function is called for each case and gives each store a
/// table or prefix of its own.
///
/// ```text
/// conformance_on_server!(crate::harness::engines::REDIS, super::open, without sweep);
/// ```
macro_rules! conformance_on_server {
    (
        [$engine:expr, $open:expr, $sweep:ident $principals:ident]
        always { $($module:ident { $($name:ident)* })* }
        sweep { $($of_sweep:ident { $($swept:ident)* })* }
        principals { $($of_principals:ident { $($found:ident)* })* }
    ) => {
        $($(conformance_on_server! { run $engine, $open, cases::$name, $name })*)*
        conformance_on_server! { check $sweep $engine, $open }
        $($(conformance_on_server! { $sweep $engine, $open, cases::$swept, $swept })*)*
        conformance_on_server! { check $principals $engine, $open }
        $($(conformance_on_server! { $principals $engine, $open, cases::$found, $found })*)*
    };
    (run $engine:expr, $open:expr, $($case:ident)::+, $name:ident) => {
        #[test]
        fn $name() {
            use session_state::test_kit::conformance;

            let Some(address) = $engine.shared() else { return };
            conformance::check(async { $open(&address).await }, conformance::$($case)::+);
        }
    };
    (no_sweep $engine:expr, $open:expr, $($case:ident)::+, $name:ident) => {
        #[test]
        #[ignore = "the store is not swept"]
        fn $name() {}
    };
    (no_principals $engine:expr, $open:expr, $($case:ident)::+, $name:ident) => {
        #[test]
        #[ignore = "the store does not find principals"]
        fn $name() {}
    };
    (check run $engine:expr, $open:expr) => {};
    (check no_sweep $engine:expr, $open:expr) => {
        conformance_on_server! { run $engine, $open, has_no_sweep, the_store_is_not_swept }
    };
    (check no_principals $engine:expr, $open:expr) => {
        conformance_on_server! { run $engine, $open, has_no_principals, the_store_does_not_find_principals }
    };
    ($engine:expr, $open:expr, without principals and sweep) => {
        session_state::__each_store_conformance_case! { { conformance_on_server } $engine, $open, no_sweep no_principals }
    };
    ($engine:expr, $open:expr, without sweep) => {
        session_state::__each_store_conformance_case! { { conformance_on_server } $engine, $open, no_sweep run }
    };
    ($engine:expr, $open:expr) => {
        session_state::__each_store_conformance_case! { { conformance_on_server } $engine, $open, run run }
    };
}
