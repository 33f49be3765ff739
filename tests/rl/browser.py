"""A real browser for tests of pages: chromium, driven by Playwright; without either they skip by name."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_browser = pytest.mark.skipif(
    importlib.util.find_spec("playwright") is None or CHROMIUM is None,
    reason="needs playwright and chromium",
)
needs_axe = pytest.mark.skipif(
    importlib.util.find_spec("axe_playwright_python") is None, reason="needs axe-playwright-python"
)


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """A tab that notes each error in the console, and each request that leaves where it may go."""

    def __init__(self, browser: Any, base: str, **options: Any) -> None:
        self.base, self.faults = base, list[str]()
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        self.page = self.context.new_page()
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.faults.append(m.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._request)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:")):
            self.faults.append(f"asked for {request.url}")

    def open(self, query: str = "") -> Any:
        """Open an address of the page, and wait until it is shown."""
        self.page.goto(self.base + query)
        self.page.wait_for_selector("#main[data-ready]", timeout=20_000)
        return self.page

    def close(self) -> None:
        """Close the tab; nothing may have gone wrong in it."""
        self.context.close()
        assert self.faults == []


def axe_faults(page: Any, only: str | None = None) -> list[str]:
    """Name what axe-core finds that is serious or critical, by all rules or by one."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"], **({"runOnly": [only]} if only else {})}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{v['id']}: {node['html'][:160]}"
        for v in found
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"][:3]
    ]


def file_url(path: Path) -> str:
    """Write a path as an address."""
    return path.resolve().as_uri()


def wait_for_text(page: Any, selector: str, pattern: str) -> None:
    """Wait until an element's text matches; pages forbid the `eval` of `wait_for_function`."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_text(re.compile(pattern, re.DOTALL))


def wait_for_class(page: Any, selector: str, index: int, name: str) -> None:
    """Wait until the index-th element that a selector finds is of a class."""
    from playwright.sync_api import expect

    expect(page.locator(selector).nth(index)).to_have_class(re.compile(rf"\b{name}\b"))
