"""Suites as files, whose fault a failure is, and the page that shows it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from agents.actor import make_actor
from agents.actor.failing import FailingActor
from agents.dialogue import Decision, Dialogue, Rollout
from agents.messages import Report
from agents.planner.oracle import OraclePlanner
from agents.planner.registry import make_planner
from agents.protocols import Actor, Planner, TeamMember
from agents.reporter import make_reporter
from agents.reporter.scripted import truth
from agents.team import Team
from envs import make_worlds
from envs.commands import Command
from envs.errors import BadInput
from run.__main__ import main
from run.commands.evaluate import EvaluateSettings
from run.evaluation.fault_attribution import NOBODY, FaultCase, parts_at_fault, way_of_failure
from run.evaluation.report_plots import plots, rates_by_size
from run.evaluation.results import EvaluationRun
from run.evaluation.statistics import summarise
from run.evaluation.suites import FOLDER, find_suite, suite_names
from run.evaluation.suites.reading import read_suite
from run.evaluation.workers import EvaluationWorker
from run.storage.records import EpisodeRecord, TaskSummary, TurnRecord
from tests.run.command import lines, one_sentence, summary

MINE = """
about: Two tasks.
items: train
tasks:
  which <b>: {task: search, variants: [{n_items: 2}, {n_items: 3}], chance: 0.4}
  lame: {task: conditional, actor_fails: 0.6, reporter: {name: late, p: 0.5}, floor: 0.9}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(MINE)
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize("name", [f.stem for f in FOLDER.glob("*.yaml")])
def test_every_variant_of_a_suite_can_be_made(name: str) -> None:
    suite = find_suite(name)
    assert name in suite_names() and suite.about
    for task in suite.tasks:
        for variant in task.variants:
            items = {"items": suite.items} if variant.has_items else {}
            make_worlds(variant.environment, 1, **{**variant.settings, **items})
            if variant.reporter is not None:
                make_reporter(variant.reporter[0], **variant.reporter[1])


