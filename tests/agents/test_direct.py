"""Playing without an Actor: single moves, and what is in view put into words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minigrid.core.constants import OBJECT_TO_IDX

from agents.actor import make_actor
from agents.dialogue import Decision, Dialogue
from agents.messages import Report
from agents.planner.language import LanguagePlanner
from agents.planner.options import PlannerOptions
from agents.planner.prompt import MOVES as PROMPT
from agents.planner.prompt import PROMPTS, Prompt, prompted
from agents.planner.registry import make_planner
from agents.planner.replies import read_reply
from agents.protocols import TeamMember
from agents.reporter import make_reporter
from agents.reporter.view import describe
from agents.team import Team
from envs import make_worlds
from envs.commands import MOVES, VERBS, Command, Move
from envs.errors import BadInput
from envs.events import item_of
from run.__main__ import main
from tests.agents.tiny import tiny_model, tiny_tokenizer
from tests.run.command import lines, one_sentence, summary


def direct(planner: TeamMember, steps: int = 24) -> Team:
    return Team(planner, make_actor("direct"), make_reporter("view"), command_steps=steps)


class Says(TeamMember):
    """A Planner that says moves in turn, and remembers the dialogues."""

    def __init__(self, moves: Sequence[str]) -> None:
        self.moves = moves
        self.seen: list[Dialogue] = []

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        self.seen += dialogues
        return [read_reply(self.moves[len(d.turns)], d) for d in dialogues]


def test_a_view_in_words() -> None:
    view = np.zeros((7, 7, 3), np.uint8)
    view[:, :, 0] = OBJECT_TO_IDX["empty"]
    view[0] = view[:, 1] = (OBJECT_TO_IDX["wall"], 5, 0)
    view[3, 4] = (OBJECT_TO_IDX["door"], 2, 2)
    view[4, 5] = (OBJECT_TO_IDX["ring"], 0, 1 + 3 * 2 + 9 * 2)
    view[1, 6] = (OBJECT_TO_IDX["ball"], 4, 0)
    view[3, 6] = (OBJECT_TO_IDX["key"], 4, 0)
    assert describe(view).text == (
        "I see a wall 5 steps ahead, a wall 3 steps to the left, "
        "a yellow ball 2 steps to the left, a locked blue door 2 steps ahead, "
        "a striped red ring on a green floor with an orange mark 1 step ahead and 1 step to the "
        "right. I carry a yellow key."
    )
    view[:] = 0
    view[3, 6, 0] = OBJECT_TO_IDX["empty"]
    assert describe(view).text == "I see nothing."


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), turns=st.lists(st.sampled_from(range(3)), max_size=12))
def test_places_are_those_that_minigrid_tells(seed: int, turns: list[int]) -> None:
    """Each item that can be seen is said to be where MiniGrid's own coordinates put it."""
    worlds = make_worlds("visual-conditional", 1)
    worlds.reset(0, seed)
    for action in turns:
        worlds.step(np.array([action]), np.array([True]))
    world, said = worlds.world(0), describe(worlds.images[0]).text
    found = 0
    for x in range(world.width):
        for y in range(world.height):
            item = item_of(world.grid.get(x, y))
            place = world.relative_coords(x, y)
            if item is None or place is None:
                continue
            column, row = place
            if worlds.images[0][column, row, 0] != OBJECT_TO_IDX[item.shape]:
                continue  # something stands before it
            found += 1
            ahead, right = 6 - int(row), int(column) - 3
            words = [f"{ahead} step{'s' * (ahead > 1)} ahead"] * bool(ahead)
            side = "right" if right > 0 else "left"
            words += [f"{abs(right)} step{'s' * (abs(right) > 1)} to the {side}"] * bool(right)
            (name,) = [p for p in said.replace(". ", ", ").split(", ") if str(item) in p]
            assert name.rstrip(".").endswith(" and ".join(words))
    shapes = worlds.images[0][:, :, 0]
    assert found == int((shapes >= OBJECT_TO_IDX["circle"]).sum())


def test_moves_are_minigrids_actions() -> None:
    said = ["Go forward.", "turn left", "Turn right!", "use what is ahead", "Go forward."]
    planner = Says(said)
    worlds = make_worlds("conditional", 1)
    (episode,) = direct(planner, len(said)).play(worlds, [3])
    alone = make_worlds("conditional", 1)
    alone.reset(0, 3)
    told = [describe(alone.images[0]).text]
    for action in (2, 0, 1, 5, 2):
        alone.step(np.array([action]), np.array([True]))
        told.append(describe(alone.images[0]).text)
    assert [planner.seen[0].opening.text, *(t.report.text for t in episode.turns)] == told
    assert episode.opening.text == told[0]
    assert episode.ended == "max_turns" and episode.steps == 5 and episode.unparsed == 0


