#!/usr/bin/env python3
"""Walks through the example shop with a real, headless Chromium, twice: at a desk, and on a phone without JavaScript.

Usage: walk.py <address of the shop> <folder for pictures>

Exits with 77 when Chromium or its driver is missing. `tests/browser.rs` starts the shop and calls this. When this
prints "power cut", it kills the shop, opens it again and says so.
"""

import base64
import pathlib
import re
import signal
import sys
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from webdriver import Browser, Driver, missing_programs

WHOLE_WALK_WITHIN = 300  # seconds
SKIPPED = 77
SESSION = "__Host-Http-id"
PRODUCTS = 12
CONTROLS = {"button", "checkbox", "combobox", "link", "radio", "textbox"}
STICKS_OUT = """
    [...document.querySelectorAll("body *")]
        .filter(element => element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
        .map(element => element.outerHTML.slice(0, 80)).join(", ")
"""


class Walk:
    """One visitor with one browser. The steps build on each other, in the order of `STEPS`."""

    def __init__(self, driver, browser, shop, pictures, name):
        self.driver, self.browser, self.shop = driver, browser, shop
        self.pictures, self.name, self.looks = pictures, name, 0

    def go(self, path):
        self.browser.open(self.shop + path)

    def is_at(self, path):
        same("address", self.browser.url().removeprefix(self.shop), path)

    def says(self, css, text):
        found = self.browser.text(css)
        assert text in found, f"{css!r} on {self.browser.url()} says {found!r}, not {text!r}"

    def counts(self, css, number):
        same(f"number of {css!r} on {self.browser.url()}", self.browser.count(css), number)

    def look(self, title):
        """Keeps a picture of the page, which must fit the screen and name every control for a screen reader."""
        self.looks += 1
        self.browser.screenshot(self.pictures / f"{self.name}-{self.looks:02}-{title}.png")
        same(f"what sticks out of {self.browser.url()} sideways", self.browser.evaluate(STICKS_OUT), "")
        nameless = [role for role, name in self.browser.accessible() if role in CONTROLS and not name.strip()]
        same(f"controls without a name on {self.browser.url()}", nameless, [])

    def choose(self, currency, theme):
        self.browser.click(".choices summary")
        self.browser.click(f"#currency option[value={currency}]")
        self.browser.click(f"#theme option[value={theme}]")
        self.browser.follow("#save-preferences")

    def log_in(self, name, password):
        self.browser.fill("#name", name)
        self.browser.fill("#password", password)
        self.browser.follow("#log-in")

    def send(self, path, form):
        """Sends a form with the browser's cookies, and returns where that led."""
        cookies = "; ".join(f"{name}={cookie['value']}" for name, cookie in self.browser.cookies().items())
        data = urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(self.shop + path, data, {"Cookie": cookies})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.url.removeprefix(self.shop)

    def tins_left(self):
        """Reads how many macarons there are, of which there are never many."""
        self.go("/biscuits/pistachio-macaron")
        return int(re.search(r"Only (\d+) tins? left", self.browser.text(".few")).group(1))

    def order_count(self):
        self.go("/orders")
        return self.browser.count(".orders li")

    # The steps

    def looking_around_leaves_no_cookie(self):
        self.go("/")
        self.counts(".card", PRODUCTS)
        self.look("window")
        self.go("/cart")
        self.says("h1", "Your tin is empty")
        self.look("empty-cart")
        same("cookies", self.browser.cookies(), {})

    def pages_allow_no_script_and_no_frame(self):
        with urllib.request.urlopen(self.shop, timeout=10) as answer:
            rules = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in rules and "frame-ancestors 'none'" in rules, rules
            assert "script-src" not in rules and "unsafe" not in rules, rules
            same("X-Content-Type-Options", answer.headers["X-Content-Type-Options"], "nosniff")
            same("Referrer-Policy", answer.headers["Referrer-Policy"], "same-origin")

    def the_cart_fills(self):
        self.go("/")
        self.browser.follow("form:has([value=ginger-fellow]) button")
        self.is_at("/cart")
        self.says(".flash", "Ginger Fellow is in your cart.")
        self.go("/biscuits/linzer-window")
        self.look("product")
        self.browser.fill("#quantity", "2")
        self.browser.follow("#add")
        self.says("#total", "€27.20")  # 6.70 + 2 × 7.80 + 4.90 postage
        self.says("#cart-count", "3")
        self.look("cart")

    def tins_added_at_the_same_moment_all_arrive(self):
        with ThreadPoolExecutor(8) as tabs:
            same("answers", set(tabs.map(lambda _: self.send("/cart/add", {"sku": "stroopwafel"}), range(20))), {"/cart"})
        self.go("/cart")
        same("tins", self.browser.attribute("#quantity-stroopwafel", "value"), "20")
        self.browser.follow("#line-stroopwafel [action='/cart/remove'] button")

    def a_flash_message_is_shown_once(self):
        self.go("/cart")
        self.counts(".flash", 0)

    def the_session_cookie_keeps_its_promises(self):
        cookie = self.browser.cookies()[SESSION]
        promised = {"httpOnly": True, "secure": True, "sameSite": "Lax", "path": "/", "session": True}
        same("attributes", {name: cookie[name] for name in promised}, promised)
        host_only = urllib.parse.urlsplit(self.shop).hostname  # with a Domain attribute there would be a dot before it
        same("domain", cookie["domain"], host_only)
        same("document.cookie", self.browser.evaluate("document.cookie"), "")

    def a_wrong_quantity_is_answered_kindly(self):
        for typed in ("0", "a dozen", "25", "-1"):
            self.browser.fill("#quantity-linzer-window", typed)
            self.browser.follow("#line-linzer-window [action='/cart/change'] button")
            self.says(".flash.problem", "a whole number of tins from 1 to 24")
        self.look("wrong-quantity")
        self.says("#cart-count", "3")

    def a_quantity_changes_and_a_line_goes(self):
        self.browser.fill("#quantity-linzer-window", "4")
        self.browser.follow("#line-linzer-window [action='/cart/change'] button")
        self.says("#line-linzer-window .line-total", "€31.20")
        self.browser.follow("#line-ginger-fellow [action='/cart/remove'] button")
        self.says(".flash", "Ginger Fellow is back on the shelf.")
        self.counts(".line", 1)

    def preferences_ride_in_a_sealed_cookie(self):
        before = self.browser.cookies()
        self.choose("GBP", "dark")
        self.is_at("/cart")
        same("theme", self.browser.attribute("html", "data-theme"), "dark")
        self.says("#line-linzer-window .line-total", "£26.52")
        sealed = [cookie for name, cookie in self.browser.cookies().items() if name not in before]
        same("new cookies", len(sealed), 1)
        same("attributes", [sealed[0][name] for name in ("httpOnly", "secure", "sameSite", "path")], [True, True, "Lax", "/"])
        seal = base64.urlsafe_b64decode(sealed[0]["value"] + "===")
        assert b"GBP" not in seal and b"dark" not in seal, "the preferences can be read"
        self.look("cart-dark")
        self.browser.click(".choices summary")
        self.look("choices")

    def the_cart_survives_a_power_cut(self):
        print("power cut", flush=True)
        sys.stdin.readline()
        self.go("/cart")
        self.counts(".line", 1)
        self.says("#cart-count", "4")
        self.says("#line-linzer-window .line-total", "£26.52")

    def the_checkout_asks_for_a_login_and_the_cart_comes_along(self):
        self.go("/cart")
        self.browser.follow("#to-checkout")
        self.is_at("/login?next=/checkout")
        self.look("login")
        self.log_in("alice", "gingerbread")
        self.says(".flash.problem", "do not belong together")
        self.is_at("/login?next=/checkout")
        self.look("wrong-password")
        before = self.browser.cookies()[SESSION]["value"]
        self.log_in("alice", "shortbread")
        self.is_at("/checkout")
        assert self.browser.cookies()[SESSION]["value"] != before, "the login kept the session's ID"
        self.says("#cart-count", "4")
        self.says("#total", "£30.69")  # 4 × 6.63 + 4.17 postage
        self.look("checkout")

    def an_address_is_checked(self):
        self.browser.fill("#name", "Alice <Liddell>")
        self.browser.follow("#place-order")
        self.is_at("/checkout")
        self.counts(".field-problem", 3)
        same("what was typed", self.browser.attribute("#name", "value"), "Alice <Liddell>")
        self.look("address-problems")

    def an_order_is_placed_once(self):
        for field, text in {"street": "3 Christ Church", "postcode": "OX1 1DP", "city": "Oxford"}.items():
            self.browser.fill("#" + field, text)
        self.browser.follow("#place-order")
        self.order = self.browser.text("#order-number")
        self.is_at(f"/orders/{self.order}")
        self.says("address", "Alice <Liddell>")
        self.says("#cart-count", "0")
        self.look("order")
        self.browser.back()
        self.browser.follow("#place-order")
        self.is_at(f"/orders/{self.order}")
        self.go("/orders")
        self.counts(f".orders li:first-child [href='/orders/{self.order}']", 1)  # a second one would be before it
        self.look("orders")

    def a_checkout_of_more_than_there_is_orders_nothing(self):
        left, orders = self.tins_left(), self.order_count()
        self.go("/")
        self.look("few-left")
        self.go("/biscuits/pistachio-macaron")
        self.look("few-left")
        self.browser.fill("#quantity", str(left + 1))
        self.browser.follow("#add")
        self.browser.follow("#to-checkout")
        self.browser.follow("#place-order")
        self.is_at("/cart")
        self.says(".flash.problem", "of Pistachio Macaron left. Nothing was ordered")
        self.look("too-few-left")
        self.says("#cart-count", str(left + 1))
        same("orders", self.order_count(), orders)
        same("tins left", self.tins_left(), left)

    def a_form_sent_by_an_impatient_finger_is_one_order(self):
        left, orders = self.tins_left(), self.order_count()
        self.go("/cart")
        self.browser.fill("#quantity-pistachio-macaron", "1")
        self.browser.follow("#line-pistachio-macaron [action='/cart/change'] button")
        self.browser.follow("#to-checkout")
        fields = ("name", "street", "postcode", "city")
        form = {field: self.browser.attribute("#" + field, "value") for field in fields}
        form["total"] = self.browser.attribute("[name=total]", "value")
        with ThreadPoolExecutor(8) as fingers:
            led_to = set(fingers.map(lambda _: self.send("/checkout", form), range(8)))
        same("number of pages that this led to", len(led_to), 1)
        same("orders", self.order_count(), orders + 1)
        self.counts(f".orders li:first-child [href='{led_to.pop()}']", 1)
        self.says("#cart-count", "0")
        same("tins left", self.tins_left(), left - 1)

    def the_server_tells_what_it_knows(self):
        self.go("/")
        self.browser.follow("form:has([value=cinnamon-star]) button")
        self.go("/about-you")
        places = self.browser.text(".facts")
        for place in ("session record", "rows of a table", "encrypted cookie", "tables of the shop"):
            assert place in places.lower(), f"{place!r} is not among the places: {places!r}"
        self.look("about-you")

    def an_account_sees_its_devices_and_ends_the_others(self):
        self.go("/devices")
        self.counts(".device", 1)
        self.says("main", "You are logged in nowhere else.")
        with Browser(self.driver, width=800, height=600) as elsewhere:
            other = Walk(self.driver, elsewhere, self.shop, self.pictures, self.name)
            for button, answer in (".device button", "That device is logged out."), ("#end-others", "1 device logged out."):
                other.go("/login?next=/orders")
                other.log_in("alice", "shortbread")
                other.is_at("/orders")
                self.go("/devices")
                self.counts(".device", 2)
                self.counts(".device:first-child .place", 1)
                self.says(".device:last-child h2", "Chrome on ")
                self.look("devices")
                self.browser.follow(button)
                self.is_at("/devices")
                self.says(".flash", answer)
                self.counts(".device", 1)
                other.go("/orders")
                other.is_at("/login?next=/orders")
        self.says("#cart-count", "1")
        self.look("one-device")

    def a_password_is_asked_for_again(self):
        self.go("/confirm?next=/devices")
        self.look("confirmation")
        before = self.browser.cookies()[SESSION]["value"]
        for password, path in ("gingerbread", "/confirm?next=/devices"), ("shortbread", "/devices"):
            self.browser.fill("#password", password)
            self.browser.follow("#confirm")
            self.is_at(path)
        self.says(".flash", "Thank you.")
        assert self.browser.cookies()[SESSION]["value"] != before, "the session kept its ID"

    def a_form_of_another_site_is_refused(self):
        form = f"<form method=post action={self.shop}/cart/add><input name=sku value=stroopwafel><button>x</button></form>"
        self.browser.open("data:text/html," + urllib.parse.quote(form))
        self.browser.follow("button")
        self.says("h1", "That did not come from our shop")
        self.go("/cart")
        self.says("#cart-count", "1")

    def a_missing_page_shows_the_way_back(self):
        self.go("/biscuits/garibaldi")
        self.says("h1", "Nothing but crumbs")
        same("theme", self.browser.attribute("html", "data-theme"), "dark")
        self.look("missing")

    def logging_out_ends_the_session_for_good(self):
        old = self.browser.cookies()[SESSION]["value"]
        self.go("/")
        self.browser.click(".tools .menu summary")
        self.look("account")
        self.browser.follow("#log-out")
        self.counts(".tools [href='/login']", 1)
        self.go(f"/orders/{self.order}")
        self.says("h1", "Nothing but crumbs")
        same("theme", self.browser.attribute("html", "data-theme"), "dark")
        self.browser.devtools(
            "Network.setCookie", name=SESSION, value=old, url=self.shop, path="/", secure=True, httpOnly=True, sameSite="Lax"
        )
        self.go("/")
        self.counts(".tools [href='/login']", 1)
        second_click = urllib.request.Request(self.shop + "/logout", b"", {"Cookie": f"{SESSION}={old}"})
        try:
            urllib.request.urlopen(second_click, timeout=30)
        except urllib.error.HTTPError as refused:
            same("a second click on the button", (refused.code, "Two hands in one tin" in refused.read().decode()), (409, True))
        else:
            same("a second click on the button", "answered", "refused")

    STEPS = (
        looking_around_leaves_no_cookie,
        pages_allow_no_script_and_no_frame,
        the_cart_fills,
        tins_added_at_the_same_moment_all_arrive,
        a_flash_message_is_shown_once,
        the_session_cookie_keeps_its_promises,
        a_wrong_quantity_is_answered_kindly,
        a_quantity_changes_and_a_line_goes,
        preferences_ride_in_a_sealed_cookie,
        the_cart_survives_a_power_cut,
        the_checkout_asks_for_a_login_and_the_cart_comes_along,
        an_address_is_checked,
        an_order_is_placed_once,
        a_checkout_of_more_than_there_is_orders_nothing,
        a_form_sent_by_an_impatient_finger_is_one_order,
        the_server_tells_what_it_knows,
        an_account_sees_its_devices_and_ends_the_others,
        a_password_is_asked_for_again,
        a_form_of_another_site_is_refused,
        a_missing_page_shows_the_way_back,
        logging_out_ends_the_session_for_good,
    )