def test_a_suite_is_read(mine: Path) -> None:
    suite = read_suite(mine)
    which, lame = suite.tasks
    assert [v.label for v in which.variants] == ["search n_items 2", "search n_items 3"]
    assert [v.settings["n_items"] for v in which.variants] == [2, 3] and which.chance == 0.4
    (variant,) = lame.variants
    assert variant.reporter == ("late", {"p": 0.5}) and variant.actor_fails == 0.6
    assert not suite.notices
    assert lame.floor == 0.9 and suite.items == "train"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tasks: [", "cannot be read"),
        ("about: nothing", "it has no tasks"),
        ("tasks: {}", "it has no tasks"),
        ("tasks: {a: 3}", "task 'a' of the suite"),
        ("tasks: {a: {n_items: 3}}", "has no task"),
        ("tasks: {a: {task: search, floor: 2}}", "the floor of task 'a'"),
        ("tasks: {a: {task: search, actor_fails: often}}", "no probability"),
        ("tasks: {a: {task: search, reporter: 3}}", "has no name"),
        ("tasks: {a: {task: search, variants: [{}, {}]}}", "have one label"),
        ("tasks: {a: {task: search, variants: 3}}", "no list of settings"),
        ("tasks: {a: {task: search}}\nitems: some", "has items 'some'"),
        ("tasks: {a: {task: search}}\nitem: all", "key in line 2 of the suite"),
        ("tasks: {a: {task: search}}\nitem: all", "did you mean 'items'?"),
        ("tasks: {a: {task: serch}}", "did you mean 'search'?"),
        ("tasks:\n\n  a: {task: serch}", "line 3"),
        ("tasks:\n  a: {task: search, n_items: 99}", "line 2"),
        ("tasks:\n  a: {task: search, team: smal}", "did you mean 'small'?"),
        ("tasks:\n  a: {task: search, team: {planer: oracle}}", "did you mean 'planner'?"),
        ("tasks:\n  ? [a, b]\n  : {task: search}", "cannot be read"),
        ("tasks: {a: {task: search, nitems: 3}}", "nitems"),
        ("tasks: {a: {task: search, reporter: sripted}}", "did you mean 'scripted'?"),
        ("tasks: {a: {task: search, reporter: {name: late, q: 1}}}", "cannot be made"),
        ("tasks: !!python/object/apply:os.getcwd []", "cannot be read"),
    ],
)
def test_a_file_that_is_no_suite_is_refused_in_one_sentence(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    run = ["evaluate", "--planner", "oracle", "--episodes", "4", "--runs-dir", str(tmp_path)]
    assert main([*run, str(tmp_path / "bad.yaml")]) == 2
    assert said in one_sentence(capsys.readouterr().err)


def test_the_former_keys_of_a_suite_are_read_with_a_warning(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(MINE.replace("tasks:", "cells:").replace("variants:", "parts:"))
    (task, _), (new, _) = read_suite(old).tasks, read_suite(mine).tasks
    assert (task.name, task.chance) == (new.name, new.chance)
    assert [v.settings for v in task.variants] == [v.settings for v in new.variants]
    run = ["evaluate", str(old), "--planner", "oracle", "--episodes", "2", "--cells", "which*"]
    assert main([*run, "--runs-dir", str(tmp_path)]) == 0
    warnings = capsys.readouterr().err
    for sentence in ("--cells is now called --tasks", "'cells' of", "'parts' of", "'variants';"):
        assert sentence in warnings
    old.write_text("cells: {}\n")
    assert main(["evaluate", str(old)]) == 2
    assert "it has no tasks" in one_sentence(capsys.readouterr().err)


def test_suites_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--list"]) == 0
    said = capsys.readouterr().out
    for name in suite_names():
        assert f"\n{name}" in f"\n{said}"
    assert "  search 8: search, chance 0.125" in said


def _reports(name: str, p: float) -> list[tuple[str, str]]:
    """The texts of a Reporter's reports, each with that of the true report."""
    texts: list[tuple[str, str]] = []

    class Spy:
        def __init__(self) -> None:
            self.inner = make_reporter(name, p=p)

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self.inner, attribute)

        def report(
            self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]
        ) -> Sequence[Report]:
            reports: Sequence[Report] = self.inner.report(rollouts, dialogues)
            pairs = zip(reports, map(truth, rollouts), strict=True)
            texts.extend((report.text, true.text) for report, true in pairs)
            return reports

    worlds = make_worlds("search", 8, n_items=4)
    Team(OraclePlanner(), make_actor("scripted"), Spy(), 6).play(worlds, range(8))  # type: ignore[arg-type]
    return texts


def test_troubled_reporters_do_what_they_are_called_after() -> None:
    for name in ("late", "missing", "false", "reworded", "injected"):
        assert all(text == true for text, true in _reports(name, 0.0)), name
    assert {text for text, _ in _reports("missing", 1.0)} == {""}
    assert all(text != true and text for text, true in _reports("false", 1.0))
    for text, true in _reports("injected", 1.0):
        assert text.startswith(true) and len(text) > len(true)
    facts = 0
    for text, true in _reports("reworded", 1.0):
        assert text != true
        for fact in re.findall(r"it (has secret property \w+)", true):
            assert fact in text
            facts += 1
    assert facts > 8
    late = _reports("late", 0.5)
    assert any(not text for text, _ in late) and any(t.count("I ") == 2 for t, _ in late)
    with pytest.raises(BadInput, match="probability 2 is not between 0 and 1"):
        make_reporter("late", p=2)


def test_a_failing_actor_fails_as_often_as_it_says_whatever_is_beside_it() -> None:
    def rollouts(n: int) -> list[bool]:
        worlds = make_worlds("conditional", n)
        actor = FailingActor(make_actor("scripted"), 0.4)
        for i in range(n):
            worlds.reset(i, i)
        actor.begin(worlds)
        found = []
        for _ in range(3):
            told = [Command("go to", worlds.world(i).things[0].item) for i in range(n)]  # type: ignore[attr-defined]
            made = actor.execute(worlds, told, 64)
            found.append([r is not None and r.done for r in made])
        return [bool(x) for x in np.array(found).T.ravel()]

    many = rollouts(60)
    assert abs(np.mean(many) - 0.6) < 0.12
    assert many[:9] == rollouts(3)


