"""A small WebDriver client: the standard library alone, a time limit on every wait, chromedriver and Chromium only."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element reference, W3C WebDriver §12.1
ANSWER_WITHIN = 30  # seconds for one command
APPEAR_WITHIN = 10  # seconds for an element or a page

ARGUMENTS = [
    "--headless",
    "--no-sandbox",  # Chromium refuses to run as root with its sandbox, and build machines run as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
]


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def missing_programs():
    """The programs of a browser walk that this machine lacks."""
    programs = {"chromium": BROWSER, "chromedriver": shutil.which("chromedriver")}
    return [name for name, found in programs.items() if found is None]


class Driver:
    """A chromedriver process; `with` ends it whatever happens."""

    def __enter__(self):
        self.profiles = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        # A process group of its own, so that no Chromium is left behind when a walk breaks off.
        command, quiet = ["chromedriver", "--port=0"], subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True, start_new_session=True)
        for line in self.process.stdout:
            if "started successfully on port" in line:
                self.url = "http://127.0.0.1:" + line.rstrip(".\n ").rsplit(" ", 1)[1]
                return self
        raise RuntimeError("chromedriver ended before it was ready")

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)
        self.profiles.cleanup()


class Browser:
    """One headless Chromium with an empty profile of its own; `with` closes it whatever happens."""

    def __init__(self, driver, *, width, height, phone=False, scripts=True):
        profile = tempfile.mkdtemp(dir=driver.profiles.name)
        options = {"binary": BROWSER, "args": [*ARGUMENTS, "--user-data-dir=" + profile]}
        if not scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        asked = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        self.root = driver.url
        self.root = f"{driver.url}/session/{self.command('POST', '/session', asked)['sessionId']}"
        self.screen = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.devtools("Emulation.setDeviceMetricsOverride", **self.screen)

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        if failure is None:
            self.command("DELETE", "")

    def command(self, method, path, body=None):
        """Sends one WebDriver command and returns its value."""
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_WITHIN) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as refused:
            value = json.load(refused)["value"]
            raise LookupError(f"{value['error']}: {value['message'].splitlines()[0]}") from None

    def devtools(self, method, **parameters):
        """Sends one command of the Chrome DevTools protocol."""
        return self.command("POST", "/goog/cdp/execute", {"cmd": method, "params": parameters})

    def open(self, url):
        self.command("POST", "/url", {"url": url})

    def back(self):
        self.command("POST", "/back")

    def url(self):
        return self.command("GET", "/url")

    def cookies(self):
        """What the browser keeps for this page, by name, with every attribute."""
        return {cookie["name"]: cookie for cookie in self.devtools("Network.getCookies")["cookies"]}

    def find(self, css):
        """Waits for the first element that matches and returns its reference."""
        deadline = time.monotonic() + APPEAR_WITHIN
        while True:
            try:
                return self.command("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]
            except LookupError as missing:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{css!r} is not on {self.url()}: {missing}") from None
                time.sleep(0.05)

    def count(self, css):
        return len(self.command("POST", "/elements", {"using": "css selector", "value": css}))

    def text(self, css):
        return self.command("GET", f"/element/{self.find(css)}/text")

    def attribute(self, css, name):
        return self.command("GET", f"/element/{self.find(css)}/attribute/{name}")

    def click(self, css):
        self.command("POST", f"/element/{self.find(css)}/click")

    def follow(self, css):
        """Clicks a link or sends a form, and waits until another page has taken the place of this one."""
        page = self.find("html")
        self.click(css)
        deadline = time.monotonic() + APPEAR_WITHIN
        while time.monotonic() < deadline:
            try:
                self.command("GET", f"/element/{page}/name")
            except LookupError:
                return
            time.sleep(0.01)
        raise AssertionError(f"{css!r} led nowhere from {self.url()}")

    def fill(self, css, text):
        element = self.find(css)
        self.command("POST", f"/element/{element}/clear")
        self.command("POST", f"/element/{element}/value", {"text": text})

    def evaluate(self, expression):
        """The value of a script expression in the page."""
        return self.devtools("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def content_size(self):
        """The size of the whole page in CSS pixels."""
        return self.devtools("Page.getLayoutMetrics")["cssContentSize"]

    def accessible(self):
        """The role and the name of everything on the page, as a screen reader gets them."""
        nodes = self.devtools("Accessibility.getFullAXTree")["nodes"]
        shown = (node for node in nodes if not node["ignored"])
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in shown]

    def screenshot(self, path):
        """Writes a picture of the whole page: the window is made as tall as the page for a moment."""
        self.url()  # waits for a page that is still on its way
        height = max(self.screen["height"], int(self.content_size()["height"]))
        self.devtools("Emulation.setDeviceMetricsOverride", **{**self.screen, "height": height})
        path.write_bytes(base64.b64decode(self.command("GET", "/screenshot")))
        self.devtools("Emulation.setDeviceMetricsOverride", **self.screen)
