//! Tests of parts in tables: on SQLite here, and on real servers of the other engines.

#[cfg(feature = "postgres")]
mod arrays;
mod checks;
mod engines;
mod generations;
/// The servers from the tests of stores.
#[cfg(any(feature = "postgres", feature = "mysql"))]
#[expect(dead_code, reason = "only two of its servers are used here")]
#[path = "../../../../../tests/stores/harness"]
mod harness {
    pub(super) mod engines;
    mod process;
}
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod native;
mod plans;
mod shapes;
mod values;
mod writes;
