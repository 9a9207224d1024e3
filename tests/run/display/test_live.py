"""The live view and what stands in for it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from agents.actor import make_actor
from agents.episode import Episode
from agents.planner.registry import make_planner
from agents.reporter import make_reporter
from agents.team import Team
from envs.tasks import make_worlds
from run.display.live import LiveView, PlainLines, RunningScore
from run.display.rooms import HalfBlocks, letters, small_frame
from tests.run.command import episode


def terminal(width: int = 100, height: int = 30) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        width=width,
        height=height,
        color_system="truecolor",
        legacy_windows=False,
    )


def test_half_blocks_show_two_pixels_each() -> None:
    pixels = np.zeros((3, 2, 3), np.uint8)
    pixels[0] = (255, 0, 0)
    pixels[1, 1] = (0, 0, 255)
    console = terminal()
    rows = list(
        console.render_lines(HalfBlocks(pixels), console.options.update(width=2), pad=False)
    )
    first = [(s.text, s.style.color.triplet, s.style.bgcolor.triplet) for s in rows[0]]
    assert first == [("▀", (255, 0, 0), (0, 0, 0)), ("▀", (255, 0, 0), (0, 0, 255))]
    assert len(rows) == 2 and [s.text for s in rows[1]] == ["▀▀"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (130, 40)])
@pytest.mark.parametrize("task", ["search", "BabyAI-GoToLocal-v0"])
def test_the_view_fits_the_terminal(task: str, width: int, height: int) -> None:
    worlds = make_worlds(task, 3)
    console = terminal(width, height)
    score = RunningScore(3, [])
    with LiveView(console, "a title", score, pause=0) as view:
        show, tallest = view.show, 0

        def measured(picture: object, steps: int) -> None:
            nonlocal tallest
            rows = console.render_lines(picture)
            tallest = max(tallest, len(rows))
            assert all(sum(s.cell_length for s in row) <= width for row in rows)
            show(picture, steps)

        view.show = measured
        group = view.group(range(3), frozenset({1}))
        team = Team(make_planner("oracle"), make_actor("scripted"), make_reporter("scripted"))
        team.play(worlds, [0, 1, 2], group)
    assert 0 < tallest <= height - 1
    # Episode 1 was written before, and is not counted twice.
    assert (score.done, score.successes) == (2, 2)
    text = console.file.getvalue()
    assert "a title" in text and "Success in" in text and "succeeded" in text


def test_a_small_frame_is_as_large_as_fits() -> None:
    worlds = make_worlds("search", 1, room_size=8)
    worlds.reset(0, 0)
    for columns, rows in ((34, 17), (64, 32), (300, 100)):
        height, width, _ = small_frame(worlds, 0, columns, rows).shape
        assert width <= columns and height <= 2 * rows
    assert small_frame(worlds, 0, 300, 100).shape == (50, 50, 3)


def test_letters_name_every_item() -> None:
    worlds = make_worlds("search", 1, n_items=5)
    worlds.reset(0, 0)
    text = letters(worlds, 0)
    world = worlds.world(0)
    assert all(f" {thing.item}" in text for thing in world.things)
    assert text.splitlines()[0] == "##" * world.width


def test_verbose_prints_the_dialogue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    episode(tmp_path, "--episodes", "1", "--verbose")
    out = capsys.readouterr().out
    assert "Task: If the" in out and "  Planner: Examine the" in out
    assert "  Reporter: I examined the" in out


def test_verbose_tells_of_an_episode_that_broke_before_it_began(
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = Episode(7, "", (), None, steps=0, ended="error", unparsed=0, error="oh")
    PlainLines([3], frozenset(), verbose=True).on_end(0, broken)
    assert capsys.readouterr().out.splitlines() == [
        "Task: ",
        "episode 3 seed 7: broke after 0 turns, 0 steps: oh",
    ]


def test_a_person_as_planner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter(
        [
            "examin the red ring",
            "Examine the solid yellow tee.",
            "pick up the striped purple circle",
        ]
    )
    monkeypatch.setattr("builtins.input", lambda _: next(typed))
    episode(tmp_path, "--planner", "human", "--episodes", "1")
    assert "episode 0 seed 0: success in 2 turns" in capsys.readouterr().out
