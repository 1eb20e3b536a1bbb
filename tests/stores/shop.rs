//! Several instances of the example shop on one server.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;

use session_state::Key;

use crate::harness::engines::{Engine, MYSQL, POSTGRES};
use crate::support::http::{Connection, Request, Response};

/// How often an impatient visitor submits the same form.
const CLICKS: usize = 8;

/// A running shop. It is killed when it is dropped.
struct Shop {
    process: Child,
    address: SocketAddr,
}

impl Shop {
    /// Starts several shops at once on an empty database.
    fn open<const N: usize>(database: &str) -> [Self; N] {
        let key = Key::generate().unwrap().to_base64();
        let command = || {
            let mut command = Command::new(env!("CARGO"));
            command.args(["run", "--quiet", "--features", "sqlite,postgres,mysql", "--example", "shopping_cart"]);
            command.env("PORT", "0").env("DATABASE_URL", database).env("SESSION_KEY", &*key);
            command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).stdout(Stdio::piped());
            command.spawn().expect("cargo runs")
        };
        let processes: [Child; N] = std::array::from_fn(|_| command());
        processes.map(|mut process| {
            let mut lines = BufReader::new(process.stdout.take().expect("the output is piped")).lines();
            let says = |line: std::io::Result<String>| {
                line.unwrap().strip_prefix("listening on http://localhost:").map(|port| port.parse().unwrap())
            };
            let port: u16 = lines.find_map(says).expect("the shop says where it listens");
            // Drains the log, so that the shop never blocks on writing it.
            thread::spawn(move || lines.for_each(drop));
            Self { process, address: ([127, 0, 0, 1], port).into() }
        })
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A visitor with a browser.
#[derive(Clone, Default)]
struct Customer {
    cookie: Option<String>,
}

impl Customer {
    fn get(&mut self, shop: &Shop, path: &str) -> String {
        let response = self.exchange(shop, Request::get(path));
        assert_eq!(response.status, 200, "{response:?}");
        String::from_utf8(response.body()).unwrap()
    }

    /// Submits a form, and returns the target of the redirect.
    fn send(&mut self, shop: &Shop, path: &str, form: &str) -> String {
        let request = Request::post_bytes(path, form.as_bytes());
        let response = self.exchange(shop, request.header("Content-Type", "application/x-www-form-urlencoded"));
        assert_eq!(response.status, 303, "{response:?}");
        response.header("location").unwrap()
    }

    fn exchange(&mut self, shop: &Shop, mut request: Request) -> Response {
        request = request.header("Connection", "close");
        if let Some(cookie) = &self.cookie {
            request = request.cookie(cookie);
        }
        let response = Connection::open(shop.address).exchange(&request);
        if let Some(cookie) = response.cookie() {
            self.cookie = Some(format!("{}={}", cookie.name, cookie.value));
        }
        response
    }

    /// Submits the checkout form as the page shows it, spread over the shops, all at once.
    fn check_out(&mut self, shops: &[Shop]) -> Vec<String> {
        let page = self.get(&shops[0], "/checkout");
        let (_, total) = page.split_once("name=\"total\" value=\"€").expect("a form");
        let total = total.split('"').next().unwrap();
        let form = format!("name=Ada&street=1+Mill+Lane&postcode=N1&city=London&total=%E2%82%AC{total}");
        let form = form.as_str();
        thread::scope(|scope| {
            let click = |n: usize| {
                let mut customer = self.clone();
                scope.spawn(move || customer.send(&shops[n % shops.len()], "/checkout", form))
            };
            let clicks: Vec<_> = (0..CLICKS).map(click).collect();
            clicks.into_iter().map(|click| click.join().unwrap()).collect()
        })
    }
}

fn a_form_that_is_sent_many_times_to_several_shops_is_one_order(engine: &Engine) {
    let Some(server) = engine.start() else { return };
    let shops = Shop::open::<2>(&engine.url(server.address()));
    let [one, other] = &shops;
    let mut customer = Customer::default();
    customer.send(one, "/cart/add", "sku=pistachio-macaron&quantity=2");
    customer.send(other, "/login", "name=alice&password=shortbread");
    let mut led_to = customer.check_out(&shops);
    led_to.dedup();
    assert!(led_to.len() == 1 && led_to[0].starts_with("/orders/TIN-"), "{led_to:?}");
    assert_eq!(customer.get(other, "/orders").matches("href=\"/orders/").count(), 1);
    assert!(customer.get(one, &led_to[0]).contains("2 × Pistachio Macaron"));
    assert!(customer.get(one, "/biscuits/pistachio-macaron").contains("Only 1 tin left"));

    customer.send(one, "/cart/add", "sku=pistachio-macaron&quantity=2");
    assert!(customer.check_out(&shops).iter().all(|led_to| led_to == "/cart"));
    assert!(customer.get(one, "/cart").contains("There is only 1 tin of Pistachio Macaron left. Nothing was ordered"));
    assert_eq!(customer.get(other, "/orders").matches("href=\"/orders/").count(), 1);
    assert!(customer.get(other, "/cart").contains("value=\"2\""), "the cart is as it was");
}

#[test]
fn a_form_that_is_sent_many_times_to_several_shops_is_one_order_in_postgres() {
    a_form_that_is_sent_many_times_to_several_shops_is_one_order(&POSTGRES);
}

#[test]
fn a_form_that_is_sent_many_times_to_several_shops_is_one_order_in_mysql() {
    a_form_that_is_sent_many_times_to_several_shops_is_one_order(&MYSQL);
}