def test_what_examining_reveals_is_told() -> None:
    worlds = make_worlds("conditional", 24, room_size=6)
    played = direct(make_planner("random"), 120).play(worlds, range(24))
    reports = [t.report.text for e in played for t in e.turns]
    facts = [r for r in reports if "has secret property" in r]
    assert facts and all(r.startswith("The ") and " I see" in r for r in facts)
    assert {e.error for e in played} == {None}
    assert any(e.ended == "failure" for e in played)


def test_moves_are_in_the_grammar_of_the_direct_actor_alone() -> None:
    for name in MOVES:
        assert Command.parse(f"{name.capitalize()}.") == Move(name)
        assert Command.parse(str(Move(name))) == Move(name)
    moving = Dialogue("go to the red ball", tuple(MOVES))
    assert [str(c) for c in moving.candidates()] == [*MOVES]
    assert read_reply("Go to the red ball.", moving).command is None
    assert read_reply("Turn left.", Dialogue("", ("go to",))).command is None
    with pytest.raises(BadInput, match="is no move"):
        Move("jump")


def test_a_language_model_says_moves() -> None:
    options = prompted(PlannerOptions(), make_actor("direct"), "smollm2-135m")
    assert options.prompt == PROMPT
    assert prompted(PlannerOptions(), make_actor("direct"), "openai:any").prompt is None
    assert prompted(PlannerOptions(), make_actor("scripted"), "smollm2-135m").prompt is None
    planner = LanguagePlanner(tiny_model("llama"), tiny_tokenizer(), options)
    text = planner.prompt.render(
        Dialogue("t", tuple(MOVES), opening=Report("I see a red ball 1 step ahead."))
    )
    assert text.endswith("Task: t\nReporter: I see a red ball 1 step ahead.\nPlanner:")
    (one,) = direct(planner, 6).play(make_worlds("BabyAI-GoToLocal-v0", 1), [0])
    assert (
        one.error is None
        and one.turns
        and {t.utterance.rstrip(".").lower() for t in one.turns} <= {*MOVES}
    )
    for file in PROMPTS.values():
        shown = Prompt(file, 0).render(Dialogue("t", VERBS, opening=Report("I see a red ball.")))
        assert shown.endswith("Task: t\nReporter: I see a red ball.\nPlanner:")
    assert Prompt(PROMPT, 3).render(Dialogue("t", tuple(MOVES))).count("Task:") == 4


def test_what_does_not_go_together_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="only the reporter 'view'"):
        Team(make_planner("random"), make_actor("direct"), make_reporter("scripted"))
    with pytest.raises(BadInput, match="takes single moves"):
        direct(make_planner("oracle")).play(make_worlds("search", 1), [0])
    command = [
        "evaluate",
        "baselines",
        "--tasks",
        "*steps",
        "--episodes",
        "2",
        "--attribute-faults",
        "1",
    ]
    assert main(command) == 2
    assert "--attribute-faults is for teams" in one_sentence(capsys.readouterr().err)


def test_the_suite_of_baselines_plays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "baselines", "--tasks", "* random steps", "--episodes", "3"]
    assert main([*command, "--runs-dir", str(tmp_path)]) == 0
    (made,) = (tmp_path / "evaluate").iterdir()
    assert set(summary(made)["cells"]) == {
        f"{t} random steps" for t in ("conditional", "search", "go to")
    }
    assert all(x["error"] is None and x["steps"] == len(x["turns"]) for x in lines(made))
    assert all(x["opening"].startswith("I see") for x in lines(made))
    # The page's player finds the same episodes again.
    assert main(["report", str(made), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "came out differently" not in page
    assert any(
        f'<div class="told">{x["opening"]}</div>\n<div class="turn">' in page for x in lines(made)
    )


def test_what_is_told_before_the_first_command_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["go to the red ball"] * 2)
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    command = ["episode", "--planner", "human", "--reporter", "view", "--actor", "scripted"]
    command += ["--task", "BabyAI-GoToRedBallNoDists-v0", "--episodes", "1", "--verbose"]
    assert main([*command, "--runs-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    (line,) = lines(next((tmp_path / "episode").iterdir()))
    assert line["opening"].startswith("I see")
    assert f"\nReporter: {line['opening']}\n" in said  # asking the person
    assert f"\n  Reporter: {line['opening']}\n" in said  # what was played
