"""How a person is asked, without a terminal."""

from __future__ import annotations

import numpy as np
import pytest
from minigrid.core.actions import Actions

from agents.actor.human import HumanActor
from agents.by_hand import LinePrompter, NotACommand, read_command
from agents.dialogue import Dialogue
from envs.commands import VERBS, Command
from envs.errors import BadInput
from envs.tasks import make_worlds

DIALOGUE = Dialogue("Examine the solid red ring, then pick it up.", VERBS[:3])


def test_a_number_is_a_candidate() -> None:
    candidates = DIALOGUE.candidates()
    assert [read_command(f" {n} ", DIALOGUE) for n in (1, 3)] == [candidates[0], candidates[2]]
    for wrong in ("0", "4", "9" * 30):
        with pytest.raises(NotACommand, match="the numbers are 1 to 3"):
            read_command(wrong, DIALOGUE)


def test_a_sentence_is_a_command_even_of_an_item_that_nobody_named() -> None:
    command = read_command("PICK UP the striped blue tee.", DIALOGUE)
    assert command == Command.parse("pick up the striped blue tee")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("examin the solid red ring", "the nearest candidate is 2, examine the solid red ring"),
        ("open the red door", "the Actor cannot 'open' in this world"),
        ("", "unknown verb"),
        ("\u0661", "unknown verb"),  # a digit, but none of ours
    ],
)
def test_why_a_line_is_no_command(line: str, reason: str) -> None:
    with pytest.raises(NotACommand, match=reason):
        read_command(line, DIALOGUE)


@pytest.mark.parametrize(
    "error", [NotImplementedError("no frontend"), RuntimeError("lost sys.stdin"), OSError("bad")]
)
def test_a_kernel_that_cannot_ask_is_told_in_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(prompt: str = "") -> str:
        raise error

    monkeypatch.setattr("builtins.input", refuse)
    with pytest.raises(BadInput, match="standard input, which cannot be read here") as problem:
        LinePrompter().command(DIALOGUE)
    assert "\n" not in str(problem.value)


def test_keys_that_are_left_over_are_not_for_the_next_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = iter(["aaaz", "aaw", "d"])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(lines))
    worlds = make_worlds("conditional", 1)
    worlds.reset(0, 0)
    worlds.steps[:] = 1  # the episode has begun
    actor = HumanActor()
    for command in map(Command.parse, ("go to the red ring", "examine the red ring")):
        actor.start(worlds, [command])
        actions = [actor.act(worlds, np.array([True]))[0]]
        expected = Actions.left if command.verb == "go to" else Actions.right
        assert actions == [expected]
