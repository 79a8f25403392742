"""The live page: access, actions, and how it follows a real run in a browser."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
from playwright.sync_api import Browser

from pipeline.commands.view import Door
from pipeline.errors import BadInput
from pipeline.records import StepMeasures
from pipeline.store import files
from pipeline.store.paths import RunPaths
from tests.analysis.chromium import browser, visit
from tests.analysis.finished_run import copy_of
from tests.toy import ROOT, Bench, command, environment, interrupt, wait_until

__all__ = ["browser"]
RECORDED = Path(__file__).with_name("recorded")
ALARM = "the entropy fell <fast>"
STEP = StepMeasures(
    0, 4, 3, 0.5, (0.2, 0.5, 0.8, 0.9), 0.9, 4, 0.25, 0, 2.0, 10.0, 30.0, {}, {"0": 3}, 1.0, 2.0, 0.5, None, (ALARM,)
)


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The address of the pages of a run, with its token."""
    process = subprocess.Popen(
        command("view", str(run)), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, process_group=0
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/run/\S+\?token=\S{32}", address), address
    assert "ssh -L" in process.stdout.readline()
    try:
        yield address
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.close()
        process.wait(30)


def asked(
    address: str, data: bytes | None = None, headers: dict[str, str] | None = None, cookie: str = ""
) -> tuple[int, str]:
    """Status and text of an answer; with the token in the address, the cookie is returned too."""
    request = Request(address, data, {**(headers or {}), **({"Cookie": cookie} if cookie else {})})
    try:
        with build_opener(HTTPCookieProcessor()).open(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = copy_of(RECORDED, tmp_path_factory.mktemp("live") / "mine")
    (run / "report.json").unlink()
    files.in_folder((place := RunPaths(run).policy_step(0).measures).parent, lambda: files.create(place, STEP))
    return run


@pytest.fixture(scope="module")
def address(copy: Path) -> Iterator[str]:
    with served(copy) as found:
        yield found


def parts(address: str) -> tuple[str, str]:
    """The page and its cookie."""
    page, _, token = address.partition("?token=")
    return page, f"groundwork={token}"


def test_it_requires_the_token(address: str) -> None:
    page, cookie = parts(address)
    assert asked(page)[0] == 403
    assert asked(f"{page}?token=guess")[0] == 403
    assert asked(page, cookie="groundwork=guess")[0] == 403
    assert asked(page.replace("/run/mine", "/static/live.js"))[0] == 403
    assert asked(address)[0] == 200  # sets the cookie and redirects to the page without the token
    assert asked(page, cookie=cookie)[0] == 200
    assert asked(page, cookie=cookie, headers={"Host": "evil.example"})[0] == 400


def test_nothing_is_done_without_a_confirmation(address: str, copy: Path) -> None:
    page, cookie = parts(address)
    form = b"what=pause&text=lunch"
    assert asked(f"{page}/act", form, cookie=cookie)[0] == 403
    assert not (copy / "pause.json").exists()
    confirmation = asked(f"{page}/confirm?what=pause&text=lunch%3Cb%3E", cookie=cookie)[1]
    assert "python -m pipeline pause runs/mine --reason" in confirmation and "<b>" not in confirmation
    key = cookie.partition("=")[2].encode()
    assert asked(f"{page}/act", form + b"&key=" + key, cookie=cookie) == (200, asked_text("mine is paused"))
    assert json.loads((copy / "pause.json").read_text())["reason"] == "lunch"
    assert asked(f"{page}/act", b"what=resume&key=" + key, cookie=cookie)[0] == 200
    assert not (copy / "pause.json").exists()
    assert asked(f"{page}/act", b"what=delete&key=" + key, cookie=cookie)[0] == 403


class asked_text(str):
    """Equal to every text that contains it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self) in str(other)

    __hash__ = str.__hash__


def test_marks_and_proposals_equal_those_of_the_commands(copy: Path) -> None:
    door = Door(RunPaths(copy))
    assert "is pinned" in door.act("mine", "pin", "g0/c0", "")
    mark = copy / "marks/generation_000/candidate_000.json"
    assert json.loads(mark.read_text())["pinned"] is True
    assert "is banned" in door.act("mine", "ban", "g0/c0", "reads the answers")
    assert json.loads(mark.read_text())["reason"] == "reads the answers"
    door.act("mine", "clear", "g0/c0", "")
    assert not mark.exists()
    assert "is proposed for generation 4" in door.act("mine", "propose", "", "Try this\r\n\r\nBecause.")
    assert len(list((copy / "proposals").glob("*.json"))) == 1
    for what, candidate, text in (("pin", "../../x", ""), ("pin", "g9/c9", ""), ("ban", "g0/c0", " ")):
        with pytest.raises(BadInput):
            door.act("mine", what, candidate, text)
    with pytest.raises(BadInput, match="only"):
        door.state("another")


def test_unchanged_data_is_not_sent_again(address: str) -> None:
    page, cookie = parts(address)
    text = asked(page, cookie=cookie)[1]
    (seen,) = re.findall(r'hx-get="([^"]+)"', text)
    assert asked(f"{page.partition('/run')[0]}{seen}", cookie=cookie) == (204, "")


def test_it_shows_the_steps_of_reinforcement_learning_and_an_alarm(address: str) -> None:
    page, cookie = parts(address)
    text = asked(page, cookie=cookie)[1]
    assert (
        "<h2>Reinforcement learning</h2>" in text and "<li>step 0: reward 0.5, best 0.9 of 3; 4 of 4 distinct" in text
    )
    assert '<p class="warning">the policy may collapse: the entropy fell &lt;fast&gt;</p>' in text


def test_a_run_that_is_deleted_is_one_line(tmp_path: Path) -> None:
    run = copy_of(RECORDED, tmp_path / "gone")
    with served(run) as address:
        page, cookie = parts(address)
        assert asked(page, cookie=cookie)[0] == 200
        shutil.rmtree(run)
        for place in (page, f"{page}/part", f"{page}/curves", f"{page}/report"):
            status, text = asked(place, cookie=cookie)
            assert status == 400 and "is gone" in text and "Traceback" not in text


def test_it_follows_a_real_run(browser: Browser, bench: Bench) -> None:
    few = ("select.elite_seeds=1", "cluster.poll_s=0.1", "stop.generations=1")
    process = bench.start("r", *few)
    run = bench.folder / "r"
    wait_until(lambda: any(run.glob("baseline/trial_0/try_0/job.json")), process)
    with served(run) as address:
        seen = visit(browser, address)
        page = seen.page
        seen.picture("live")
        # Not wait_for_function: when it polls for the second time, it runs `eval` in the page, which the page forbids.
        page.wait_for_selector("#live :text('scored, newest first')", timeout=120_000)
        page.wait_for_selector("#live :text('finished')", timeout=120_000)
        assert seen.problems == []
        page.get_by_role("link", name="Report").click()
        page.wait_for_selector("html[data-ready=yes]")
        assert page.locator("#candidates tbody tr").count() == 3
        page.go_back()
        page.get_by_label("Reason", exact=True).fill("enough")
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Yes, do it").click()
        assert "r is paused" in page.locator("main").inner_text()
        assert seen.problems == []
        page.context.close()
    if process.poll() is None:
        interrupt(process)
    process.communicate(timeout=60)
