//! Roles that have the rights that the documentation grants, and no others.

use session_state::store::Store;
use session_state::test_kit::conformance::compare_with_model;
use session_state::{Part, SessionLayer, Tables};

use crate::browser::{App, Browser};
use crate::sql::parts::Cart;

/// Returns the statements of a source file's documentation that grant rights, with other names in them.
pub(crate) fn granted(source: &str, names: &[(&str, &str)]) -> Vec<String> {
    let lines = source.lines().filter_map(|line| line.strip_prefix("/// "));
    let renamed = |line: &str| names.iter().fold(line.to_owned(), |line, (name, other)| line.replace(name, other));
    let granted: Vec<_> = lines.filter(|line| line.starts_with("GRANT ")).map(renamed).collect();
    assert!(!granted.is_empty(), "no right is documented");
    granted
}

pub(crate) const IN_TABLES: &str = include_str!("../../../src/part/in_tables/sql/in_tables.rs");

/// Makes every kind of call, on sessions and on a part in tables.
pub(crate) async fn use_all<S: Store + Clone>(store: &S, cart: Tables<Cart>) {
    compare_with_model(&std::sync::Arc::new(store.clone()), 1, 150).await;
    let app = App::new(SessionLayer::server(store.clone()).with_part::<Cart>(cart).unwrap());
    let mut browser = Browser::default();
    let change = |change: fn(&mut Cart)| {
        async move |extensions: http::Extensions| {
            change(&mut *Part::<Cart>::from_extensions(&extensions).await?);
            Ok((http::StatusCode::OK, ()))
        }
    };
    let changes: [fn(&mut Cart); 3] =
        [|cart| cart.push("tea", 1), |cart| cart.add("tea", 2), |cart| cart.remove("tea")];
    for cart in changes {
        let visit = browser.send_raw(&app, change(cart)).await;
        browser.receive(&visit);
        visit.value();
    }
    browser.visit(&app, async |session| session.login("alice")).await.value();
    let read = async |extensions: http::Extensions| {
        Ok((http::StatusCode::OK, Part::<Cart>::from_extensions(&extensions).await?.shown()))
    };
    assert_eq!(browser.send_raw(&app, read).await.value(), "");
    browser.visit(&app, async |session| session.logout()).await.value();
    let now = crate::sql::cases::now();
    store.sweep(now.after(100 * crate::sql::cases::HOUR), 1_000).await.unwrap();
}
