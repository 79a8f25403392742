"""Debian's Chromium for tests of pages. `DEV_CLUSTER=1`, which CI sets, installs and requires it; otherwise these tests
are visibly skipped if it is missing."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.debian import installed

PICTURES = Path(os.environ.get("PICTURES") or "build/pictures")
"""Where screenshots are kept for inspection."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a file."""
    program = installed("chromium", "chromium")
    with sync_playwright() as playwright:
        sandboxed = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses its own sandbox to root
        running = playwright.chromium.launch(executable_path=program, args=sandboxed)
        yield running
        running.close()


@dataclass
class Watched:
    """A page, and the errors that occurred on it."""

    page: Page
    problems: list[str] = field(default_factory=list)
    """Errors on the console, exceptions, and requests to any other place than the page itself."""

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")


def visit(browser: Browser, address: str, scheme: str = "light", width: int = 1280, height: int = 900) -> Watched:
    """Open a page in a new context."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})  # type: ignore[arg-type]
    watched = Watched(context.new_page())
    origin = "/".join(address.split("/")[:3])
    page = watched.page
    page.on("console", lambda said: watched.problems.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: watched.problems.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(origin) else watched.problems.append(asked.url[:200]))
    page.goto(address)
    page.wait_for_selector("html[data-ready=yes]")
    return watched
