//! Stores that are chosen by their URL.

use session_state::{AnyStore, SessionLayer};

use crate::browser::{App, Browser};
use crate::harness::engines::ENGINES;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_url_leads_to_a_store_that_keeps_sessions() {
    for engine in ENGINES {
        let Some(url) = engine.shared() else { continue };
        let store = AnyStore::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        assert_eq!(session_state::store::Store::name(&store), engine.name);
        let app = App::new(SessionLayer::server(store));
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await.value();
        browser.visit(&app, async |session| session.renew()).await.value();
        assert_eq!(browser.get(&app, "n").await, Some(1), "{}", engine.name);
        browser.visit(&app, async |session| session.logout()).await.value();
        assert_eq!(browser.get(&app, "n").await, None, "{}", engine.name);
    }
}
