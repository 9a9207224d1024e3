"""The report page: what it opens with, all episodes as data, and untrusted text as text."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from run.evaluation.report_page import EvaluationReport
from run.evaluation.results import EvaluationRun
from run.evaluation.statistics import paired_difference, summarise
from run.storage.records import EpisodeRecord, TaskSummary, TurnRecord

HOSTILE = "</script><img src=x onerror=\"document.title='mine'\"><b>bold</b>$x_$"


def episode(k: int, success: bool | None, task: str = "go", **change: object) -> EpisodeRecord:
    turn = TurnRecord("go to the ring", "go to the ring", "I went to the ring.")
    ended = "success" if success else "failure"
    record = EpisodeRecord(k, k, f"Task {k}.", (turn,), success, ended, 3, 0, None, 0.1)
    return replace(record, task_name=task, variant=task, **change)  # type: ignore[arg-type]


def run(name: str, episodes: list[EpisodeRecord]) -> EvaluationRun:
    summary = summarise("evaluate", 0, episodes, 1)
    tasks = {}
    for task in dict.fromkeys(str(e.task_name) for e in episodes):
        some = summarise("evaluate", 0, [e for e in episodes if e.task_name == task], 1)
        tasks[task] = TaskSummary(some.success_rate, some.success_ci95, some.n, some.n_errors)
    config = {"suite": "mine", "planner": name, "episodes": 4, "seed": 0}
    return EvaluationRun(Path(), config, replace(summary, tasks=tasks), episodes, "", name)


def two_runs(n: int = 30) -> list[EvaluationRun]:
    good = [episode(k, True, "go" if k % 2 else "open") for k in range(n)]
    bad = [episode(k, k % 2 == 1, "go" if k % 2 else "open") for k in range(n)]
    return [run("weak", bad), run("strong", good)]


def test_it_opens_with_who_is_better_where_and_by_how_much() -> None:
    best, behind, why = EvaluationReport.of(two_runs(), "Two", 0).headline
    assert best.startswith("strong succeeds most often: 1.000 (0.886 to 1.000) of 30 episodes")
    difference, low, high = paired_difference(15, 0, 30)
    assert f"is worse by {difference:.3f} ({low:.3f} to {high:.3f}) on the 30 episodes" in behind
    assert "most on open (+1.000), least on go (+0.000)" in behind
    assert why == "Why weak fails (15 times): 15 did something that the task does not ask for."


def test_equal_runs_other_tasks_and_broken_episodes_are_said() -> None:
    def said(*runs: EvaluationRun) -> str:
        return " ".join(EvaluationReport.of(runs, "", 0).headline)

    same = [episode(k, True) for k in range(9)]
    text = said(run("a", same), run("b", same))
    assert "a succeeds most often, like b" in text and "does not differ with certainty" in text
    apart = said(run("a", same), run("b", [episode(k, True, "open") for k in range(9)]))
    assert "No task was played in all runs" in apart and "none of which a has played too" in apart
    part = said(run("a", [*same, episode(0, False, "open")]), run("b", same[:4]))
    assert "succeeds most often on go:" in part
    error = "Traceback\n  File x\nValueError: no such ring"
    broken = said(run("a", [*same, episode(9, None, error=error)]))
    assert "1 episodes of a broke, 1 of them with: ValueError: no such ring" in broken
    assert "has no episode that was judged" in said(run("a", [episode(0, None)]))


def test_the_interval_of_a_difference() -> None:
    # Agresti and Min's own arithmetic: (won + 1/2 - lost - 1/2) / (n + 2), and its error.
    difference, low, high = paired_difference(12, 3, 50)
    middle, error = 9 / 52, (16 - 81 / 52) ** 0.5 / 52
    assert difference == 9 / 50
    assert (low, high) == pytest.approx((middle - 1.96 * error, middle + 1.96 * error), abs=1e-4)
    assert paired_difference(0, 0, 4)[1] < 0 < paired_difference(0, 0, 4)[2]
    assert paired_difference(9, 0, 9)[2] == 1.0


def listed(page: str) -> dict[str, list[list[object]]]:
    return json.loads(re.search(r'id="list">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]


def hostile_runs() -> list[EvaluationRun]:
    turn = TurnRecord(HOSTILE, None, HOSTILE, {})
    first = replace(episode(0, False, HOSTILE, turns=(turn,), opening=HOSTILE), task=HOSTILE)
    return [run(HOSTILE, [first, episode(1, None, error=HOSTILE)]), run("_b$", [episode(0, True)])]


def test_no_text_of_an_episode_becomes_markup() -> None:
    page = EvaluationReport.of(hostile_runs(), HOSTILE, 0).html()
    assert "<img src=x" not in page and "<b>bold" not in page
    assert page.count("<script") == page.count("</script>") == 2
    assert listed(page)["episodes"][0][6] == [[HOSTILE, 0, HOSTILE]]


def test_all_episodes_are_there_and_headings_are_in_order() -> None:
    page = EvaluationReport.of(two_runs(300), "Two", 0).html()
    rows = listed(page)["episodes"]
    assert sorted((row[0], row[3]) for row in rows) == [(r, k) for r in (0, 1) for k in range(300)]
    assert [row[2] != 0 for row in rows] == [True] * 150 + [False] * 450  # failures first
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert len(re.findall(r'<figure[^>]* aria-label="[^"]+"', page)) == page.count("<figure")


def test_a_browser_filters_thousands_of_episodes(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser needs playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((found for n in names if (found := shutil.which(n))), None)
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    many, hostile = tmp_path / "many.html", tmp_path / "hostile.html"
    many.write_text(EvaluationReport.of(two_runs(3500), "Many", 0).html(), encoding="utf-8")
    hostile.write_text(EvaluationReport.of(hostile_runs(), "Safe", 0).html(), encoding="utf-8")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        errors: list[str] = []
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.goto(many.as_uri())
        found, shown = page.locator("#found"), page.locator("#episodes details")
        assert found.inner_text().startswith("7,000 of 7,000") and shown.count() == 25
        page.select_option("#by-run", label="weak")
        assert found.inner_text().startswith("3,500 of")
        page.select_option("#by-outcome", "failed")
        assert found.inner_text().startswith("1,750 of")
        page.fill("#by-text", "TASK 42.")
        sync_api.expect(found).to_contain_text("1 of 7,000")
        page.fill("#by-text", "")
        sync_api.expect(found).to_contain_text("1,750 of")
        page.keyboard.press("Tab")  # from the text to the first episode, without a mouse
        page.keyboard.press("Enter")
        told = shown.first.locator(".told")
        sync_api.expect(told).to_have_text("I went to the ring.")
        first = shown.first.inner_text()
        page.locator("#on").click()
        assert shown.first.inner_text() != first
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

        page.goto(hostile.as_uri())
        shown.first.locator("summary").click()
        sync_api.expect(shown.first.locator(".said")).to_have_text(HOSTILE)
        assert page.title() == "Safe" and page.locator("img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not errors
        browser.close()
