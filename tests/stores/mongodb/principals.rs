//! Sessions found by their principal.

use std::collections::HashSet;

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{Collation, CollationStrength};
use tokio::task::JoinHandle;

use super::*;

const ALICE: &str = "alice";

fn handle(n: u8) -> Handle {
    Handle::from_bytes([n; 16])
}

fn of(principal: Option<&str>, n: u8) -> Arc<Record> {
    let mut record = Record::new(handle(n), now(), now().after(HOUR));
    record.principal = principal.map(Arc::from);
    record.values = number(n.into());
    Arc::new(record)
}

async fn handles(store: &MongodbStore, principal: &str) -> Vec<Handle> {
    let records = store.list(principal, None, 100, now()).await.unwrap();
    records.iter().map(|record| record.handle).collect()
}

/// Returns the names of the indexes in the server's query plan.
async fn indexes_for(collection: &Collection<Document>, command: Document) -> Vec<String> {
    fn names(plan: &Document, found: &mut Vec<String>) {
        for (name, value) in plan {
            match value {
                Bson::String(index) if name == "indexName" => found.push(index.clone()),
                Bson::Document(inner) => names(inner, found),
                Bson::Array(inner) => inner.iter().filter_map(Bson::as_document).for_each(|inner| names(inner, found)),
                _ => {}
            }
        }
    }
    let database = collection.client().database(&collection.namespace().db);
    let plan = database.run_command(doc! { "explain": command, "verbosity": "queryPlanner" }).await.unwrap();
    let mut found = Vec::new();
    names(plan.get_document("queryPlanner").unwrap().get_document("winningPlan").unwrap(), &mut found);
    found
}

#[tokio::test]
async fn sessions_of_a_principal_are_found_by_an_index() {
    let Some(address) = MONGODB.shared() else { return };
    let store = open(&address).await;
    let collection = collection(&store, &address).await;
    store.create(&key(1), of(Some(ALICE), 1), now()).await.unwrap();
    store.create(&key(2), of(None, 2), now()).await.unwrap();
    // SecantusDB uses an index only if it covers the whole filter, so this omits the deadline.
    let find =
        doc! { "find": collection.name(), "filter": { "principal": ALICE }, "collation": { "locale": "simple" } };
    assert_eq!(indexes_for(&collection, find).await, ["principal_1_handle_1"]);
    let by_no_index = doc! { "find": collection.name(), "filter": { "version": 1_i64 } };
    assert_eq!(indexes_for(&collection, by_no_index).await, [""; 0]);
}

#[tokio::test]
async fn finding_sessions_takes_the_round_trips_that_the_guide_promises() {
    let Some(server) = MONGODB.server() else { return };
    let proxy = Proxy::start(server.address()).await;
    let store = open(&through(&proxy)).await;
    for n in 1..=20 {
        store.create(&key(n.into()), of(Some(ALICE), n), now()).await.unwrap();
    }
    let mut before = proxy.round_trips();
    let mut took = || {
        let now = proxy.round_trips();
        now - std::mem::replace(&mut before, now)
    };
    assert_eq!(store.list(ALICE, None, 50, now()).await.unwrap().len(), 20);
    assert_eq!(took(), 1, "a list");
    assert_eq!(store.count(ALICE, now()).await.unwrap(), 20);
    assert_eq!(took(), 1, "a count");
    let sessions: Vec<_> = (1..=20).map(handle).collect();
    assert_eq!(store.revoke(ALICE, &sessions[..10], ended(), now()).await.unwrap().len(), 10);
    assert_eq!(took(), 3, "a revocation of ten");
    assert_eq!(store.revoke(ALICE, &sessions[10..], ended(), now()).await.unwrap().len(), 10);
    assert_eq!(took(), 3, "a revocation of ten with a forward");
    assert_eq!(store.revoke(ALICE, &sessions, ended(), now()).await.unwrap(), []);
    assert_eq!(took(), 2, "a revocation of unknown sessions");
}

