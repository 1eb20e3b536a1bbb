#!/usr/bin/env python3
"""Visits two releases of an application with a real, headless Chromium. The second has its cookie under another path.

Usage: releases.py <address of the application>

Exits with 77 when Chromium or its driver is missing. `tests/browser/releases.rs` serves the application and calls this.
"""

import signal
import sys

from webdriver import Browser, Driver, missing_programs

WHOLE_VISIT_WITHIN = 120  # seconds
SKIPPED = 77
FETCH = """
    (() => {
        const request = new XMLHttpRequest();
        request.open("GET", "/shop/cart", false);
        request.send();
        return request.responseText;
    })()
"""


def visit(browser, address, in_script):
    def says(path, text):
        browser.open(address + path)
        same(path, browser.text("body"), text)

    says("/former/login/alice", "alice")
    says("/former/shop/cart", "nobody")  # outside of the cookie's path
    says("/shop/cart", "alice")
    says("/login/bob", "bob")
    says("/", "bob")
    if in_script:
        same("what a script fetches", browser.evaluate(FETCH), "nobody")
    else:
        says("/shop/cart", "nobody")
    says("/shop/cart", "bob")
    same("paths of the cookies", [cookie["path"] for cookie in browser.devtools("Network.getCookies")["cookies"]], ["/"])
    says("/", "bob")


def same(what, found, expected):
    assert found == expected, f"{what}: {found!r}, not {expected!r}"


def main():
    if missing := missing_programs():
        print("not on this machine: " + ", ".join(missing))
        return SKIPPED
    signal.alarm(WHOLE_VISIT_WITHIN)
    with Driver() as driver:
        for in_script in (False, True):
            with Browser(driver, width=800, height=600) as browser:
                visit(browser, sys.argv[1], in_script)
    return 0


if __name__ == "__main__":
    sys.exit(main())
