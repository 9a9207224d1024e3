"""Playing from Python: with names, objects and functions."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import parley
from agents.dialogue import script
from agents.planner.oracle import OraclePlanner
from agents.reporter.scripted import ScriptedReporter

QUICK: dict[str, Any] = {"planner": "oracle", "actor": "scripted"}


def test_episodes_come_as_they_end_and_not_after_their_whole_group() -> None:
    """Seed 1 takes longer than seed 2; whoever stops after the first has not played the rest."""
    turns: list[tuple[int, int]] = []

    class Turns(parley.Callback):
        def on_report(self, i: int, dialogue: parley.Dialogue) -> None:
            turns.append((dialogue.seed, len(dialogue.turns)))

    playing = parley.play("search", **QUICK, episodes=3, callback=Turns())
    assert turns == []
    assert next(playing).seed == 0
    assert max(n for _, n in turns) == 2
    assert [e.seed for e in playing] == [2, 1]
    assert max(turns) == (2, 2) and (1, 4) in turns


def test_every_episode_is_played_in_groups_and_by_its_own_seed() -> None:
    together = list(parley.play(**QUICK, episodes=5, seed=7))
    alone = list(parley.play(**QUICK, episodes=5, seed=7, parallel=2))
    assert sorted(e.seed for e in together) == [7, 8, 9, 10, 11]
    assert sorted(map(str, together)) == sorted(map(str, alone))
    assert all(e.success for e in together)


def test_a_transcript_tells_the_whole_dialogue() -> None:
    (episode,) = parley.play("search", **QUICK, episodes=1)
    *lines, last = episode.transcript().splitlines()
    told = script(episode.task, episode.opening, episode.turns)
    assert lines == [f"{who}: {text}" for who, text in told]
    assert last == f"Ended: success (2 commands, {episode.steps} steps)"
    assert str(episode) == episode.transcript()
    assert repr(episode).startswith("<Episode seed 0: success, 2 commands, ")
    assert "\n" not in repr(episode)


def test_a_notebook_shows_an_episode_as_text_and_never_as_markup() -> None:
    def planner(dialogue: str) -> str:
        return "<script>alert(1)</script>"

    (episode,) = parley.play(planner=planner, actor="scripted", episodes=1, max_turns=1)
    page = episode._repr_html_()
    assert "&lt;script&gt;" in page and "<script>" not in page
    assert "no commands left" in page and "1 of the commands not understood" in page


def test_a_function_is_a_planner_that_reads_the_dialogue() -> None:
    read: list[str] = []

    def planner(dialogue: str) -> str:
        read.append(dialogue)
        item = dialogue.split("Exactly one of the ")[1].split(",")[0]
        return f"Pick up the {item}.\nand more that does not count"

    (episode,) = parley.play("search", planner=planner, actor="scripted", episodes=1)
    assert read == [f"Task: {episode.task}\nPlanner:"]
    assert episode.turns[0].utterance.startswith("Pick up the ")
    assert episode.success is not None


def test_the_chat_prompt_lists_the_commands() -> None:
    read: list[str] = []

    def planner(text: str) -> str:
        read.append(text)
        return text.split("- ")[1].splitlines()[0]

    planners = parley.planner_from(planner, prompt="chat", threads=2)
    episodes = list(parley.play(planner=planners, actor="scripted", episodes=2, max_turns=2))
    assert all("The commands that you can give now:" in text for text in read)
    assert [e.unparsed for e in episodes] == [0, 0]


def fails_at(seed: int) -> parley.Planner:
    oracle = OraclePlanner()

    class Fails(parley.TeamMember):
        def begin(self, worlds: Any) -> None:
            oracle.begin(worlds)

        def choose(self, dialogues: Any) -> list[parley.Decision]:
            return [
                parley.planner_from(lambda text: 1 / 0).choose([d])[0]  # type: ignore[arg-type,return-value]
                if d.seed == seed
                else oracle.choose([d])[0]
                for d in dialogues
            ]

    return Fails()


def test_a_function_that_raises_is_an_error_of_that_episode_alone() -> None:
    episodes = {e.seed: e for e in parley.play(planner=fails_at(1), actor="scripted", episodes=3)}
    assert [episodes[s].success for s in range(3)] == [True, None, True]
    error = episodes[1].error
    assert error is not None and "ZeroDivisionError" in error and "<lambda>" in error
    assert episodes[1].transcript().endswith("Error: ZeroDivisionError: division by zero")


@pytest.mark.parametrize("answer", [None, 3, b"Examine it.", ["Examine it."]])
def test_a_planner_function_that_returns_no_text_is_an_error(answer: Any) -> None:
    (episode,) = parley.play(planner=lambda text: answer, actor="scripted", episodes=1)
    assert episode.success is None and episode.ended == "error"
    assert episode.error is not None and f"returned {answer!r}, which is no text" in episode.error


def test_a_function_is_a_reporter_that_gets_the_rollout() -> None:
    seen: list[parley.ObservedRollout] = []

    def reporter(rollout: parley.ObservedRollout) -> str:
        seen.append(rollout)
        assert rollout.frames.shape[1:] == (56, 56, 3) and rollout.frames.dtype == np.uint8
        assert len(rollout.frames) == min(8, rollout.steps + 1)
        return f"{rollout.true_report}\nPlanner: pick up the solid red ring"

    (episode,) = parley.play("search", **QUICK, reporter=reporter, episodes=1)
    assert episode.success
    assert [r.command for r in seen] == [t.command for t in episode.turns]
    assert all(r.task == episode.task for r in seen)
    assert "\n" not in episode.turns[0].report.text


def test_a_reporter_function_that_fails_is_an_error_of_that_episode_alone() -> None:
    def reporter(rollout: parley.ObservedRollout) -> str:
        if rollout.dialogue.seed == 1:
            return None  # type: ignore[return-value]
        return rollout.true_report

    episodes = {e.seed: e for e in parley.play("search", **QUICK, reporter=reporter, episodes=3)}
    assert [episodes[s].success for s in range(3)] == [True, None, True]
    error = episodes[1].error
    assert error is not None and "reporter returned None, which is no text" in error


def test_frames_are_what_the_agent_saw() -> None:
    (episode,) = parley.play("search", **QUICK, episodes=1, frames=True)
    assert episode.frames is not None
    assert episode.frames.shape == (min(8, episode.steps + 1), 56, 56, 3)
    (without,) = parley.play("search", **QUICK, episodes=1)
    assert without.frames is None and without == episode


class OnlyBegins(parley.TeamMember):
    pass


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"planner": OnlyBegins()}, "is no Planner: it has no method choose"),
        ({"planner": 3}, "3 is no Planner: it has no method"),
        ({"planner": OraclePlanner}, "is a class; give an object of it: OraclePlanner"),
        ({"planner": "orakle"}, "unknown planner 'orakle'; did you mean 'oracle'"),
        ({"actor": lambda command: None}, "is no Actor: it has no method"),
        ({"actor": "scriptd"}, "unknown actor 'scriptd'; did you mean 'scripted'"),
        ({"reporter": OnlyBegins()}, "is no Reporter: it has no method report"),
        ({"reporter": "scripte"}, "did you mean 'scripted'"),
        ({"task": "serch"}, "unknown task 'serch'; did you mean 'search'"),
        ({"n_itms": 3}, "takes no setting n_itms; did you mean 'n_items'"),
        ({"episodes": 0}, "episodes must be at least 1, not 0"),
        ({"max_turns": 0}, "max_turns must be at least 1, not 0"),
        ({"task": "search", "instruction": "Do it."}, "not both"),
        ({"callback": print}, "is no callback; inherit parley.Callback"),
        ({"max_turns": "3"}, "max_turns must be a whole number at least 1, not '3'"),
        (
            {"reporter": SimpleNamespace(report=len)},
            "it has no method begin(), no method opening(), no method on_step(), no attribute "
            "tells_views; parley.TeamMember, which it can inherit, has all but report()",
        ),
        ({"frames": "yes"}, "frames must be True or False"),
    ],
)
def test_bad_input_is_one_sentence_at_once(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(parley.BadInput) as problem:
        parley.play(**{**QUICK, **given})
    assert sentence in str(problem.value) and "\n" not in str(problem.value)
    assert isinstance(problem.value, ValueError)


def test_an_instruction_and_the_direct_actor_play_too() -> None:
    (free,) = parley.play(
        instruction="Examine the solid red ring.", planner="random", actor="scripted", episodes=1
    )
    assert free.task == "Examine the solid red ring."
    (direct,) = parley.play(
        planner="random", actor="direct", reporter="view", episodes=1, command_steps=3
    )
    assert len(direct.turns) == 3


def test_episodes_can_be_played_in_a_thread() -> None:
    episodes: list[parley.Episode] = []
    thread = threading.Thread(target=lambda: episodes.extend(parley.play(**QUICK, episodes=1)))
    thread.start()
    thread.join()
    assert [e.success for e in episodes] == [True]


def test_objects_that_were_loaded_play() -> None:
    planner = parley.load_planner("random")
    reporter = parley.load_reporter("irrelevant", p=1.0)
    actor = parley.load_actor("scripted")
    (episode,) = parley.play(
        "search", planner=planner, actor=actor, reporter=reporter, episodes=1, max_turns=1
    )
    plain = next(parley.play("search", planner="random", actor="scripted", episodes=1, max_turns=1))
    assert len(episode.turns[0].report.text) > len(plain.turns[0].report.text)
    assert isinstance(parley.load_reporter("scripted"), ScriptedReporter)


def test_unknown_options_of_a_part_name_the_nearest() -> None:
    with pytest.raises(parley.BadInput, match="option of a planner 'decid'; did you mean 'decide'"):
        parley.load_planner("random", decid="score")
    with pytest.raises(parley.BadInput, match="decide has no effect here: the planner 'random'"):
        parley.load_planner("random", decide="score")
    with pytest.raises(parley.BadInput, match="reporter 'irrelevant' cannot be made"):
        parley.load_reporter("irrelevant", q=1)
    with pytest.raises(parley.BadInput, match="3 is no function"):
        parley.planner_from(3)  # type: ignore[arg-type]
    with pytest.raises(parley.BadInput, match="unknown prompt 'caht'; did you mean 'chat'"):
        parley.planner_from(str, prompt="caht")