#[tokio::test]
async fn a_store_that_was_not_set_up_finds_the_same() {
    let Some(address) = MONGODB.shared() else { return };
    let store = MongodbStore::connect(&address).await.unwrap().with_collection("never-set-up").unwrap();
    let collection = collection(&store, &address).await;
    collection.drop().await.unwrap();
    assert_eq!(handles(&store, ALICE).await, []);
    assert_eq!(store.count(ALICE, now()).await.unwrap(), 0);
    assert_eq!(store.revoke(ALICE, &[handle(1)], ended(), now()).await.unwrap(), []);
    for n in [3, 1, 2] {
        store.create(&key(n.into()), of(Some(ALICE), n), now()).await.unwrap();
    }
    assert_eq!(handles(&store, ALICE).await, [handle(1), handle(2), handle(3)]);
    assert_eq!(store.revoke(ALICE, &[handle(2)], ended(), now()).await.unwrap(), [handle(2)]);
    assert_eq!(store.count(ALICE, now()).await.unwrap(), 2);
    assert_eq!(collection.count_documents(doc! {}).await.unwrap(), 3, "two sessions and a forward");
}

#[tokio::test]
async fn principals_are_compared_byte_by_byte_in_a_collection_that_ignores_case() {
    let Some(address) = MONGODB.shared() else { return };
    let store = open(&address).await;
    let collection = collection(&store, &address).await;
    let name = collection.name().to_owned();
    collection.drop().await.unwrap();
    let database = Client::with_uri_str(&address).await.unwrap().default_database().unwrap();
    let loose = Collation::builder().locale("en").strength(CollationStrength::Secondary).build();
    database.create_collection(&name).collation(loose).await.unwrap();
    store.migrate().await.unwrap();
    let long = "x".repeat(10_000);
    let principals =
        ["", " ", "alice", "Alice", "alice ", "alice\0", "alice\0b", "\0", "é", "e\u{301}", &long, &long[1..]];
    for (n, principal) in (0..).zip(principals) {
        store.create(&key(n.into()), of(Some(principal), n), now()).await.unwrap();
    }
    for (n, principal) in (0..).zip(principals) {
        assert_eq!(handles(&store, principal).await, [handle(n)], "{principal:?}");
        assert_eq!(store.count(principal, now()).await.unwrap(), 1, "{principal:?}");
    }
    let all: Vec<_> = (0..principals.len() as u8).map(handle).collect();
    for (n, principal) in (0..).zip(principals) {
        assert_eq!(store.revoke(principal, &all, ended(), now()).await.unwrap(), [handle(n)], "{principal:?}");
    }
}

/// Leaves a half-finished renewal: both keys are live.
async fn renew_by_half(store: &MongodbStore, address: &str, old: StoreKey, new: StoreKey) {
    let collection = collection(store, address).await;
    let binary = |key: StoreKey| {
        Bson::Binary(mongodb::bson::Binary {
            subtype: mongodb::bson::spec::BinarySubtype::Generic,
            bytes: key.as_bytes().to_vec(),
        })
    };
    let mut document = collection.find_one(doc! { "_id": binary(old) }).await.unwrap().unwrap();
    document.insert("_id", binary(new));
    document.insert("version", 2_i64);
    collection.insert_one(document).await.unwrap();
}

#[tokio::test]
async fn a_half_renewed_session_is_found_once_and_ended_under_both_keys() {
    let Some(address) = MONGODB.shared() else { return };
    let store = open(&address).await;
    for n in 1..=5 {
        store.create(&key(n.into()), of(Some(ALICE), n), now()).await.unwrap();
        renew_by_half(&store, &address, key(n.into()), key(100 + u64::from(n))).await;
    }
    assert_eq!(store.count(ALICE, now()).await.unwrap(), 5);
    for limit in 1..=6 {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(ALICE, after.as_ref(), limit, now()).await.unwrap();
            pages.extend(page.iter().map(|record| record.handle));
            after = pages.last().copied();
            if page.len() < limit {
                break;
            }
        }
        assert_eq!(pages, (1..=5).map(handle).collect::<Vec<_>>(), "in pages of {limit}");
    }
    let left = ended();
    assert_eq!(store.revoke(ALICE, &[handle(3)], left.clone(), now()).await.unwrap(), [handle(3)]);
    for key in [key(3), key(103)] {
        assert_eq!(store.load(&key, now()).await.unwrap(), Some(Entry::Retired(left.clone())));
    }
    assert_eq!(handles(&store, ALICE).await.len(), 4);
}

/// Makes a call through a proxy and does something else between its first round trip and its second.
async fn interrupted<T: Send + 'static>(
    proxy: &Proxy,
    call: impl Future<Output = T> + Send + 'static,
    meanwhile: impl Future<Output = ()>,
) -> T {
    let call = interrupt(proxy, call).await;
    meanwhile.await;
    proxy.heal();
    call.await.unwrap()
}

