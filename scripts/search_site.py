"""Look up the questions of dev/questions.md in the search of the documentation, after `make docs`.

    python scripts/search_site.py [FOLDER]

Prints of each question the words typed, the page that answers it, and its rank in the search. Ends with an error
where one is not among the first three. Needs playwright and a Chromium: the one that `CHROMIUM` names, or the system's.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlparse

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
WANTED = 3


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Print nothing of each request."""


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The address, on loopback, at which a folder is served."""
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def questions() -> list[tuple[str, str]]:
    """Of each question the words typed, and the page that answers it."""
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| (\S+\.md) \|", (ROOT / "dev" / "questions.md").read_text(), flags=re.MULTILINE
    )
    return [(words, page) for _, words, page in rows]


def results(page: Page, address: str, words: str) -> list[str]:
    """The pages that the search lists for these words, first the best, as Markdown files are named."""
    page.goto(f"{address}?q={quote(words)}")
    page.wait_for_function(
        "/\\d|No matching/.test(document.querySelector('.md-search-result__meta')?.textContent ?? '')"
    )
    links = page.eval_on_selector_all(".md-search-result__item > a", "links => links.map(link => link.href)")
    pages = [f"{urlparse(link).path.strip('/') or 'index'}.md" for link in links]
    return list(dict.fromkeys(pages))  # the sections of a page are shown together


def chromium() -> str | None:
    """Where the browser is, if there is one."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


def main(site: Path) -> int:
    """Look all questions up; returns how many are not answered among the first results."""
    from playwright.sync_api import sync_playwright  # not where the tests read the questions alone

    missed = 0
    with sync_playwright() as started, served(site) as address:
        browser = started.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        for words, wanted in questions():
            found = results(page, address, words)
            rank = found.index(wanted) + 1 if wanted in found else 0
            missed += not 1 <= rank <= WANTED
            print(f"{rank or '-':>2}  {words:30} {wanted:30} first: {', '.join(found[:WANTED])}")
        browser.close()
    return missed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"))
