"""Photographs the report and Optuna Dashboard for the pages: ``python docs/pictures/screenshots.py``.

Searches on the embedded digits first, unless ``--folder`` names a folder in which that was done. Needs
Chromium and its driver (Debian: ``apt-get install chromium-driver``).
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).parent
AUTOPRUNE = (sys.executable, "-m", "autoprune")
SEARCH = ("search", "--data", "digits", "--budget", "flops=50%", "--budget", "trials=24", "--threads", "1")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--hide-scrollbars",
)
PHONE = 390
"""Width of a usual phone, in CSS pixels."""
LARGEST = 300_000
"""Bytes of a picture: the pages should open quickly."""
DRAWN = "return document.documentElement.dataset.drawn !== undefined"
OURS = "const ours = document.getElementById('user-defined-plot:front-flops');"
"""The first of the pictures that the study brings along: those of the dashboard stand above it."""
PLOTTED = f"{OURS} return ours !== null && ours.querySelector('.main-svg') !== null"
SETTLED = 1.5
"""Seconds in which a page that has everything finishes its fades."""


class Browser:
    """Chromium, spoken to through its driver as WebDriver and the DevTools protocol define it."""

    def __init__(self, driver: str) -> None:
        options = {"goog:chromeOptions": {"args": list(FLAGS)}}
        started = _call("POST", f"{driver}/session", {"capabilities": {"alwaysMatch": options}})
        self._session = f"{driver}/session/{started['sessionId']}"

    def look(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """What the page is shown on, in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self._tell("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._tell("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, address: str, ready: str, *, seconds: float = 90) -> None:
        """Open a page and wait until a script finds it ready.

        Raises:
            TimeoutError: it never did.
        """
        _call("POST", f"{self._session}/url", {"url": address})
        end = time.monotonic() + seconds
        while not self.ask(ready):
            if time.monotonic() > end:
                raise TimeoutError(f"{address} is not ready after {seconds:.0f} s: {ready}")
            time.sleep(0.25)
        time.sleep(SETTLED)

    def ask(self, script: str) -> Any:
        """What a script on the page returns."""
        return _call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def photograph(self) -> Image.Image:
        """What is in the window."""
        shot = self._tell("Page.captureScreenshot", {"format": "png"})
        return Image.open(io.BytesIO(base64.b64decode(shot["data"])))

    def close(self) -> None:
        """End the browser."""
        _call("DELETE", self._session)

    def _tell(self, command: str, parameters: Mapping[str, Any]) -> Any:
        return _call("POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": parameters})


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that ends with the block.

    Raises:
        FileNotFoundError: there is no chromedriver.
    """
    program = shutil.which("chromedriver")
    if program is None:
        raise FileNotFoundError("chromedriver is not installed: apt-get install chromium-driver")
    with subprocess.Popen([program, "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            said = next(line for line in driver.stdout if "started successfully on port" in line)
            made = Browser(f"http://127.0.0.1:{said.rsplit(' ', 1)[1].strip().rstrip('.')}")
            try:
                yield made
            finally:
                made.close()
        finally:
            driver.terminate()


@contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    """Address of Optuna Dashboard on the studies of a folder, while the block lasts."""
    command = [*AUTOPRUNE, "dashboard", "--port", "0"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def photograph_report(window: Browser, folder: Path) -> None:
    """The report by day, by night and on a phone."""
    subprocess.run([*AUTOPRUNE, "report"], cwd=folder, check=True)
    address = (folder / "report.html").resolve().as_uri()
    for name, width, height, dark in (
        ("report", 1200, 1000, False),
        ("report-dark", 1200, 1000, True),
        ("report-phone", PHONE, 844, False),
    ):
        window.look(width, height, dark=dark, phone=width == PHONE)
        window.open(address, DRAWN)
        save(window.photograph(), name)


def photograph_dashboard(window: Browser, address: str) -> None:
    """The study's pictures, and the page of a trial of its front."""
    window.look(1400, 1000)
    window.open(f"{address}studies/1", PLOTTED)
    window.ask(f"{OURS} ours.scrollIntoView(); window.scrollBy(0, -120)")
    time.sleep(SETTLED)
    save(window.photograph(), "dashboard")
    with urllib.request.urlopen(f"{address.removesuffix('dashboard/')}api/studies/1") as response:
        trials = json.load(response)["trials"]
    noted = next(trial["number"] for trial in trials if trial["note"]["body"] and trial["artifacts"])
    window.open(
        f"{address}studies/1/trials?numbers={noted}", "return document.body.innerText.includes('cut')"
    )
    save(window.photograph(), "dashboard-trial")


def save(picture: Image.Image, name: str) -> None:
    """Write a picture with 256 colours, which is a third of its size.

    Raises:
        ValueError: it is larger than the pages can bear.
    """
    file = HERE / f"{name}.png"
    few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(file, optimize=True)
    if file.stat().st_size > LARGEST:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes: make the window smaller")


def _call(method: str, address: str, body: Mapping[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["value"]


def main() -> None:
    """Search if need be, and take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="folder with an autoprune.db of one study")
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        folder = given or Path(scratch)
        if given is None:
            subprocess.run([*AUTOPRUNE, *SEARCH], cwd=folder, check=True)
        with browser() as window:
            photograph_report(window, folder)
            with dashboard(folder) as address:
                photograph_dashboard(window, address)


if __name__ == "__main__":
    main()