def _first(dialogue: Dialogue) -> Command:
    return next(c for c in dialogue.candidates() if c.verb == "pick up")


class Silly(OraclePlanner):
    """Picks up the first thing that it can on odd seeds."""

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        return [
            Decision("", next(c for c in d.candidates() if c.verb == "pick up"))
            if d.seed % 2
            else x
            for d, x in zip(dialogues, super().choose(dialogues), strict=True)
        ]


class Lazy(TeamMember):
    """An Actor that does nothing."""

    def begin(self, worlds: Any) -> None: ...

    def execute(self, worlds: Any, commands: Any, *rest: Any) -> list[Rollout | None]:
        return [None if c is None else Rollout(c, 0, (), False, "done") for c in commands]


def _failure(
    seed: int,
    ended: str = "failure",
    commands: Sequence[str] = (),
    report: str = "",
    unparsed: int = 0,
) -> EpisodeRecord:
    """The record of a failed episode."""
    turns = tuple(TurnRecord(command, command, report) for command in commands)
    steps, seconds = 0, 0.0
    return EpisodeRecord(0, seed, "", turns, False, ended, steps, unparsed, None, seconds)


def test_the_part_is_at_fault_whose_oracle_saves_the_episode() -> None:
    def failures(planner: Any, actor: Actor, reporter: str) -> list[str]:
        case = FaultCase(
            planner, actor, make_reporter(reporter), lambda n: make_worlds("conditional", n), 6, 64
        )
        return parts_at_fault(case, [_failure(2 * k + 1) for k in range(4)])

    scripted = make_actor("scripted")
    assert set(failures(OraclePlanner(), Lazy(), "scripted")) == {"actor"}
    assert set(failures(OraclePlanner(), FailingActor(scripted, 1.0), "silent")) == {"actor"}
    assert "planner" in failures(Silly(), scripted, "scripted")
    assert set(failures(Silly(), Lazy(), "scripted")) == {NOBODY}


def test_ways_to_fail() -> None:
    def way(ended: str, commands: Sequence[str], report: str = "", unparsed: int = 0) -> str:
        return way_of_failure(_failure(0, ended, commands, report, unparsed))

    go, look = "go to the solid red ring", "examine the solid red ring"
    assert way("failure", [go]) == "wrong thing"
    assert way("max_turns", [go, look], unparsed=1) == "no command"
    assert way("max_turns", [go, look, look, look]) == "repeated itself"
    assert way("max_turns", [go], f"I did not manage to {go}.") == "did not manage"
    assert way("max_steps", [go, look]) == "never got there"


