//! nginx in front of an application whose state lives in cookies, set up as the guide says.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use session_state::{CookieState, Error, KeyRing, Session, SessionLayer};

use crate::harness::engines::{find, skip};
use crate::harness::process::{Ping, Place, Server, Spec};
use crate::support::http::{Connection, Request, Response};

/// The block that the guide shows for nginx.
fn shown() -> &'static str {
    let (_, block) = include_str!("../../src/guide/recipes.md").split_once("```nginx\n").unwrap();
    block.split_once("```\n").unwrap().0
}

/// The block without what it says of buffers.
fn without_buffers() -> String {
    shown().lines().filter(|line| !line.contains("buffer")).fold(String::new(), |text, line| text + line + "\n")
}

/// Runs nginx with this inside `server`. `None`: the test is to be skipped.
fn nginx(upstream: SocketAddr, inside: &str) -> Option<Server> {
    let program = match find(&["nginx"]) {
        Ok(program) => program,
        Err(why) => {
            skip("nginx", &why);
            return None;
        }
    };
    assert!(inside.contains("127.0.0.1:3000"));
    let inside = inside.replace("127.0.0.1:3000", &upstream.to_string());
    let run = move |place: &Place| {
        let mut http = String::from("access_log off;\n");
        for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            writeln!(http, "{name}_temp_path {name};").unwrap();
        }
        let port = place.port;
        let text = format!(
            "daemon off;\npid pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\n{http}server {{\nlisten 127.0.0.1:{port};\n{inside}\n}}\n}}\n"
        );
        std::fs::write(place.directory.join("nginx.conf"), text).unwrap();
        let mut command = Command::new(&program);
        command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(&place.directory);
        command
    };
    let ping = Ping { question: b"GET / HTTP/1.0\r\n\r\n", is_answer: |answer| answer.starts_with(b"HTTP/1.1 ") };
    Some(Server::start(Spec { name: "nginx", prepare: None, run: Box::new(run), ping }))
}

/// An application that keeps as many bytes in the visitor's cookies as it is asked to.
async fn application() -> SocketAddr {
    let state = CookieState::encrypted(KeyRing::generate().unwrap()).with_chunks(7);
    let fill = async |session: Session, Path(bytes): Path<usize>| session.insert("filling", "x".repeat(bytes));
    let count = async |session: Session| {
        let filling: Option<String> = session.get("filling")?;
        Ok::<_, Error>(filling.unwrap_or_default().len().to_string())
    };
    let app =
        Router::new().route("/", get(count)).route("/fill/{bytes}", post(fill)).layer(SessionLayer::client(state));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn send(nginx: &Server, request: Request) -> Response {
    Connection::open(nginx.address()).exchange(&request.header("Connection", "close"))
}

/// Fills the session, and returns the status and, if that worked, how much the next request finds in it.
fn filled(nginx: &Server, bytes: usize) -> (u16, String) {
    let answer = send(nginx, Request::post_bytes(&format!("/fill/{bytes}"), b""));
    let cookies: Vec<_> =
        answer.set_cookies().iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
    if answer.status != 200 {
        return (answer.status, String::new());
    }
    let count = send(nginx, Request::get("/").cookie(cookies.join("; ")));
    (count.status, String::from_utf8(count.body()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_in_cookies_passes_nginx_with_the_buffers_of_the_guide() {
    let upstream = application().await;
    let (Some(right), Some(wrong)) = (nginx(upstream, shown()), nginx(upstream, &without_buffers())) else { return };
    for (bytes, is_small) in [(1_000, true), (2_900, false), (20_000, false)] {
        assert_eq!(filled(&right, bytes), (200, bytes.to_string()), "{}", right.log());
        let expected = if is_small { (200, bytes.to_string()) } else { (502, String::new()) };
        assert_eq!(filled(&wrong, bytes), expected, "{}", wrong.log());
    }
}
