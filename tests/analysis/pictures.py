"""Makes the pictures of the README: `make pictures`. They show the report of the recorded run, and the live page and
the terminal of a real run of the toy baseline in progress. Requires Debian's Chromium and tmux.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.text import Text

from analysis.report import report
from tests.toy import CONF, ROOT, Bench, command, environment, program

PICTURES = ROOT / "docs/pictures"
RECORDED = Path(__file__).with_name("recorded")
_SIZE = (110, 28)
"""Columns and lines of the terminal."""
_SLOW = (
    "train.sandbox=auto",
    "train.limit_min=2",
    "cluster.max_parallel=2",
    "cluster.poll_s=0.2",
    "ideate.candidates=8",
    "select.elites=1",
)


def main() -> None:
    """Make all three."""
    missing = [one for one in ("chromium", "tmux") if shutil.which(one) is None]
    if missing:
        sys.exit(f"error: {' and '.join(missing)} missing; on Debian: apt-get install {' '.join(missing)}")
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        arguments = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses its own sandbox to root
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        made = report(RECORDED, output=Path(scratch) / "report.html")
        shoot(browser, made.as_uri(), PICTURES / "report.png", 940)
        running(browser, Path(scratch))
        browser.close()


def running(browser: Browser, scratch: Path) -> None:
    """A run in tmux, shown there and on the live page."""
    data = scratch / "data"
    program("prepare", "--config-dir", str(CONF), "baseline=toy", "scale=tiny", f"data={data}").ok()
    bench = Bench(scratch / "runs", data)
    tmux = ["tmux", "-L", f"pictures-{os.getpid()}"]
    line = shlex.join(command("run", *bench.arguments("first", *_SLOW)))
    width, height = _SIZE
    start = [*tmux, "-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), line]
    subprocess.run(start, check=True, cwd=ROOT, env=environment({"TERM": "xterm-256color"}))
    try:
        run = bench.folder / "first"
        while len(list(run.glob("generation_000/*/attempt_0/trial_0/score.json"))) < 4:
            time.sleep(0.1)
        screen = subprocess.run([*tmux, "capture-pane", "-p", "-e"], check=True, capture_output=True, text=True).stdout
        view = subprocess.Popen(
            command("view", str(run)), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
        )
        assert view.stdout is not None
        shoot(browser, view.stdout.readline().strip(), PICTURES / "live.png", 760)
        view.terminate()
        view.wait(30)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    page = scratch / "terminal.html"
    page.write_text(as_html(screen[screen.index("first  gen") :], width))
    shoot(browser, page.as_uri(), PICTURES / "terminal.png", None)


def as_html(screen: str, width: int) -> str:
    """The content of a terminal, from the head of the page on, as HTML."""
    console = Console(record=True, width=width, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123
    console.print(Text.from_ansi(screen.rstrip("\n")))
    text = console.export_html(inline_styles=True)
    return re.sub(r"<body>", '<body style="margin:0;padding:12px;background:#fff;font-size:13px">', text)


def shoot(browser: Browser, address: str, path: Path, height: int | None) -> None:
    """A picture of the top of a page, or of the whole page if no height is given."""
    page = browser.new_page(viewport={"width": 1180, "height": height or 300})
    page.goto(address)
    if height:
        page.wait_for_selector("html[data-ready=yes]")
        page.wait_for_timeout(3000)
        page.screenshot(path=path)
    else:
        page.locator("pre").screenshot(path=path)
    page.close()


if __name__ == "__main__":
    main()
