//! The stores of this crate against the suite in `test_kit`.

mod memory {
    use session_state::MemoryStore;
    use session_state::test_kit::conformance::{check, compare_with_model};

    session_state::store_conformance_tests!(async { MemoryStore::new() });

    #[test]
    fn many_runs_of_random_calls_agree_with_a_plain_model() {
        check(async { MemoryStore::new() }, async |store| {
            for seed in 0..200 {
                compare_with_model(store, seed, 300).await;
            }
        });
    }
}

mod faulty_store_that_does_not_fail {
    use session_state::MemoryStore;
    use session_state::test_kit::FaultyStore;

    session_state::store_conformance_tests!(async { FaultyStore::new(MemoryStore::new()) });
}

mod store_chosen_at_run_time {
    use session_state::{AnyStore, MemoryStore};

    session_state::store_conformance_tests!(async { AnyStore::new(MemoryStore::new()) });
}

mod store_behind_pointers {
    use std::sync::Arc;

    use session_state::MemoryStore;

    session_state::store_conformance_tests!(async { Arc::new(Box::new(&*Box::leak(Box::new(MemoryStore::new())))) });
}
