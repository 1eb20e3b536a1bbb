//! What sealing and opening cost for states of several sizes, through the public API: a service without a router that
//! reads the session, or writes it, so that little else is measured.

use std::convert::Infallible;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::header::{COOKIE, HeaderValue, SET_COOKIE};
use http::{Request, Response};
use session_state::{CookieState, KeyRing, Session, SessionLayer};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, ServiceExt, service_fn};

/// What a handler does with the session.
#[derive(Clone, Copy)]
enum Work {
    /// Nothing: the floor.
    Leave,
    /// Loads it, which opens the seal.
    Open,
    /// Sets a value of this size, which opens the seal and makes a new one.
    Seal(usize),
}

fn seals(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    let states = [("encrypted", CookieState::encrypted(key_ring())), ("signed", CookieState::signed(key_ring()))];
    for (name, state) in states {
        let layer = SessionLayer::client(state);
        let mut group = c.benchmark_group(name);
        for size in [16, 256, 1024, 2560] {
            let sealed = serve(&runtime, &layer, None, Work::Seal(size));
            let cookie = cookie_of(&sealed).expect("the session has a cookie");
            group.throughput(Throughput::Bytes(size as u64));
            for (work_name, work) in [("leave", Work::Leave), ("open", Work::Open), ("seal", Work::Seal(size))] {
                let id = BenchmarkId::new(work_name, size);
                group.bench_function(id, |b| b.iter(|| serve(&runtime, &layer, Some(&cookie), work)));
            }
        }
        group.finish();
    }
}

fn key_ring() -> KeyRing {
    KeyRing::generate().expect("the system has random bytes")
}

fn serve(runtime: &Runtime, layer: &SessionLayer, cookie: Option<&HeaderValue>, work: Work) -> Response<()> {
    let service = layer.layer(service_fn(move |request: Request<()>| async move {
        match work {
            Work::Leave => {}
            Work::Open => assert!(!load(&request).await.is_empty(), "the seal did not open"),
            // The new value is another than the old one, which is empty or all `a`.
            Work::Seal(size) => {
                let session = load(&request).await;
                let letter = if session.is_empty() { "a" } else { "b" };
                session.insert("value", letter.repeat(size)).expect("text is JSON");
            }
        }
        Ok::<_, Infallible>(Response::new(()))
    }));
    let mut request = Request::new(());
    if let Some(cookie) = cookie {
        request.headers_mut().insert(COOKIE, cookie.clone());
    }
    runtime.block_on(service.oneshot(request)).expect("the service does not fail")
}

async fn load(request: &Request<()>) -> Session {
    let loader = Session::from_extensions(request.extensions()).expect("the layer is there");
    loader.load().await.expect("a seal takes no store")
}

fn cookie_of(response: &Response<()>) -> Option<HeaderValue> {
    let set = response.headers().get(SET_COOKIE)?.to_str().ok()?;
    HeaderValue::from_str(set.split(';').next()?).ok()
}

criterion_group!(benches, seals);
criterion_main!(benches);