/// Makes a call through a proxy that is a black hole after its first round trip.
async fn interrupt<T: Send + 'static>(proxy: &Proxy, call: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let before = proxy.round_trips();
    proxy.set(Fault::Delay(Duration::from_millis(300)));
    let call = tokio::spawn(call);
    while proxy.round_trips() == before {
        tokio::task::yield_now().await;
    }
    proxy.set(Fault::BlackHole);
    call
}

/// A store with open connections, and the same store without the proxy.
async fn two_ways(server: &Server, proxy: &Proxy) -> (MongodbStore, MongodbStore) {
    let slow = open(&through(proxy)).await;
    let fast = MongodbStore::connect(&url(server)).await.unwrap();
    let fast = fast.with_collection(collection(&slow, &url(server)).await.name()).unwrap();
    for store in [&slow, &fast] {
        store.load(&key(0), now()).await.unwrap();
    }
    (slow, fast)
}

#[tokio::test]
async fn a_late_renewal_does_not_revive_a_revoked_session() {
    let Some(server) = MONGODB.server() else { return };
    let proxy = Proxy::start(server.address()).await;
    let (slow, fast) = two_ways(server, &proxy).await;
    let record = of(Some(ALICE), 1);
    for (old, left) in [(1, None), (11, Some(ended())), (21, Some(ended()))] {
        let is_revoked = old == 11;
        let (old, new) = (key(old), key(old + 1));
        slow.create(&old, Arc::clone(&record), now()).await.unwrap();
        let renewal = renewal(old, new, &record);
        let forward = renewal.forward.clone();
        let (slow, late) = (slow.clone(), renewal.clone());
        let call = async move { slow.renew(late, now()).await.unwrap() };
        let outcome = interrupted(&proxy, call, async {
            assert_eq!(fast.renew(renewal, now()).await.unwrap(), Outcome::Done);
            if is_revoked {
                assert_eq!(fast.revoke(ALICE, &[handle(1)], left.clone().unwrap(), now()).await.unwrap(), [handle(1)]);
            } else {
                assert_eq!(fast.delete(&new, left.clone(), now()).await.unwrap(), Outcome::Done);
            }
        });
        assert_eq!(outcome.await, Outcome::Retired(forward));
        assert_eq!(fast.load(&new, now()).await.unwrap(), left.map(Entry::Retired));
        assert_eq!(handles(&fast, ALICE).await, []);
    }
}

/// By a crash or a time limit, when it has ended the sessions and not yet read them.
#[tokio::test]
async fn a_revocation_that_stops_halfway_has_ended_the_sessions() {
    let Some(server) = MONGODB.server() else { return };
    let proxy = Proxy::start(server.address()).await;
    let (slow, fast) = two_ways(server, &proxy).await;
    let (place, record) = (key(1), of(Some(ALICE), 1));
    slow.create(&place, Arc::clone(&record), now()).await.unwrap();
    let left = ended();
    let expected = Outcome::Retired(left.clone());
    let call = {
        let left = left.clone();
        async move { slow.revoke(ALICE, &[handle(1)], left, now()).await }
    };
    interrupt(&proxy, call).await.abort();
    proxy.heal();
    assert_eq!(fast.load(&place, now()).await.unwrap(), Some(Entry::Retired(left)));
    assert_eq!(handles(&fast, ALICE).await, []);
    assert_eq!(fast.count(ALICE, now()).await.unwrap(), 0);
    assert_eq!(fast.revoke(ALICE, &[handle(1)], ended(), now()).await.unwrap(), []);
    assert_eq!(fast.update(&place, Version::FIRST, next(&record, 2), now()).await.unwrap(), expected);
    assert_eq!(fast.delete(&place, Some(ended()), now()).await.unwrap(), expected);
    assert_eq!(fast.renew(renewal(place, key(9), &record), now()).await.unwrap(), expected);
    assert!(!fast.create(&place, record, now()).await.unwrap());
}

