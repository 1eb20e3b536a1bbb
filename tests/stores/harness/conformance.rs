//! The conformance suite on a server.

/// Makes a `#[test]` of every rule of the store contract, as `store_conformance_tests!` does, on a shared server.
///
/// The arguments are an engine and an `async` function that takes the engine's address as `&str` and returns a store.
/// The function is called for each case and gives each store a table or prefix of its own.
///
/// ```text
/// conformance_on_server!(crate::harness::engines::REDIS, super::open);
/// ```
macro_rules! conformance_on_server {
    ([$engine:expr, $open:expr] $($module:ident { $($name:ident)* })*) => {
        $($(conformance_on_server! { case $name $engine, $open })*)*
    };
    (case $name:ident $engine:expr, $open:expr) => {
        #[test]
        fn $name() {
            use session_state::test_kit::conformance;

            let Some(address) = $engine.shared() else { return };
            conformance::check(async { $open(&address).await }, conformance::cases::$name);
        }
    };
    ($engine:expr, $open:expr) => {
        session_state::__each_store_conformance_case! { { conformance_on_server } $engine, $open }
    };
}
