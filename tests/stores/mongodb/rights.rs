//! A user that has the rights that the documentation grants, and no others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mongodb::Client;
use mongodb::bson::doc;
use session_state::store::MongodbStore;
use session_state::test_kit::conformance::compare_with_model;

use crate::harness::engines::{MONGODB, mongodb_with_users, skip};
use crate::harness::process::Server;

const DOCUMENTED: &str = include_str!("../../../src/store/mongodb/store.rs");

/// Returns the documented actions.
fn actions() -> Vec<&'static str> {
    let list = DOCUMENTED.split("actions: [").nth(1).and_then(|rest| rest.split(']').next()).expect("it is documented");
    list.split(", ").map(|action| action.trim_matches('"')).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough() {
    let are_users_required = Arc::new(AtomicBool::new(false));
    let server = match mongodb_with_users(Arc::clone(&are_users_required)) {
        Ok(spec) => Server::start(spec),
        Err(why) => return skip("mongodb", &why),
    };
    let admin = MONGODB.url(server.address());
    MongodbStore::connect(&admin).await.unwrap().migrate().await.unwrap();
    let database = Client::with_uri_str(&admin).await.unwrap().default_database().unwrap();
    let resource = doc! { "db": database.name(), "collection": "sessions" };
    let privileges = [doc! { "resource": resource, "actions": actions() }];
    let role = doc! { "createRole": "sessions", "roles": [], "privileges": privileges };
    database.run_command(role).await.unwrap();
    database.run_command(doc! { "createUser": "app", "pwd": "secret", "roles": ["sessions"] }).await.unwrap();
    are_users_required.store(true, Ordering::Relaxed);
    server.restart();
    let url = admin.replace("mongodb://", "mongodb://app:secret@");
    let store = Arc::new(MongodbStore::connect(&url).await.unwrap());
    store.migrate().await.unwrap();
    for seed in 0..2 {
        compare_with_model(&store, seed, 150).await;
    }
    // SecantusDB grants an action on all collections of the database.
    let other = MongodbStore::connect(&url).await.unwrap().with_collection("other").unwrap();
    assert!(other.migrate().await.is_err(), "it may make indexes");
}
