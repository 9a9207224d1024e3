"""The Planners by name, and those without a language model."""

from __future__ import annotations

import io
from collections import Counter

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.actor.registry import make_actor
from agents.dialogue import Dialogue, Turn
from agents.grounding import ground
from agents.messages import NOTHING
from agents.planner.options import PlannerOptions
from agents.planner.registry import PLANNERS, make_planner
from agents.planner.replies import read_reply
from agents.reporter.registry import make_reporter
from agents.team import Team
from envs.commands import VERBS, Command
from envs.errors import BadInput
from envs.worlds import Worlds
from tests.agents.tiny import dialogue


def test_an_unknown_planner_names_the_nearest():
    with pytest.raises(BadInput, match="unknown planner 'smolm2'; did you mean 'smollm2-135m'"):
        make_planner("smolm2")
    with pytest.raises(BadInput, match="did you mean 'oracle'"):
        make_planner("orcale")
    assert set(PLANNERS) == {"oracle", "random", "human"}


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "nowhere.gguf", "a/b/c"])
def test_a_path_to_nothing_is_one_sentence(name):
    with pytest.raises(BadInput, match=f"there is no file or folder '{name}'"):
        make_planner(name)


def test_a_hub_id_out_of_reach_is_one_sentence(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInput, match="the model hub does not give it") as caught:
        make_planner("nobody/no-such-model-at-all")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [{"examples": -1}, {"group": -1}, {"max_new_tokens": 0}, {"timeout": 0}, {"decide": "guess"}],
)
def test_options_out_of_range_are_one_sentence(wrong):
    (name,) = wrong
    with pytest.raises(BadInput, match=name):
        PlannerOptions(**wrong)


@pytest.mark.parametrize(
    "family", ["SecretConditional", "SecretSearch", "VisualConditional", "SecretComposition"]
)
def test_the_oracle_with_the_scripted_actor_always_succeeds(family):
    worlds = Worlds([gym.make(f"Parley/{family}-v0") for _ in range(12)])
    team = Team(make_planner("oracle"), make_actor("scripted"), make_reporter("scripted"))
    episodes = team.play(worlds, range(12))
    assert [e.success for e in episodes] == [True] * 12
    assert {t.utterance.split()[0] for e in episodes for t in e.turns} == {"Examine", "Pick"}


@pytest.mark.parametrize(
    "level",
    [
        "GoToObj",
        "GoToLocal",
        "PickupLoc",
        "OpenDoorLoc",
        "PutNextLocal",
        "OpenDoorsOrderN4",
        "OpenRedDoor",
        "UnlockLocalDist",
        "UnlockPickup",
        "UnlockPickupDist",
        "UnlockToUnlock",
        "BlockedUnlockPickup",
        "KeyInBox",
        "KeyCorridorS3R3",
        "GoToImpUnlock",
        "SynthLoc",
    ],
)
def test_the_oracle_solves_babyai(level):
    worlds = Worlds([gym.make(f"BabyAI-{level}-v0") for _ in range(6)])
    team = Team(make_planner("oracle"), make_actor("scripted"), make_reporter("scripted"))
    episodes = team.play(worlds, range(6))
    assert [e.success for e in episodes] == [True] * 6, [e.ended for e in episodes]


def test_the_oracle_says_where_it_knows_no_answer():
    worlds = Worlds([gym.make("MiniGrid-Empty-5x5-v0")])
    worlds.reset(0, 0)
    oracle = make_planner("oracle")
    oracle.begin(worlds)
    assert "knows no answer" in str(oracle.choose([dialogue()])[0].error)


def test_the_oracle_examines_again_what_it_did_not_manage():
    worlds = Worlds([gym.make("Parley/SecretConditional-v0")])
    worlds.reset(0, 3)
    oracle = make_planner("oracle")
    oracle.begin(worlds)
    d = Dialogue(worlds.tasks[0], worlds.verbs(0))
    first = oracle.choose([d])[0]
    failed = d.add(
        Turn(first.utterance, first.command, ground(f"I did not manage to {first.command}."))
    )
    assert oracle.choose([failed])[0] == first
    done = failed.add(Turn(first.utterance, first.command, ground("I examined it.", first.command)))
    assert oracle.choose([done])[0].command == Command("pick up", worlds.world(0).right)


def test_random_is_even_seeded_and_blind_to_its_neighbours():
    planner = make_planner("random")
    many = planner.choose([dialogue(seed=s) for s in range(900)])
    counts = Counter(d.command for d in many)
    assert set(counts) == set(dialogue().candidates())
    assert min(counts.values()) > 60  # 100 expected of each of the 9
    assert planner.choose([dialogue(seed=7)])[0] == many[7]
    turn = Turn("", None, NOTHING)
    assert len({planner.choose([dialogue(seed=s).add(turn)])[0].utterance for s in range(20)}) > 3
    assert "names no item" in str(planner.choose([dialogue("Go!")])[0].error)


def test_a_person_is_asked_until_the_line_is_a_command(monkeypatch, capsys):
    lines = "fly to the red ball\nexamine the solid rde circle\nopen the red door\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{lines}EXAMINE the solid red circle\n"))
    decision = make_planner("human").choose([dialogue()])[0]
    assert decision.command == Command.parse("examine the solid red circle")
    told = capsys.readouterr().out
    assert dialogue().task in told
    assert "unknown verb" in told and "did you mean 'red'" in told and "cannot 'open'" in told
    with pytest.raises(BadInput, match="standard input ended"):
        make_planner("human").choose([dialogue()])


@given(st.text() | st.sampled_from(VERBS).flatmap(lambda v: st.text().map(lambda t: f"{v} {t}")))
def test_whatever_text_comes_is_a_command_of_the_grammar_or_none(text):
    decision = read_reply(text, dialogue())
    assert "\n" not in decision.utterance
    if decision.command is not None:
        assert decision.command.verb in dialogue().verbs
        assert Command.parse(str(decision.command)) == decision.command


@pytest.mark.parametrize(
    "text",
    [
        " Examine the solid red circle.\nReporter: I did.",
        "\n\n- `examine the solid red circle`",
        'Planner: "Examine the solid red circle."',
        "EXAMINE  the\tsolid red circle!",
    ],
)
def test_ways_to_write_a_command(text):
    expected = Command.parse("examine the solid red circle")
    assert read_reply(text, dialogue()).command == expected


@pytest.mark.parametrize("text", ["Open the red door.", "examine", "Examine the thing.", ""])
def test_what_is_no_command_here(text):
    assert read_reply(text, dialogue()).command is None
