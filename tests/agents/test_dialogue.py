"""What can be commanded follows from what has been said, and from nothing else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from agents.dialogue import NOT_UNDERSTOOD, Dialogue, Turn, kind_of_scores
from agents.grounding import ground
from envs.commands import Command
from envs.items import COLOURS

VERBS = ("go to", "pick up", "open", "put")
KEYS = {f"pick up the {c} key" for c in COLOURS}


def told(task: str, *reports: str, verbs: tuple[str, ...] = VERBS) -> set[str]:
    """The commands that can be given after these reports."""
    dialogue = Dialogue(task, verbs)
    for report in reports:
        dialogue = dialogue.add(Turn("Open the red door.", None, ground(report)))
    commands = [str(c) for c in dialogue.candidates()]
    assert len(set(commands)) == len(commands)
    return set(commands)


def test_a_locked_door_brings_keys_of_all_colours_and_says_not_which() -> None:
    before = told("open the red door")
    after = told("open the red door", "I did not manage to open the red door, it is locked.")
    assert not before & KEYS and after - before == KEYS
    assert after == told("open the red door", "The red door is locked.", "I went to the red door.")
    assert after == told("open the red door", "The red door seems to be locked.")
    assert after == told("open the red door", "I found the red door locked.")


@pytest.mark.parametrize(
    "report",
    [
        "I did not manage to open the red door.",
        "The red box is open. It is locked.",
        "is locked",
        "The red door is no longer locked.",
        "If the red door is locked, it takes a key.",
    ],
)
def test_other_reports_bring_none(report: str) -> None:
    assert not told("open the red door", report) & KEYS
    assert not told("open the red door, it is locked") & KEYS


def test_keys_come_only_to_an_actor_that_picks_up() -> None:
    assert not told("open the red door", "The red door is locked.", verbs=("open",)) & KEYS


def test_a_place_in_the_task_goes_into_the_commands() -> None:
    found = told("put the ball on your left next to a red box behind you")
    assert "put the ball on your left next to the red box behind you" in found
    assert "go to the red box behind you" in found and "go to the red box" not in found
    assert {str(Command.parse(c)) for c in found} == found


def test_who_is_stuck_has_said_and_heard_the_same_each_time() -> None:
    go, look = Command.parse("go to the red box"), Command.parse("examine the red box")
    same = [Turn("Go to the red box.", go, ground("I went to the red box."))] * 3
    failed = Turn("Go to the red box.", go, ground("I did not manage to go to the red box."))
    other = Turn("Examine the red box.", look, ground("I went to the red box."))
    for turns, n, found in (
        (same[:2], 2, go),
        (same, 2, go),
        (same, 3, go),
        (same[:1], 2, None),
        ([*same, failed], 2, None),
        ([*same, other], 2, None),
        ([other, *same[:2]], 2, go),
        ([other, *same[:2]], 3, None),
        (same, 0, None),
        ([], 1, None),
    ):
        assert Dialogue("go to the red box", VERBS, tuple(turns)).repeated_command(n) == found


def test_a_command_is_alike_as_often_as_it_last_got_one_report() -> None:
    go, look = Command.parse("go to the red box"), Command.parse("examine the red box")
    there = Turn("Go to the red box.", go, ground("I went to the red box."))
    failed = Turn("Go to the red box.", go, ground("I did not manage to go to the red box."))
    other = Turn("Examine the red box.", look, ground("I went to the red box."))
    nonsense = Turn("Hm.", None, NOT_UNDERSTOOD)
    for turns, found in (
        ([], {}),
        ([there, other, there, nonsense, nonsense], {go: 2, look: 1}),
        ([there, there, failed, other, other], {go: 1, look: 2}),
        ([there, failed, there], {go: 1}),
    ):
        assert (
            Dialogue("go to the red box", VERBS, tuple(turns)).trailing_identical_reports() == found
        )


def test_what_was_just_picked_up_is_what_the_last_report_says() -> None:
    pick, go = Command.parse("pick up the red box"), Command.parse("go to the red box")
    done = Turn("Pick up the red box.", pick, ground("I picked up the red box."))
    for turns, found in (
        ([], None),
        ([done], pick),
        ([done.with_text("It is hot. I PICKED UP a red box, at last.")], pick),
        ([done.with_text("I did not manage to pick up the red box.")], None),
        ([done.with_text("I have not picked up the red box.")], None),
        ([done.with_text("I picked up the blue box.")], None),
        ([replace(done, command=go)], None),
        ([replace(done, command=None)], None),
        ([done, Turn("Go to the red box.", go, ground("I went to the red box."))], None),
    ):
        assert Dialogue("go to the red box", VERBS, tuple(turns)).held_command() == found


def test_what_was_examined_is_what_reports_say() -> None:
    def after(*reports: str) -> set[str]:
        turns = tuple(Turn("Hm.", None, ground(r)) for r in reports)
        d = Dialogue("examine the red box, then the blue box", VERBS, turns)
        return set(map(str, d.examined_items()))

    assert after() == after("I did not manage to examine the red box.", "") == set()
    assert after("I have not examined the red box. I see a blue box.") == set()
    assert after("I examined the red box, it is beside the blue box.") == {"red box"}
    assert after("Examined a solid red ring.", "I went on.\nI examined the blue box.") == {
        "solid red ring",
        "blue box",
    }
    # A stated secret property means that the item was examined, even without the verb.
    assert after("The solid red ring? It is bad.") == {"solid red ring"}
    assert after("The red box is on a blue floor, and the blue box is good.") == {"blue box"}
    assert after("Is the red box bad? Perhaps the blue box is good.") == set()
    assert after("I examined the matter. The red box is here.", "I examined the") == set()


def test_scores_are_probabilities_only_where_they_sum_to_one():
    assert kind_of_scores({"a": math.log(0.7), "b": math.log(0.3)}) == "probability"
    assert kind_of_scores({"a": math.log(0.7), "b": math.log(0.6)}) == "probability per token"
    assert kind_of_scores({"a": 0.0}) == "probability"