def same(what, found, expected):
    assert found == expected, f"{what}: {found!r} instead of {expected!r}"


def walk(driver, shop, pictures, name, **device):
    """Takes every step with a fresh browser; a step that fails leaves a picture of where."""
    with Browser(driver, **device) as browser:
        visitor = Walk(driver, browser, shop, pictures, name)
        for step in Walk.STEPS:
            title = step.__name__.replace("_", " ")
            try:
                step(visitor)
            except Exception:
                print(f"FAILED {name}: {title}", flush=True)
                browser.screenshot(pictures / f"{name}-failed.png")
                raise
            print(f"ok {name}: {title}", flush=True)


def overdue(*_):
    raise TimeoutError(f"the walk took longer than {WHOLE_WALK_WITHIN} seconds")


def main():
    if missing := missing_programs():
        print("not on this machine: " + ", ".join(missing))
        return SKIPPED
    shop, pictures = sys.argv[1].rstrip("/"), pathlib.Path(sys.argv[2])
    pictures.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGALRM, overdue)
    signal.alarm(WHOLE_WALK_WITHIN)
    with Driver() as driver:
        walk(driver, shop, pictures, "desktop", width=1280, height=900)
        walk(driver, shop, pictures, "phone-no-script", width=390, height=844, phone=True, scripts=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
