//! `Send` and `Sync`: the types that a handler holds, and every future of the crate.

use std::fmt::Debug;

use http::{Request, Response};
use session_state::store::{Entry, Outcome, Record, Renewal, StoreError, Values};
use session_state::{
    ConfigError, CookieConfig, CookieState, Error, Handle, InCookie, InStore, Key, KeyRing, Main, MemoryStore, Part,
    Placement, RecentLoginService, RequireRecentLogin, ResponseFuture, Revocations, Session, SessionEvent,
    SessionLayer, SessionLoader, SessionPart, SessionService,
};
use tower::{Layer, Service, service_fn};

use crate::browser::App;

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Cart;

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

/// A marker is never a value, so its type need not be `Send`.
type Tied = *const ();

const fn is_shared<T: Send + Sync + Debug + 'static>() {}
const fn is_sent<T: Send + 'static>(_: &T) {}

const _: () = {
    is_shared::<Session>();
    is_shared::<Session<Tied>>();
    is_shared::<SessionLoader<Tied>>();
    is_shared::<Part<Cart, Tied>>();
    is_shared::<SessionLayer>();
    is_shared::<SessionService<Main>>();
    is_shared::<(Revocations, RequireRecentLogin<Tied>, RecentLoginService<Main, Tied>)>();
    is_shared::<(Error, ConfigError, StoreError, SessionEvent)>();
    is_shared::<(CookieConfig, CookieState, InCookie, InStore, Placement<Cart>, Key, KeyRing)>();
    is_shared::<(MemoryStore, Handle, Record, Values)>();
    is_shared::<(Entry, Outcome, Renewal)>();
};

#[tokio::test]
async fn every_future_can_be_spawned() {
    let app = App::memory();
    is_sent(&app.layer.sweeper(std::time::Duration::from_secs(1)));
    let service = service_fn(|request: Request<()>| async move {
        let extensions = request.extensions().clone();
        let part = Part::<Cart>::from_extensions(&extensions);
        is_sent_here(&part);
        let loader = Session::from_extensions(&extensions)?;
        is_sent_here(&loader.load());
        is_sent_here(&loader.load().await?.save());
        Ok::<_, Error>(Response::new(()))
    });
    let response: ResponseFuture<_, ()> = app.layer.layer(service).call(Request::new(()));
    is_sent(&response);
    tokio::spawn(response).await.unwrap().unwrap();
}

fn is_sent_here<T: Send>(_: &T) {}
