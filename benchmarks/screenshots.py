"""Screenshots of every page at three widths, and whether any is wider than its window.

    python benchmarks/screenshots.py --out /tmp/screenshots
    python benchmarks/screenshots.py --out /tmp/screenshots --report RUN RUN --label DATA

Pages are: the report of the runs of --report (of two small ones that it plays, where none is
named), the label page for the clips of --label (made where none are named; it needs Gradio), and
the documentation under site/, where ``make docs`` has built it. Exit code 1 says that a page
overflows: something on it can be seen only by scrolling sideways.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
WIDTHS = {390: 844, 768: 1024, 1440: 900}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# The first things beyond the window that do not scroll within a box of their own.
OVERFLOW = """() => {
  const scrolls = e => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX !== 'visible';
  const boxed = e => e !== document.body && (scrolls(e) || boxed(e.parentElement));
  return [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !boxed(e.parentElement))
    .slice(0, 3).map(e => e.tagName.toLowerCase() + (e.id ? '#' + e.id : '') + ' ' + e.className);
}"""


def screenshots(page: Page, name: str, address: str, out: Path, ready: str = "body") -> list[str]:
    """Photograph a page at all widths.

    Args:
        page: The browser's page.
        name: What the pictures are called.
        address: Where the page is.
        out: The folder of the pictures.
        ready: A selector of what must be there first.

    Returns:
        A sentence for each width at which the page overflows.
    """
    said = []
    for width, height in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        page.goto(address)
        page.wait_for_selector(ready, timeout=60_000)
        page.wait_for_timeout(300)
        page.screenshot(path=out / f"{name}-{width}.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            said.append(f"{name} is {wide} pixels wide at {width}: {page.evaluate(OVERFLOW)}")
    return said


def run(*words: str) -> str:
    """Run a command of Parley's and return the last line that it prints."""
    command = [sys.executable, "-m", "run", *words]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1]


def report_page(runs: list[str], folder: Path) -> Path:
    """The report of some runs; of the oracle's and a random Planner's where none are named."""
    for planner in ("oracle", "random") if not runs else ():
        some = ["--tasks", "conditional,search-2-5", "--episodes", "40"]
        made = run("evaluate", "planner", "--planner", planner, *some, "--runs-dir", str(folder))
        runs = [*runs, made]
    page = folder / "report.html"
    run("report", *runs, "--players", "2", "--out", str(page), "--force")
    return page


@contextmanager
def label_page(data: Path | None, folder: Path) -> Iterator[str]:
    """The address of a label page that runs as long as the context."""
    if data is None:
        data = folder / "clips"
        some = ["--test-clips", "12", "--splits", "test1", "--force"]
        run("make-clips", *some, "--out", str(data), "--runs-dir", str(folder))
    answers = folder / "answers.jsonl"
    answers.unlink(missing_ok=True)
    command = [sys.executable, "-m", "run", "label", "--data", str(data), "--by", "nobody"]
    command += ["--questions", "3", "--no-browser", "--out", str(answers)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        if found is None:
            raise RuntimeError("the label page did not start")
        yield found[0]
    finally:
        process.kill()  # it would wait for the browser's open connection
        process.wait(timeout=30)


def main() -> int:
    """Photograph all pages; 1 where one overflows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--report", nargs="*", default=[], help="run folders of evaluate")
    parser.add_argument("--label", type=Path, help="folder of make-clips")
    parser.add_argument("--site", type=Path, default=ROOT / "site", help="the built documentation")
    given = parser.parse_args()
    browser_at = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        browser_at = None
    if browser_at is None:
        print("no screenshots: they need Chromium and playwright (pip install 'parley-rl[dev]')")
        return 0
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    said: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_at, args=["--no-sandbox"])
        for theme in ("light", "dark"):
            page = browser.new_page(color_scheme="dark" if theme == "dark" else "light")
            name = "report" if theme == "light" else "report-dark"
            address = report_page([str(Path(r).resolve()) for r in given.report], out / "runs")
            said += screenshots(page, name, address.as_uri(), out, "#episodes details")
        page = browser.new_page()
        try:
            import gradio  # noqa: F401  (only whether it is there)
        except ImportError:
            print("no screenshots of the label page: it needs Gradio")
        else:
            with label_page(given.label and given.label.resolve(), out / "runs") as address_of:
                said += screenshots(page, "label", address_of, out, ".clip img")
        for file in sorted(given.site.rglob("*.html")):
            name = "site-" + "-".join(file.relative_to(given.site).with_suffix("").parts)
            said += screenshots(page, name, file.resolve().as_uri(), out)
        if not given.site.is_dir():
            print(f"no screenshots of the documentation: there is no {given.site} (make docs)")
        browser.close()
    print(*said, f"{len(list(out.glob('*.png')))} screenshots in {out}", sep="\n")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
