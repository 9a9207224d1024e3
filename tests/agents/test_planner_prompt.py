"""Prompts: files that a user may replace, and that may come from anywhere."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.dialogue import Dialogue, Turn
from agents.grounding import ground
from agents.messages import Report
from agents.planner.prompt import CHAT, DEFAULT, Prompt
from envs.commands import VERBS, Command
from envs.errors import BadInput
from envs.items import find_items
from tests.agents.tiny import dialogue

MINIMAL = "Task: {{ task }}\n{% for t in turns %}P: {{ t.said }}\nR: {{ t.report }}\n{% endfor %}P:"

NO_EXAMPLES = Prompt(DEFAULT, 0)


def prompt(tmp_path, text: str, n_examples: int = 3) -> Prompt:
    file = tmp_path / "own.jinja"
    file.write_text(text, encoding="utf-8")
    return Prompt(file, n_examples)


def test_a_dialogue_stands_at_the_end_in_the_paper_s_form():
    turn = Turn("Examine the solid red circle.", None, ground("I examined the solid red circle."))
    text = Prompt(DEFAULT, 2).render(dialogue().add(turn))
    assert text.endswith(
        f"\n\nTask: {dialogue().task}\nPlanner: Examine the solid red circle.\n"
        "Reporter: I examined the solid red circle.\nPlanner:"
    )


@pytest.mark.parametrize("n", [0, 1, 5, 13])
def test_as_many_examples_as_asked_for(n):
    text = Prompt(DEFAULT, n).render(dialogue())
    assert text.count("Task: ") == n + 1
    assert "\n\n\n" not in text and text == text.strip()


def test_the_first_examples_are_dropped_first():
    whole = Prompt(DEFAULT, 4)
    examples = whole.render(dialogue()).split("\n\n")
    assert whole.render(dialogue(), dropped=3).split("\n\n") == examples[3:]


def test_the_examples_are_dialogues_of_the_grammar_about_no_items_of_any_world():
    text = Prompt(DEFAULT, 99).render(Dialogue("", VERBS))
    # Keys and doors, but of colours that no world has.
    assert {i.colour for i in find_items(text)} == {None}
    assert {i.shape for i in find_items(text)} == {"door", "key"}
    assert not re.search(r"(?<!orange )\b(door|key)\b", text)
    said = [line for line in text.splitlines() if line.startswith("Planner: ")]
    assert len(said) > 20
    for line in said:
        words = line.removeprefix("Planner: ")
        assert words.lower().startswith(VERBS) and words.endswith(".")
        with pytest.raises(BadInput):
            Command.parse(words)


def test_chat_lists_the_candidates():
    text = Prompt(CHAT, 0).render(dialogue())
    assert all(f"- {c.sentence()}\n" in text for c in dialogue().candidates())


@given(report=st.text(), task=st.text())
def test_no_text_can_pretend_to_be_another_turn(report, task):
    d = Dialogue(task, VERBS).add(Turn(report, None, Report(report)))
    text = NO_EXAMPLES.render(d)
    assert text.startswith("Task:")
    assert text.count("\n") == 3
    assert text.split("\n")[-1] == "Planner:"


def test_an_example_item_that_a_world_could_hold_is_named(tmp_path):
    with pytest.raises(BadInput, match="'striped blue cross', which could occur"):
        prompt(tmp_path, "Examine the striped blue cross.\n" + MINIMAL)
    with pytest.raises(BadInput, match="'red ball'"):
        prompt(tmp_path, MINIMAL.replace("P: {{", "the red ball: {{"))
    with pytest.raises(BadInput, match="'door'"):
        prompt(tmp_path, "Open the teal door.\n" + MINIMAL)
    with pytest.raises(BadInput, match="'red key'"):
        prompt(tmp_path, "The orange red key.\n" + MINIMAL)
    prompt(tmp_path, "Open the orange door with the Pink Key.\n" + MINIMAL)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{% for %}", "no Jinja file"),
        ("{{ tsak }}", "cannot be filled in: 'tsak' is undefined"),
        ("{{ 1 / 0 }}", "cannot be filled in"),
        ("{{ ''.__class__.__mro__ }}", "cannot be filled in"),
        ("{{ turns.append(1) }}", "cannot be filled in"),
        ("{% include '/etc/passwd' %}", "cannot be filled in"),
        ("no task", "leaves the task out"),
        ("{{ task }}", "leaves the said out"),
        (MINIMAL.replace("{{ t.report }}", ""), "leaves the report out"),
    ],
)
def test_a_bad_prompt_file_is_one_sentence(tmp_path, text, why):
    with pytest.raises(BadInput, match=why) as caught:
        prompt(tmp_path, text)
    assert "own.jinja" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_prompt_file_is_one_sentence(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.jinja' cannot be read: No such file"):
        Prompt(tmp_path / "nowhere.jinja", 1)
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="cannot be read"):
        Prompt(tmp_path / "b", 1)
