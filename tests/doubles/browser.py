"""A headless Chromium that is told what to do over a pipe, in its DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from time import monotonic, sleep

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# The browser reads commands from descriptor 3 and writes answers to 4.
PASS_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 100, inheritable=False)
os.dup2(int(sys.argv[2]), 101, inheritable=False)
os.dup2(100, 3)
os.dup2(101, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page; a context manager.

    Attributes:
        complaints: What the console said of errors and warnings, and exceptions of scripts.
    """

    def __init__(self, width=1440, height=1000, *, dark=False, mobile=False):
        self.complaints = []
        self._answers, self._number, self._rest = {}, 0, b""
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        command = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--remote-debugging-pipe", f"--user-data-dir={self._profile.name}",
            "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-c", PASS_ON, str(to_read), str(to_write), *command],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(each for each in targets if each["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        if dark:
            self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def open(self, url):
        self.call("Page.navigate", url=url)

    def ask(self, expression):
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression, timeout_s=60):
        """Until it is true; its value."""
        end = monotonic() + timeout_s
        while not (value := self.ask(expression)):
            assert monotonic() < end, f"never true: {expression}; {self.complaints}"
            sleep(0.05)
        return value

    def screenshot(self, path, *, whole=False):
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def call(self, method, **parameters):
        return self._call(method, self._session, **parameters)

    def _call(self, method, session=None, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while self._number not in self._answers:
            self._read()
        answer = self._answers.pop(self._number)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self):
        part = os.read(self._from, 1 << 20)
        assert part, "the browser ended"
        *messages, self._rest = (self._rest + part).split(b"\0")
        for each in map(json.loads, messages):
            if "id" in each:
                self._answers[each["id"]] = each
            elif each["method"] == "Runtime.exceptionThrown":
                self.complaints.append(each["params"]["exceptionDetails"].get("exception", {}).get("description"))
            elif each["method"] == "Log.entryAdded" and each["params"]["entry"]["level"] in {"error", "warning"}:
                self.complaints.append(each["params"]["entry"]["text"])
            elif each["method"] == "Runtime.consoleAPICalled" and each["params"]["type"] in {"error", "warning"}:
                self.complaints.append(str(each["params"]["args"]))