def _two_runs(mine: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> list[Path]:
    made = []
    for planner in ("random", "oracle"):
        run = ["evaluate", str(mine), "--planner", planner, "--episodes", "8"]
        assert main([*run, "--attribute-faults", "3", "--runs-dir", str(runs)]) == 0
        made.append(Path(capsys.readouterr().out.splitlines()[-1]))
    return made


def test_a_page_shows_what_runs_came_to(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = _two_runs(mine, tmp_path / "runs", capsys)
    blamed = summary(made[0])["blame"]["all"]
    rows = (made[0] / "blame.jsonl").read_text().splitlines()
    assert blamed["n"] == len(rows) == sum(blamed["parts"].values()) > 2
    assert blamed["parts"]["planner"] == sum(json.loads(r)["blamed"] == "planner" for r in rows)

    assert main(["report", *map(str, made), "--players", "3", "--title", "<i>Two</i>"]) == 0
    page_at = Path(capsys.readouterr().out.strip())
    page = page_at.read_text()
    assert page_at == made[0] / "report.html"
    assert "<i>Two" not in page and "which <b>" not in page and "which &lt;b&gt;" in page
    for folder in made:
        for cell in summary(folder)["cells"].values():
            assert f"<b>{cell['success_rate']:.3f}</b>" in page
    assert not re.search(r"(?:src|href)=[\"']https?:", page)
    films = json.loads(re.search(r'id="films">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert len(films) == 3 == page.count('class="player"')
    assert "it came out differently" not in page
    for film in films:
        assert film["turns"][0] == 0 and film["turns"] == sorted(film["turns"])
        assert film["turns"][-1] < len(film["frames"]) <= 140

    # The differences, counted another way.
    one, two = ({(x["part"], x["seed"]): x["success"] for x in lines(f)} for f in made)
    gain = sum(two[k] - one[k] for k in one) / len(one)
    markdown = page_at.with_suffix(".md").read_text()
    assert f"| all | oracle | {len(one)} | {gain:+.3f} |" in markdown

    _in_a_browser(page_at, len(films))


def test_success_is_drawn_over_the_size_of_the_language_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(planner: str, rates: dict[str, float]) -> EvaluationRun:
        tasks = {name: TaskSummary(rate, (0.0, 1.0), 10, 0) for name, rate in rates.items()}
        summary = replace(summarise("evaluate", 0, [], 1), suite="mine", tasks=tasks)
        return EvaluationRun(tmp_path, {"planner": planner}, summary, [], "", planner)

    of_three = {"a-135m search 0": 0.1, "b-1.5b search 0": 0.5, "c-135m search 0": 0.9}
    alone = run("random", {**of_three, "a-135m search 2": 0.3, "go to": 1.0})
    (task,) = (curves := rates_by_size([alone]))
    (label,) = curves[task]  # two examples have one size alone
    assert (task, label) == ("search", "0 examples")
    rates = {size: rate.success_rate for size, rate in curves[task][label].items()}
    assert rates == {0.135: 0.1, 1.5: 0.5}

    two = [
        run("my/a-135m", {"go to": 0.2, "open": 0.4, "put": 1.0}),
        run("b_0.5B-Instruct", {"go to": 0.6, "open": 1}),
    ]
    ((task, of_task),) = rates_by_size(two).items()
    assert task == "2 tasks that all played"
    rates = {size: rate.success_rate for size, rate in of_task["all"].items()}
    assert rates == {0.135: pytest.approx(0.3), 0.5: pytest.approx(0.8)}
    assert rates_by_size([run("random", {"go to": 0.2}), run("a-135m", {"go to": 0.2})]) == {}
    assert [len(plots(runs)) for runs in ([alone], two, two[:1])] == [2, 2, 1]

    # Several runs side by side, the second said to be compared.
    made = []
    for planner in ("random", "oracle"):
        args = ["evaluate", "--planner", planner, "--tasks", "conditional", "--episodes", "2"]
        assert main([*args, "--runs-dir", str(tmp_path)]) == 0
        made.append(capsys.readouterr().out.splitlines()[-1])
    out = ["--players", "0", "--out"]
    assert main(["report", *made, *out, str(tmp_path / "one.html")]) == 0
    assert main(["report", made[0], "--compare", made[1], *out, str(tmp_path / "two.html")]) == 0
    pages = [(tmp_path / f"{name}.html").read_text() for name in ("one", "two")]
    one, other = (re.sub("<svg.*?</svg>", "", page, flags=re.DOTALL) for page in pages)
    assert one == other and "oracle" in one


def _in_a_browser(page_at: Path, players: int) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser needs playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((found for n in names if (found := shutil.which(n))), None)
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        errors: list[str] = []
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.goto(page_at.as_uri())
        first = page.locator("#player-0")
        before = first.locator("img").get_attribute("src")
        assert before and before.startswith("data:image/png")
        first.locator("[data-step='1']").click()
        assert first.locator("img").get_attribute("src") != before
        assert first.locator(".count").inner_text().startswith("2 of")
        first.press("ArrowLeft")
        assert first.locator("img").get_attribute("src") == before
        assert page.locator(".player .turn.now").count() == players
        # On a phone nothing but tables is wider than the screen, and those scroll by themselves.
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not errors
        browser.close()


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "is no run folder" in one_sentence(capsys.readouterr().err)
    run = ["evaluate", "--planner", "oracle", "--tasks", "conditional", "--episodes", "1"]
    assert main([*run, "--runs-dir", str(tmp_path)]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    (folder / "episodes.jsonl").write_text('{"cell": 3}\n')
    assert main(["report", str(folder)]) == 2
    assert "is damaged" in one_sentence(capsys.readouterr().err)
    (folder / "summary.json").unlink()
    assert main(["report", str(folder)]) == 2
    assert "has not ended" in one_sentence(capsys.readouterr().err)


@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_several_workers_write_what_one_process_writes(
    engine: str, mine: Path, tmp_path: Path
) -> None:
    if engine == "ray":
        pytest.importorskip("ray", reason="no Ray here: pip install 'parley-rl[ray]'")

    def run(name: str, *more: str) -> Path:
        args = ["evaluate", str(mine), "--planner", "random", "--episodes", "8"]
        parts = ["--parallel", "3", "--runs-dir", str(tmp_path), "--name", name]
        assert main([*args, *parts, *more]) == 0
        return next((tmp_path / "evaluate").glob(f"*-{name}"))

    many = ["--workers", "2", "--engine", engine]
    one, two = run("one"), run("two", *many)
    assert lines(one) == lines(two) and len(lines(one)) == 16
    # What is missing is played again, also by another number of workers.
    text = (two / "episodes.jsonl").read_text().splitlines(keepends=True)
    (two / "episodes.jsonl").write_text("".join(text[:5]))
    (two / "summary.json").unlink()
    assert main(["evaluate", "--resume", str(two), *many]) == 0
    assert sorted(map(str, lines(two))) == sorted(map(str, lines(one)))


TWO_PLANNERS = """
about: Tasks whose Planners differ.
items: train
tasks:
  none: {task: search, n_items: 2, team: {planner: random, examples: 0}}
  two: {task: search, n_items: 2, team: {planner: random, examples: 2}}
  again: {task: search, n_items: 2, team: {planner: random, examples: 2}}
"""


@pytest.mark.parametrize(
    ("by_worker", "more", "loaded"),
    [(True, [], 2), (False, [], 2), (False, ["--attribute-faults", "1"], 4)],
)
def test_a_planner_goes_before_the_next_one_comes(
    by_worker: bool,
    more: list[str],
    loaded: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A language model may take half of the memory, so that there is no room for two."""
    made: list[weakref.ref[Planner]] = []

    def make(*asked: Any) -> Planner:
        assert all(planner() is None for planner in made)
        made.append(weakref.ref(planner := make_planner(*asked)))
        return planner

    monkeypatch.setattr("run.evaluation.jobs.make_planner", make)
    (tmp_path / "two.yaml").write_text(TWO_PLANNERS)
    if by_worker:
        args = EvaluateSettings(str(tmp_path / "two.yaml"), episodes=2, items="train")
        worker = EvaluationWorker(
            args, threads=torch.get_num_threads()
        )  # which are this process's too
        for k in range(3):
            assert len(worker.play((k, range(2)))) == 2
    else:
        run = ["evaluate", str(tmp_path / "two.yaml"), "--episodes", "2"]
        assert main([*run, *more, "--runs-dir", str(tmp_path)]) == 0
    assert len(made) == loaded
    # What goes on loads those alone whose episodes are missing.
    if not by_worker and not more:
        (folder,) = (tmp_path / "evaluate").iterdir()
        file = folder / "episodes.jsonl"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
        (folder / "summary.json").unlink()
        assert main(["evaluate", "--resume", str(folder)]) == 0
        assert len(made) == loaded + 1


def test_without_ray_there_is_a_sentence(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    run = ["evaluate", str(mine), "--planner", "random", "--episodes", "2"]
    assert main([*run, "--engine", "ray", "--runs-dir", str(tmp_path)]) == 2
    assert "pip install 'parley-rl[ray]'" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "127.0.0.1:70000"])
def test_where_no_ray_is_there_is_a_sentence_at_once(
    address: str,
    mine: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    util = ModuleType("ray.util")
    util.ActorPool = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray.util", util)
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = address.format(server.getsockname()[1])  # free again, once it is closed
    run = ["evaluate", str(mine), "--planner", "random", "--episodes", "2", "--engine", "ray"]
    assert main([*run, "--address", where, "--runs-dir", str(tmp_path)]) == 2
    assert f"error: there is no Ray at '{where}': " in capsys.readouterr().err
