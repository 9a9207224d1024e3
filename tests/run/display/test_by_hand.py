"""Playing by hand: the screen, with a keyboard of the test's and at a pseudo-terminal."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from minigrid.core.actions import Actions
from rich.cells import cell_len
from rich.console import Console

from agents.actor import make_actor
from agents.actor.human import HumanActor
from agents.by_hand import PlayedByHand
from agents.dialogue import Dialogue
from agents.planner.human import HumanPlanner
from agents.protocols import Actor
from agents.reporter.human import HumanReporter
from agents.team import Team
from envs.commands import Command
from envs.errors import BadInput
from envs.events import Event
from envs.items import Item
from envs.tasks import make_worlds
from run.display.by_hand import HandScreen, edited
from run.display.hand_layout import HandPage, Question
from run.display.keyboard import Keyboard
from run.display.outcome import EventLog, OutcomeSummary, what_happened
from run.display.rooms import draw_room
from run.display.state import CallbackList


class TypedKeys(Keyboard):
    """A keyboard whose keys are known beforehand; then the terminal is gone."""

    def __init__(self, keys: Iterable[str]) -> None:
        super().__init__(-1)
        self.keys = iter(keys)

    def __enter__(self) -> TypedKeys:
        return self

    def read(self) -> str:
        try:
            return next(self.keys)
        except StopIteration:
            raise EOFError from None


def played(
    keys: Iterable[str],
    task: str = "conditional",
    size: tuple[int, int] = (80, 24),
    actor: Actor | None = None,
    **settings: object,
) -> tuple[Team, str]:
    """Play one episode with these keys: the team, and all that was written to the terminal."""
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=size[0], height=size[1], color_system="truecolor"
    )
    team = Team(HumanPlanner(), HumanActor() if actor is None else actor, HumanReporter())
    worlds = make_worlds(task, 1, **settings)
    with HandScreen(console, TypedKeys(keys), "a title", 1, 0.0) as screen:
        for part in (team.planner, team.actor, team.reporter):
            if isinstance(part, PlayedByHand):
                part.prompter = screen
        team.play(worlds, [0], screen.group([0], frozenset()))
    return team, out.getvalue()


def test_an_episode_in_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    # Undo, a typo, help, the room hidden and shown; then the right commands.
    keys = ["1", "u", *"examin x", "enter", "clear line", "?", "z", "tab", "tab", "4", "enter"]
    keys += [*"I saaw", "clear line", "enter"]
    keys += [*"pick up the striped purple circle", "enter", "enter", "enter"]
    _, text = played(keys, actor=make_actor("scripted"))
    assert "unknown verb in 'examin x'" in text
    told = capsys.readouterr().out
    assert "  Planner: Examine the solid yellow tee.\n" in told
    assert "  Planner: Pick up the striped purple circle.\n" in told
    assert "episode 0 seed 0: success in 2 turns" in told
    assert text.count("\x1b[?1049h") == text.count("\x1b[?1049l") == 1


def test_the_actors_keys_and_what_is_asked_before_it_picks_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # It faces a wall, turns, and says that it is done; the report is the true one.
    keys = ["1", "enter", "p", "z", "u", "left", "x", "enter"]
    with pytest.raises(BadInput, match="the terminal in which a human plays was closed"):
        played(keys)
    with pytest.raises(KeyboardInterrupt):
        played([*keys, "q", "n", "q", "y"])


def test_quitting_after_an_episode_keeps_it(capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["8", "enter", "enter", "q", "y"]
    with pytest.raises(KeyboardInterrupt):
        played(keys, actor=make_actor("scripted"))
    assert "episode 0 seed 0: " in capsys.readouterr().out


def test_a_wall_is_not_picked_up_and_no_step_is_taken() -> None:
    worlds = make_worlds("conditional", 1)
    worlds.reset(0, 0)
    command = Command.parse("go to the red ring")
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24)
    screen = HandScreen(console, TypedKeys(["p", "u", "z", "x"]), "", 1, 0.0)
    screen.group([0], frozenset()).on_begin(worlds, [Dialogue("Go.", worlds.verbs(0))])
    assert screen.action(worlds, 0, command) == Actions.done
    shown = out.getvalue()
    assert "nobody can pick up the grey wall" in shown
    assert "cannot be taken back" in shown and "the key 'z' does nothing here" in shown


def test_more_than_nine_candidates_are_chosen_with_enter() -> None:
    with pytest.raises(KeyboardInterrupt):
        played(["1", "2", "enter", "enter", "q", "y"], "search", n_items=6)
    keys = ["9", "9", "enter", "backspace", "backspace", "1", "1", "enter", "u", "q", "y"]
    with pytest.raises(KeyboardInterrupt):
        played(keys, "search", n_items=6)


@pytest.mark.parametrize("room_size", [8, 14])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_every_size_of_terminal_has_the_task_and_no_line_too_long(
    room_size: int, encoding: str
) -> None:
    worlds = make_worlds("search", 1, n_items=6, room_size=room_size)
    for width, height in ((20, 6), (40, 15), (60, 20), (80, 24), (140, 50)):
        out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        console = Console(file=out, force_terminal=True, width=width, height=height)
        screen = HandScreen(console, TypedKeys([]), "a title", 1, 0.0).group([0], frozenset())
        team = Team(HumanPlanner(), HumanActor(), HumanReporter())
        assert isinstance(team.planner, PlayedByHand)
        team.planner.prompter = screen
        with pytest.raises(BadInput, match="closed"):
            team.play(worlds, [0], screen)
        page = HandPage(
            "title",
            screen.display(0),
            worlds,
            Question("Who?", ["x" * 30] * 30, "y" * 90, "z", "k"),
        )
        lines = ["".join(s.text for s in line) for line in console.render_lines(page, pad=False)]
        assert len(lines) <= height
        assert all(cell_len(line) <= width for line in lines)
        assert lines[1].startswith("Task: Exactly one of"[:width])
        assert any("yyy" in line for line in lines)


def test_a_room_that_does_not_fit_is_cropped_around_the_agent() -> None:
    worlds = make_worlds("search", 1, room_size=14)
    worlds.reset(0, 0)
    console = Console(file=io.StringIO(), width=40, height=15)
    drawing = draw_room(worlds, 0, console, 18, 5)
    text = "\n".join(map(str, drawing.lines))
    assert drawing.note == "9x5 of 14x14 tiles"
    assert any(heading in text for heading in (">>", "<<", "^^", "vv"))
    assert {len(str(line)) for line in drawing.lines} == {18}


def test_what_happened_and_its_summary() -> None:
    worlds = make_worlds(
        "instruction", 1, instruction="Examine the solid red ring, then pick it up."
    )
    summary, log = OutcomeSummary(), EventLog()
    team = Team(HumanPlanner(), make_actor("scripted"), HumanReporter())
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24)
    keys = ["2", "enter", "enter", "3", "enter", "enter", "enter"]
    with HandScreen(console, TypedKeys(keys), "", 1, 0.0) as screen:
        for part in (team.planner, team.reporter):
            assert isinstance(part, PlayedByHand)
            part.prompter = screen
        hooks = (screen.group([0], frozenset()), summary.group([0], frozenset()), log)
        team.play(worlds, [0], CallbackList(hooks))
    said = what_happened(log.of(0))
    assert said.startswith("the agent examined the solid red ring (it has secret property ")
    assert said.endswith(") and picked up the solid red ring")
    assert summary.episodes == 1 and "nobody judged it" in summary.lines()[-1]
    assert OutcomeSummary().lines() == []


def test_the_events_of_a_world_that_stands_still_are_counted_once() -> None:
    worlds = make_worlds("conditional", 1)
    worlds.reset(0, 0)
    log = EventLog()
    log.on_begin(worlds, [Dialogue("Go.", worlds.verbs(0))])
    worlds.events[0], worlds.steps[0] = (Event("examined", Item("ring", "red")),), 1
    log.on_step(worlds)
    log.on_step(worlds)
    assert len(log.of(0)) == 1


def test_keys_that_edit_a_line() -> None:
    assert edited("go to the", "delete word") == "go to"
    assert edited("go", "backspace") == "g" and edited("go", "clear line") == ""
    assert edited("go", "left") == "go"


def test_the_command_in_a_terminal_restores_it(tmp_path: Path) -> None:
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    person, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (15, 40))
    before = termios.tcgetattr(terminal)
    command = [sys.executable, "-m", "run", "episode", "--planner", "human", "--actor", "scripted"]
    run = subprocess.Popen(
        [*command, "--episodes", "2", "--runs-dir", str(tmp_path)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={
            **{k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")},
            "TERM": "xterm-256color",
        },
    )
    text = _read_until(person, "Planner (1 to")
    os.write(person, b"5\r5\r\r\r")  # a wrong item ends the first episode
    os.write(person, b"8\r\r")
    text += _read_until(person, "episode 2")
    os.write(person, b"q")
    _read_until(person, "Quit?")
    os.write(person, b"y")
    text += _read_until(person, "go on with")
    assert run.wait(20) == 130
    assert termios.tcgetattr(terminal) == before
    assert "Task: If the" in text
    (lines,) = tmp_path.glob("episode/*/episodes.jsonl")
    assert [json.loads(line)["episode"] for line in lines.read_text().splitlines()] == [0]


def _read_until(fd: int, what: str, seconds: float = 60) -> str:
    text, until = "", time.monotonic() + seconds
    while what not in text:
        assert time.monotonic() < until, f"no {what!r} in: {text[-2000:]}"
        if select.select([fd], [], [], 0.2)[0]:
            text += os.read(fd, 65536).decode(errors="replace")
    return text
