//! Sessions in MongoDB.

mod principals;
mod rights;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use session_state::Timestamp;
use session_state::store::{
    Entry, FindPrincipals as _, Forward, Handle, MongodbStore, Outcome, Record, Renewal, Store, StoreErrorKind,
    StoreKey, Touch, Values, Version,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::engines::MONGODB;
use crate::harness::process::Server;
use crate::harness::proxy::{Fault, Proxy};
use crate::records::{
    HOUR, assert_dropped_calls_do_not_answer, assert_no_revival, ended, key, live, next, now, number, number_in,
    record, renewal,
};

const MINUTE: Duration = Duration::from_secs(60);

mod conformance {
    conformance_on_server!(crate::harness::engines::MONGODB, super::open, without sweep);
}

async fn open(address: &str) -> MongodbStore {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let store = MongodbStore::connect(address).await.unwrap().with_collection(&name).unwrap();
    store.migrate().await.unwrap();
    store
}

/// The collection of a store, without the store.
async fn collection(store: &MongodbStore, address: &str) -> Collection<Document> {
    let name = format!("{store:?}").split("coll: \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    Client::with_uri_str(address).await.unwrap().default_database().unwrap().collection(&name)
}

fn url(server: &Server) -> String {
    MONGODB.url(server.address())
}

/// The driver checks the server's health on separate connections, less often than any test takes.
fn through(proxy: &Proxy) -> String {
    format!("{}&heartbeatFrequencyMS=600000", MONGODB.url(proxy.address()))
}

#[tokio::test]
async fn calls_take_the_round_trips_that_the_guide_promises() {
    let Some(server) = MONGODB.server() else { return };
    let proxy = Proxy::start(server.address()).await;
    let store = open(&through(&proxy)).await;
    store.load(&key(1), now()).await.unwrap();
    let mut before = proxy.round_trips();
    let mut took = || {
        let now = proxy.round_trips();
        now - std::mem::replace(&mut before, now)
    };
    assert!(store.create(&key(1), record(1), now()).await.unwrap());
    assert_eq!(took(), 1, "a create");
    assert!(!store.create(&key(1), record(1), now()).await.unwrap());
    assert_eq!(took(), 1, "a create under a taken key");
    let loaded = live(&store, &key(1)).await.unwrap();
    assert_eq!(took(), 1, "a load");
    assert_eq!(store.update(&key(1), Version::FIRST, next(&loaded, 2), now()).await.unwrap(), Outcome::Done);
    assert_eq!(took(), 1, "an update");
    assert!(matches!(
        store.update(&key(1), Version::FIRST, next(&loaded, 2), now()).await.unwrap(),
        Outcome::Conflict(Some(current)) if current.version == Version::from_u64(2)
    ));
    assert_eq!(took(), 2, "an update of another version, and the present one");
    assert_eq!(
        store
            .touch(
                &key(1),
                Touch { expected: Version::from_u64(2), last_seen_at: now(), expires_at: now().after(2 * HOUR) },
                now()
            )
            .await
            .unwrap(),
        Outcome::Done
    );
    assert_eq!(took(), 1, "a touch");
    let updated = live(&store, &key(1)).await.unwrap();
    took();
    assert_eq!(store.renew(renewal(key(1), key(2), &updated), now()).await.unwrap(), Outcome::Done);
    assert_eq!(took(), 2, "a renewal");
    assert_eq!(store.delete(&key(2), None, now()).await.unwrap(), Outcome::Done);
    assert_eq!(took(), 1, "a delete");
    store.create(&key(3), record(3), now()).await.unwrap();
    took();
    assert_eq!(store.delete(&key(3), Some(ended()), now()).await.unwrap(), Outcome::Done);
    assert_eq!(took(), 1, "a delete with a forward");
}

#[tokio::test]
async fn a_call_that_was_dropped_does_not_answer_the_next() {
    let Some(server) = MONGODB.server() else { return };
    let proxy = Proxy::start(server.address()).await;
    let store = open(&format!("{}&maxPoolSize=1", through(&proxy))).await;
    assert_dropped_calls_do_not_answer(&store, &proxy).await;
}

#[tokio::test]
async fn a_restarted_server_is_found_again_with_its_data() {
    let Some(server) = MONGODB.start() else { return };
    let store = open(&url(&server)).await;
    store.create(&key(1), record(5), now()).await.unwrap();
    server.restart();
    assert_eq!(live(&store, &key(1)).await.map(|record| number_in(&record)), Some(5));
    let known = live(&store, &key(1)).await.unwrap();
    server.restart();
    let outcome = store.update(&key(1), Version::FIRST, next(&known, 6), now()).await;
    // The driver retries calls that the server can deduplicate.
    assert!(matches!(outcome, Ok(Outcome::Done)), "{outcome:?}");
}

#[tokio::test]
async fn a_call_with_a_lost_reply_can_be_retried() {
    let Some(server) = MONGODB.server() else { return };
    let proxy = Proxy::start(server.address()).await;
    // Without the driver's own retries, which the store must not depend on.
    let store = open(&format!("{}&retryWrites=false&retryReads=false", through(&proxy))).await;
    let first = record(1);
    store.load(&key(1), now()).await.unwrap();

    proxy.cut_reply(0, 0);
    assert!(store.create(&key(1), Arc::clone(&first), now()).await.is_err());
    assert!(!store.create(&key(1), Arc::clone(&first), now()).await.unwrap());

    let second = next(&first, 2);
    proxy.cut_reply(0, 0);
    assert!(store.update(&key(1), Version::FIRST, Arc::clone(&second), now()).await.is_err());
    let again = store.update(&key(1), Version::FIRST, Arc::clone(&second), now()).await.unwrap();
    assert_eq!(again, Outcome::Conflict(Some(Arc::clone(&second))));

    let renewal = renewal(key(1), key(2), &second);
    proxy.cut_reply(1, 0);
    assert!(store.renew(renewal.clone(), now()).await.is_err());
    let again = store.renew(renewal.clone(), now()).await.unwrap();
    assert_eq!(again, Outcome::Retired(renewal.forward.clone()));
    assert_eq!(live(&store, &key(2)).await, Some(Arc::clone(&renewal.record)));
    // The session ends under its new key, and a late retry does not revive it.
    proxy.cut_reply(0, 0);
    assert!(store.delete(&key(2), None, now()).await.is_err());
    assert_eq!(store.delete(&key(2), None, now()).await.unwrap(), Outcome::Gone);
    assert_eq!(store.renew(renewal.clone(), now()).await.unwrap(), Outcome::Retired(renewal.forward));
    assert_eq!(live(&store, &key(2)).await, None);
}

#[tokio::test]
async fn an_oversized_record_is_rejected_and_the_stored_one_stays() {
    let Some(address) = MONGODB.shared() else { return };
    let store = open(&address).await;
    let with = |size: usize| {
        let large = vec![b'x'; size];
        let mut record = Record::clone(&record(1));
        record.values = Values::from_pairs([("large", large.as_slice())]);
        record
    };
    let small = Arc::new(with(10));
    store.create(&key(1), Arc::clone(&small), now()).await.unwrap();
    let mut too_large = with(17 << 20);
    too_large.version = Version::from_u64(2);
    let too_large = Arc::new(too_large);
    let errors = [
        store.update(&key(1), Version::FIRST, Arc::clone(&too_large), now()).await.unwrap_err(),
        store.create(&key(2), Arc::clone(&too_large), now()).await.unwrap_err(),
        store.renew(Renewal { record: too_large, ..renewal(key(1), key(2), &small) }, now()).await.unwrap_err(),
    ];
    assert!(errors.iter().all(|error| matches!(error.kind(), StoreErrorKind::TooLarge { .. })), "{errors:?}");
    assert_eq!(live(&store, &key(1)).await, Some(small));
    // Nearly the largest size: it fits into one document.
    assert!(store.create(&key(3), Arc::new(with((16 << 20) - 5_000)), now()).await.unwrap());
}

#[tokio::test]
async fn documents_match_the_guide_and_have_an_expiry_date() {
    let Some(address) = MONGODB.shared() else { return };
    let store = open(&address).await;
    let collection = collection(&store, &address).await;

    // The caller's clock shows another time: only the remaining time matters.
    let then = Timestamp::from_millis(1_000_000);
    let mut record = Record::new(Handle::from_bytes([1; 16]), then, then.after(HOUR));
    record.principal = Some("alice".into());
    store.create(&key(1), Arc::new(record.clone()), then).await.unwrap();
    let document = collection.find_one(doc! { "principal": "alice" }).await.unwrap().unwrap();
    assert_eq!(document.get_binary_generic("_id").unwrap(), key(1).as_bytes());
    assert_eq!((document.get_i64("version").unwrap(), document.get_i64("expires_at").unwrap()), (1, 4_600_000));
    let left = |document: &Document| {
        Timestamp::from_millis(document.get_datetime("purge_at").unwrap().timestamp_millis() as u64).since(now())
    };
    assert!(left(&document) > HOUR - MINUTE && left(&document) <= HOUR);

    store
        .touch(&key(1), Touch { expected: Version::FIRST, last_seen_at: then, expires_at: then.after(3 * HOUR) }, then)
        .await
        .unwrap();
    let document = collection.find_one(doc! {}).await.unwrap().unwrap();
    assert!(left(&document) > 3 * HOUR - MINUTE && left(&document) <= 3 * HOUR);
    store
        .touch(&key(1), Touch { expected: Version::FIRST, last_seen_at: then, expires_at: then.after(2 * HOUR) }, then)
        .await
        .unwrap();
    let document = collection.find_one(doc! {}).await.unwrap().unwrap();
    assert!(left(&document) > 3 * HOUR - MINUTE, "a touch moves nothing backwards");

    let mut indexes = collection.list_index_names().await.unwrap();
    indexes.sort();
    assert_eq!(indexes, ["_id_", "principal_1_handle_1", "purge_at_1"]);
    store.migrate().await.unwrap();
    assert_eq!(collection.list_index_names().await.unwrap().len(), 3, "a second migration changes nothing");

    collection.update_one(doc! {}, doc! { "$set": { "values": "changed by hand" } }).await.unwrap();
    let error = store.load(&key(1), then).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Undecodable);
}

#[tokio::test]
async fn a_session_that_ended_leaves_the_document_that_a_renewal_leaves() {
    let Some(address) = MONGODB.shared() else { return };
    let store = open(&address).await;
    let collection = collection(&store, &address).await;
    let then = Timestamp::from_millis(1_000_000);
    let mut full = Record::new(Handle::from_bytes([1; 16]), then, then.after(5 * HOUR));
    (full.principal, full.label, full.authenticated_at) = (Some("alice".into()), Some("label".into()), Some(then));
    (full.idle_timeout, full.absolute_timeout) = (Some(HOUR), Some(HOUR));
    for successor in [None, Some([7; 32])] {
        let left = Forward { successor, grace_until: then.after(HOUR), expires_at: then.after(2 * HOUR) };
        let renewal = Renewal { forward: left.clone(), ..renewal(key(1), key(4), &full) };
        let mut documents = Vec::new();
        for n in 1..=3 {
            store.create(&key(n), Arc::new(full.clone()), then).await.unwrap();
            // The fields of a record that was renewed.
            let set = doc! { "$set": { "renewed_by": mongodb::bson::oid::ObjectId::new() } };
            collection.update_many(doc! { "handle": { "$exists": true } }, set).await.unwrap();
            match n {
                1 => drop(store.renew(renewal.clone(), then).await.unwrap()),
                2 => drop(store.delete(&key(2), Some(left.clone()), then).await.unwrap()),
                _ => drop(store.revoke("alice", &[full.handle], left.clone(), then).await.unwrap()),
            }
            assert_eq!(store.load(&key(n), then).await.unwrap(), Some(Entry::Retired(left.clone())));
            let mut document = collection.find_one(doc! { "grace_until": { "$exists": true } }).await.unwrap().unwrap();
            document.remove("_id");
            let purge_at = document.remove("purge_at").unwrap().as_datetime().unwrap().timestamp_millis() as u64;
            let lifetime = Timestamp::from_millis(purge_at).since(now());
            assert!(lifetime > 2 * HOUR - MINUTE && lifetime <= 2 * HOUR, "{lifetime:?}");
            documents.push(document);
            collection.delete_many(doc! {}).await.unwrap();
        }
        assert_eq!(documents[1..], [documents[0].clone(), documents[0].clone()]);
    }
}

#[tokio::test]
async fn the_engine_removes_only_expired_documents() {
    let Some(address) = MONGODB.shared() else { return };
    let store = open(&address).await;
    let collection = collection(&store, &address).await;
    let mut expiring = Record::clone(&record(1));
    expiring.expires_at = now().after(Duration::from_millis(1));
    store.create(&key(1), Arc::new(expiring), now()).await.unwrap();
    store.create(&key(2), record(2), now()).await.unwrap();
    let removed = async {
        while collection.count_documents(doc! {}).await.unwrap() > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(2 * MINUTE, removed).await.expect("the server removes expired documents");
    assert_eq!(live(&store, &key(2)).await.map(|record| number_in(&record)), Some(2));
}

#[tokio::test]
async fn an_error_shows_no_password_of_the_url() {
    for url in
        ["mongodb://user:se/cret@localhost:1/x", "mongodb://user:secret@localhost:bad/", "mongodb+srv://u:secret@x/"]
    {
        let error = MongodbStore::connect(url).await.unwrap_err();
        let text = format!("{error:?} {error} {}", std::error::Error::source(&error).unwrap());
        assert!(!text.contains("se") || !text.contains("cret"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_calls_of_many_nodes_do_not_revive_a_logged_out_session() {
    let Some(address) = MONGODB.shared() else { return };
    let first = open(&address).await;
    let second = MongodbStore::connect(&address).await.unwrap();
    let second = second.with_collection(collection(&first, &address).await.name()).unwrap();
    let nodes = [first, second];
    assert_no_revival(&nodes, 30, 12).await;
}
