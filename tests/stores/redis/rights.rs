//! Users that have the rights that the documentation grants, and no others.

use session_state::RedisStore;
use session_state::test_kit::conformance::{cases, check, compare_with_model};

use super::{ask, beside, keys, prefix};
use crate::harness::engines::REDIS;

const DOCUMENTED: &str = include_str!("../../../src/store/redis/store.rs");

/// Returns the documented commands that make the user, with a prefix of its own.
fn documented(prefix: &str) -> impl Iterator<Item = String> {
    let lines = DOCUMENTED.lines().filter_map(|line| line.strip_prefix("/// "));
    let lines = lines.filter(|line| line.starts_with("ACL SETUSER "));
    lines.map(move |line| line.replace("~session:*", &format!("~{prefix}*")))
}

#[test]
fn the_documented_rights_are_enough_and_cover_no_other_key() {
    let Some(server) = REDIS.start() else { return };
    let prefix = prefix();
    let mut admin = beside(&REDIS.url(server.address()));
    for command in documented(&prefix) {
        ask::<()>(&mut admin, &command);
    }
    let url = format!("redis://sessions:secret@{}/0", server.address());
    let open = async || RedisStore::connect(&url).await.unwrap().with_key_prefix(prefix.clone()).unwrap();
    check(open(), async |store| {
        for seed in 0..4 {
            compare_with_model(store, seed, 150).await;
        }
    });
    check(open(), cases::sessions_are_found_by_their_principal_with_all_fields);
    check(open(), cases::nothing_is_live_after_a_revocation_during_renewals);
    assert!(!keys(&mut admin, &prefix).is_empty(), "nothing was tried");
    let log: Vec<Vec<redis::Value>> = ask(&mut admin, "ACL LOG");
    assert!(log.is_empty(), "the user was refused something: {log:?}");
    check(async { RedisStore::connect(&url).await.unwrap().with_key_prefix("other:").unwrap() }, async |store| {
        let error = session_state::store::Store::load(&**store, &super::key(1), super::now()).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("NOPERM") || source.contains("permission"), "{source}");
    });
}