#[tokio::test]
async fn a_late_renewal_keeps_the_result_of_the_first() {
    let Some(server) = MONGODB.server() else { return };
    let proxy = Proxy::start(server.address()).await;
    let (slow, fast) = two_ways(server, &proxy).await;
    let record = of(Some(ALICE), 1);
    slow.create(&key(1), Arc::clone(&record), now()).await.unwrap();
    let renewal = renewal(key(1), key(2), &record);
    let late = renewal.clone();
    let call = async move { slow.renew(late, now()).await.unwrap() };
    let outcome = interrupted(&proxy, call, async {
        assert_eq!(fast.renew(renewal.clone(), now()).await.unwrap(), Outcome::Done);
    });
    assert_eq!(outcome.await, Outcome::Retired(renewal.forward));
    assert_eq!(live(&fast, &key(2)).await, Some(renewal.record));
    assert_eq!(handles(&fast, ALICE).await, [handle(1)]);
}

#[tokio::test]
async fn a_session_missed_by_the_first_revocation_round_is_found_by_the_next() {
    let Some(server) = MONGODB.server() else { return };
    let proxy = Proxy::start(server.address()).await;
    let (slow, fast) = two_ways(server, &proxy).await;
    slow.create(&key(1), of(Some(ALICE), 1), now()).await.unwrap();
    let call = async move { slow.revoke(ALICE, &[handle(1), handle(2)], ended(), now()).await.unwrap() };
    let removed = interrupted(&proxy, call, async {
        assert!(fast.create(&key(2), of(Some(ALICE), 2), now()).await.unwrap());
    });
    let mut removed = removed.await;
    removed.sort();
    assert_eq!(removed, [handle(1), handle(2)]);
    assert_eq!(handles(&fast, ALICE).await, []);
}

#[tokio::test]
async fn a_retried_renewal_does_not_revive_a_revoked_session() {
    let Some(server) = MONGODB.server() else { return };
    let store = open(&url(server)).await;
    // Each attempt checks the old key first.
    for round in 0..60 {
        let (old, new) = (key(2 * round), key(2 * round + 1));
        let record = of(Some(ALICE), 1);
        store.create(&old, Arc::clone(&record), now()).await.unwrap();
        let renewal = renewal(old, new, &record);
        let mut tasks = JoinSet::new();
        for _ in 0..3 {
            let (store, renewal) = (store.clone(), renewal.clone());
            // A renewal of a session that is being removed may fail.
            tasks.spawn(async move { drop(store.renew(renewal, now()).await) });
        }
        let revoking = store.clone();
        tasks.spawn(async move {
            let removed = revoking.revoke(ALICE, &[handle(1)], ended(), now()).await.unwrap();
            assert_eq!(removed, [handle(1)]);
        });
        tasks.join_all().await;
        assert_eq!(handles(&store, ALICE).await, [], "round {round}");
        for key in [old, new] {
            assert_eq!(live(&store, &key).await, None, "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_live_after_a_revocation_despite_concurrent_renewals() {
    let Some(address) = MONGODB.shared() else { return };
    let store = open(&address).await;
    let mut claimed = HashSet::new();
    for round in 0..40 {
        let session = handle(round);
        let first = of(Some(ALICE), round);
        let at = move |step: u64| key(u64::from(round) * 1_000 + step);
        store.create(&at(0), Arc::clone(&first), now()).await.unwrap();
        let renewing = store.clone();
        let renewals = tokio::spawn(async move {
            let mut current = first;
            for step in 0..999 {
                let renewal = renewal(at(step), at(step + 1), &current);
                current = Arc::clone(&renewal.record);
                match renewing.renew(renewal, now()).await.unwrap() {
                    Outcome::Done => {}
                    outcome => return (step, outcome),
                }
            }
            panic!("the session survived its revocation");
        });
        let left = ended();
        let revocations: Vec<_> = (0..3)
            .map(|_| {
                let (store, left) = (store.clone(), left.clone());
                tokio::spawn(async move {
                    for _ in 0..round % 7 {
                        tokio::task::yield_now().await;
                    }
                    store.revoke(ALICE, &[session], left, now()).await.unwrap()
                })
            })
            .collect();
        let mut removals = 0;
        for revocation in revocations {
            for removed in revocation.await.unwrap() {
                assert_eq!(removed, session);
                removals += 1;
            }
        }
        assert!(removals >= 1, "round {round}");
        claimed.insert(removals);
        let (last, outcome) = renewals.await.unwrap();
        assert_eq!(outcome, Outcome::Retired(left), "round {round}");
        for step in 0..=last + 1 {
            assert_eq!(live(&store, &at(step)).await, None, "round {round}, step {step} of {last}");
        }
        assert_eq!(handles(&store, ALICE).await, [], "round {round}");
    }
    println!("removals of one session: {claimed:?}");
}
