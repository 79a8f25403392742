"""The report in a real browser: it loads nothing from outside, causes no error, and responds to mouse and keyboard."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser

from analysis.load import load
from analysis.report import html, report
from tests.analysis.chromium import Watched, browser, visit
from tests.analysis.finished_run import copy_of

__all__ = ["browser"]
RECORDED = Path(__file__).with_name("recorded")
HOSTILE = "<img src=x onerror=alert(1)><script>document.title='taken'</script>\u202e\x07 & \"quoted\" ']]></script>"


def shown(browser: Browser, folder: Path, *runs: Path, **how: object) -> Watched:
    """The report of some runs, opened from a file that was copied to another place."""
    made = report(*runs, output=folder / "made/report.html")
    copied = shutil.copy(made, folder / "copied.html")
    return visit(browser, copied.as_uri(), **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def recorded(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return shown(browser, tmp_path_factory.mktemp("recorded"), RECORDED)


def test_the_first_screen_shows_the_results(recorded: Watched) -> None:
    page = recorded.page
    for question in ("Did it get better?", "Why", "What failed", "What next"):
        heading = page.get_by_role("heading", name=question, exact=True).first
        box = heading.bounding_box()
        assert box is not None and box["y"] < 900
    facts = page.locator(".facts").first.inner_text()
    assert "baseline" in facts and "cost" in facts
    recorded.picture("report")
    assert recorded.problems == []


def test_the_table_sorts_filters_and_opens_by_keyboard(recorded: Watched) -> None:
    page = recorded.page
    rows = page.locator("#candidates tbody tr")
    assert rows.count() == 16
    page.get_by_role("button", name="one trial").click()
    values = [float(text) for text in page.locator("#candidates tbody td:nth-child(4)").all_inner_texts() if text]
    assert values == sorted(values, reverse=True)
    page.get_by_label("State").select_option("failed")
    assert rows.count() == 4
    page.get_by_label("Search").fill("duplicate")
    assert rows.count() == 1
    page.get_by_role("link", name="implement/refused").click()
    assert rows.count() == 1 and "Score on easier rows" in rows.first.inner_text()
    rows.first.get_by_role("link").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] .idea")
    assert "Leave the largest errors" in page.locator("dialog .idea").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog:not([open])", state="attached")
    page.get_by_label("Search").fill("")
    assert recorded.problems == []


def test_the_plot_leads_to_the_code(recorded: Watched) -> None:
    page = recorded.page
    plot = page.locator("figure.first svg.plot")
    plot.scroll_into_view_if_needed()
    box = page.locator("figure.first svg.plot g[aria-label=dot] circle").nth(1).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.wait_for_selector("figure.first svg.plot g[aria-label=tip] text")
    page.mouse.click(box["x"] + 3, box["y"] + 3)
    page.wait_for_selector("dialog[open] pre.diff .add")
    assert page.locator("dialog pre.diff i.k, dialog pre.diff i.mi, dialog pre.diff i.mf").count() > 0
    recorded.picture("candidate")
    page.get_by_role("button", name="Close").click()
    assert recorded.problems == []


def test_prompts_and_replies_are_shown_with_their_candidate(recorded: Watched) -> None:
    page = recorded.page
    page.evaluate("location.hash = 'candidate=0/generation_002/candidate_001'")
    page.wait_for_selector("dialog[open] details")
    said = page.locator("dialog details").all_text_contents()
    assert any("I change only what the idea says" in one for one in said)
    assert any("Here they are" in one for one in said)
    assert page.locator("dialog pre.diff").count() == 2  # relative to the baseline, and to its parent
    page.get_by_role("button", name="Close").click()


@pytest.mark.parametrize(
    ("candidate", "lines"),
    [
        pytest.param("generation_002/candidate_001", ["g2/c1", "parent g1/c0", "baseline"], id="with a parent"),
        pytest.param("generation_000/candidate_000", ["g0/c0", "baseline"], id="without"),
    ],
)
def test_a_training_is_drawn_with_the_baseline_and_the_parent(
    recorded: Watched, candidate: str, lines: list[str]
) -> None:
    page = recorded.page
    page.evaluate(f"location.hash = 'candidate=0/{candidate}'")
    curve = page.locator("dialog[open] .curve")
    curve.get_by_text(lines[0]).wait_for()
    labels = curve.locator("p").evaluate("one => [...one.childNodes].map((part) => part.data).filter(Boolean)")
    assert labels == lines
    assert curve.locator("g[aria-label=line] path").count() == len(lines)
    page.get_by_role("button", name="Close").click()
    assert recorded.problems == []


def test_two_candidates_side_by_side(recorded: Watched) -> None:
    page = recorded.page
    page.get_by_label("First").fill("g0/c0")
    page.get_by_label("Second").fill("g2/c1")
    page.keyboard.press("Tab")
    page.locator("#pair pre.diff").nth(2).wait_for()
    assert page.locator("#pair > div").count() == 2
    assert recorded.problems == []


def test_dark_and_narrow(browser: Browser, tmp_path: Path) -> None:
    seen = shown(browser, tmp_path, RECORDED, scheme="dark", width=400, height=800)
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 400
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
    seen.picture("report_dark_narrow")
    assert seen.problems == []
    seen.page.context.close()


def test_hostile_text_stays_text(browser: Browser, tmp_path: Path) -> None:
    run = copy_of(RECORDED, tmp_path / "<b>run")
    for path in run.glob("generation_*/candidate_*/idea.json"):
        idea = json.loads(path.read_text())
        path.write_text(json.dumps(idea | {"title": HOSTILE, "text": HOSTILE, "source": HOSTILE}))
    for path in run.glob("generation_*/candidate_*/failure.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"reason": HOSTILE}))
    for path in run.glob("**/train.log"):
        path.write_text(HOSTILE)
    seen = shown(browser, tmp_path, run)
    page = seen.page
    page.evaluate("location.hash = 'candidate=0/generation_000/candidate_002'")
    page.wait_for_selector("dialog[open] pre")
    assert page.title().startswith("<b>run")
    assert page.locator("img").count() == 0
    assert "<img src=x onerror=alert(1)>" in page.locator("#candidate-title").inner_text()
    assert seen.problems == []
    page.context.close()


def test_only_failures_and_an_empty_run(browser: Browser, tmp_path: Path) -> None:
    failed, empty = copy_of(RECORDED, tmp_path / "failed"), copy_of(RECORDED, tmp_path / "empty")
    (failed / "report.json").unlink()
    for path in failed.glob("generation_*/candidate_*/attempt_*/trial_*"):
        shutil.rmtree(path)
    for path in failed.glob("generation_*/candidate_*"):
        reason = {"stage": "train", "kind": "nan", "reason": "loss is NaN", "order": 1}
        (path / "failure.json").write_text(json.dumps(reason))
    (empty / "report.json").unlink()
    for path in (*empty.glob("generation_*"), empty / "baseline"):
        shutil.rmtree(path)
    seen = shown(browser, tmp_path, failed, empty)
    text = seen.page.locator("#summary").inner_text()
    assert "every candidate failed" in text and "No candidate yet" in text
    seen.page.get_by_label("Run").select_option("1")
    assert seen.page.locator("#candidates tbody tr").count() == 0
    assert seen.problems == []
    seen.page.context.close()


def test_ten_thousand_candidates_sort_filter_and_open(browser: Browser, tmp_path: Path) -> None:
    """The rows of the recorded run, repeated; tests/benchmarks measures the size with patches and logs."""
    tables = load(RECORDED)
    many = pd.concat([tables.candidates] * 625, ignore_index=True)
    names = [f"generation_{number // 40:03d}/candidate_{number % 40:03d}" for number in range(len(many))]
    many["candidate"] = pd.Series(names, dtype="string")
    many["generation"] = pd.Series([number // 40 for number in range(len(many))], dtype="Int64")
    many["parents"] = [[] for _ in names]
    path = tmp_path / "many.html"
    path.write_text(html(replace(tables, candidates=many)))
    assert path.stat().st_size < 20e6
    seen = visit(browser, path.as_uri())
    page = seen.page
    page.get_by_role("button", name="one trial").click()
    assert page.locator("#page").inner_text() == "page 1 of 100"
    page.get_by_label("Search").fill("momentum")
    assert page.locator("#count").inner_text() == "1250 of 10000 candidates"
    page.evaluate(f"location.hash = 'candidate=0/{names[-1]}'")
    page.wait_for_selector("dialog[open] .idea")
    assert seen.problems == []
    page.context.close()


def test_it_prints_without_its_controls(recorded: Watched) -> None:
    page = recorded.page
    assert page.pdf()[:5] == b"%PDF-"
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible() and page.locator(".answer").first.is_visible()
    recorded.picture("report_print")
    page.emulate_media(media="screen")
    assert recorded.problems == []


def test_two_runs_are_compared(browser: Browser, tmp_path: Path) -> None:
    other = copy_of(RECORDED, tmp_path / "other")
    seen = shown(browser, tmp_path, RECORDED, other)
    assert seen.page.get_by_text("Methods at equal outcomes").count() == 1
    assert "2 runs" in seen.page.locator("#charts").inner_text()
    assert seen.problems == []
    seen.page.context.close()
