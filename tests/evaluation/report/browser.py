"""Headless Chromium over its own pipe: open a page, hear what it complains of, ask what it drew, look at it."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe",
         "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking")  # fmt: skip
PATIENCE = 60.0


@dataclass(slots=True)
class Tab:
    """One page: what was asked of it, and what it said unasked."""

    read: int
    write: int
    session: str = ""
    asked: int = 0
    buffer: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the DevTools protocol, and its answer."""
        self.asked += 1
        message: dict[str, object] = {"id": self.asked, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._next(until)
            if answer.get("id") == self.asked:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser did not answer in time"
            more = os.read(self.read, 1 << 20)
            assert more, "the browser has gone"
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def open(self, path: Path, *, width: int, height: int = 900, scheme: str = "light") -> None:
        """Load a file at this width, in the light or the dark scheme, and wait until it has loaded."""
        self.open_address(path.as_uri(), width=width, height=height, scheme=scheme)

    def open_address(self, address: str, *, width: int, height: int = 900, scheme: str = "light") -> None:
        """The same with an address."""
        narrow = width < 600
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=narrow)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Page.navigate", url=address)
        protocol = address.partition("//")[0]
        until = time.monotonic() + PATIENCE
        while self.value("document.readyState") != "complete" or self.value("location.protocol") != protocol:
            assert time.monotonic() < until, "the page did not load in time"
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """What an expression is worth in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, **more: object) -> None:
        """One event of the mouse, such as `mouseMoved`, at a place of the window."""
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def key(self, key: str) -> None:
        """One key, pressed and let go."""
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key)

    def screenshot(self, *, top: float = 0, height: float | None = None) -> bytes:
        """The page as PNG, from `top`, all of it or so many pixels."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": top, "width": size["width"], "height": height or size["height"] - top, "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(shot["data"])

    def complaints(self) -> list[dict[str, Any]]:
        """What the console said, and every exception."""
        wanted = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
        return [event for event in self.events if event["method"] in wanted]

    def requests(self) -> list[str]:
        """The addresses that were asked for."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]


@contextmanager
def tab(folder: Path) -> Iterator[Tab]:
    """A tab of a browser of its own, with its profile in `folder`; gone afterwards."""
    assert BROWSER is not None
    to_browser, write = os.pipe()
    read, from_browser = os.pipe()
    # The browser reads commands from descriptor 3 and answers on 4; ours must not be those before they are copied.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_browser, from_browser)]
    os.close(to_browser)
    os.close(from_browser)

    def connect() -> None:
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    process = subprocess.Popen(
        [BROWSER, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
        preexec_fn=connect,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in ends:
        os.close(end)
    try:
        opened = Tab(read, write)
        target = opened.ask("Target.createTarget", url="about:blank")["targetId"]
        opened.session = opened.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            opened.ask(f"{domain}.enable")
        yield opened
    finally:
        os.close(write)
        os.close(read)
        process.terminate()
        process.wait(timeout=PATIENCE)
