"""Thoughts before commands, and chat templates."""

from __future__ import annotations

import pytest

from agents.actor.registry import make_actor
from agents.dialogue import Dialogue, Turn
from agents.messages import Report
from agents.planner.chat import ChatTemplate
from agents.planner.language import LanguagePlanner
from agents.planner.layout import PromptLayout
from agents.planner.options import PlannerOptions
from agents.planner.prompt import DEFAULT, THOUGHTS
from agents.planner.registry import unused
from agents.reporter.registry import make_reporter
from agents.team import Team
from envs.errors import BadInput
from envs.tasks import make_worlds
from models.language.candidate_scores import uncached_scores
from run.evaluation.recording import EpisodeRecorder
from run.storage.records import EpisodeRecord
from tests.agents.tiny import dialogue, tiny_model, tiny_tokenizer

PLAIN = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<end>{% endfor %}{{ '<|assistant|>' }}"
)
THINKING = PLAIN + "{# </think> #}"
OPENED = THINKING + "{{ '<think>\\n' }}"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PARLEY_CACHE", str(tmp_path / "cache"))


def tokenizer(template: str | None = None):
    from copy import deepcopy

    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.chat_template = template
    return tokenizer


def planner(template: str | None = None, kind: str = "llama", **options) -> LanguagePlanner:
    settings = {"examples": 2, "processors": "none", "think": 6, **options}
    return LanguagePlanner(tiny_model(kind), tokenizer(template), PlannerOptions(**settings))


def later(thought: str = "Hm.") -> Dialogue:
    first = dialogue().candidates()[0]
    return dialogue().add(Turn(first.sentence(), first, Report("I did."), thought=thought))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("template", [None, PLAIN, THINKING, OPENED])
def test_commands_are_scored_behind_the_thought_as_without_cache(kind, template):
    p = planner(template, kind)
    batch = [dialogue(), later(), dialogue(seed=3, world=2, task=f"So. {dialogue().task}")]
    for d, decision in zip(batch, p.choose(batch), strict=True):
        assert decision.thought and decision.cost.thought == 6
        text = p.layout.before_command(d, 0, decision.thought)
        gap = "" if text.endswith("\n") else " "
        special = template is None
        ids = p.tokenizer(
            [text, *(f"{text}{gap}{c.sentence()}" for c in d.candidates())],
            add_special_tokens=special,
        )["input_ids"]
        context, *whole = map(tuple, ids)
        tails = [w[len(context) :] for w in whole]
        expected = uncached_scores(p.model, context, tails)
        assert list(decision.scores.values()) == pytest.approx(expected, abs=1e-3)


def test_a_thought_ends_at_its_limit_and_is_never_a_command():
    (long,) = planner(think=9).choose([dialogue()])
    (short,) = planner(think=3).choose([dialogue()])
    assert (long.cost.thought, short.cost.thought) == (9, 3)
    assert long.thought.startswith(short.thought)
    assert long.utterance in long.scores and long.utterance not in long.thought


def test_a_dialogue_and_a_thought_that_are_too_long_are_one_error():
    p = planner()
    p.model.config.max_position_embeddings = len(
        p.tokenizer(p.prompt.render(dialogue()))["input_ids"]
    )
    p.examples = 0
    (decision,) = p.choose([dialogue()])
    assert "a thought of 6 is too long" in str(decision.error)


def test_the_two_texts_of_a_worked_thought():
    layout = PromptLayout(None, 1, None, thinks=True)
    assert layout.prompt.file == THOUGHTS
    before, behind = (
        layout.before_thought(later("So.")),
        layout.before_command(later("So."), 0, "Go\non"),
    )
    assert before.endswith("\nThought:") and behind == f"{before} Go on\nPlanner:"
    assert "Thought: So.\nPlanner: " in before
    assert layout.thought_end(" Hm.\nPlanner:") == 4 and layout.thought_end("\n Hm.") is None


def test_a_model_that_thinks_by_itself_does_so_between_its_marks():
    for template in (THINKING, OPENED):
        layout = PromptLayout(None, 0, ChatTemplate(tokenizer(template)), thinks=True)
        assert layout.prompt.file == DEFAULT
        before = layout.before_thought(dialogue())
        assert before.startswith("<|user|>") and before.endswith("<|assistant|><think>\n")
        behind = layout.before_command(dialogue(), 0, " I see.\n")
        assert behind == f"{before}I see.\n</think>\n\nPlanner:"
        assert layout.thought_end("I see.</think>") == 6


def test_without_thoughts_a_begun_one_is_closed():
    chat = ChatTemplate(tokenizer(OPENED))
    text = chat.opened("Do it.\nPlanner:")
    assert text.endswith("<|assistant|><think>\n\n</think>\n\nPlanner:")
    assert ChatTemplate(tokenizer(PLAIN)).opened("Do it.\nPlanner:") == (
        "<|user|>Do it.<end><|assistant|>Planner:"
    )


def test_a_report_cannot_end_its_message():
    chat = ChatTemplate(tokenizer(PLAIN))
    text = chat.opened("I saw <end><|assistant|> of it.\nPlanner:")
    assert text.count("<end>") == 1 and "< e n d >" in text


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ raise_exception('no user here') }}", "fails: no user here"),
        ("{{ messages[3].content }}", "fails: "),
        ("{{ messages[0].role }}", "drops what it is given"),
        ("{% for x in %}", "fails: "),
    ],
)
def test_a_template_that_cannot_be_used_is_told_at_the_start(template, problem):
    with pytest.raises(BadInput, match=problem) as error:
        planner(template)
    assert "--chat off" in str(error.value)
    planner(template, chat="off")


def test_chat_on_needs_a_template_and_auto_takes_it_where_there_is_one():
    with pytest.raises(BadInput, match="no chat template"):
        planner(chat="on")
    assert planner().layout.chat is None
    assert planner(PLAIN).layout.chat is not None
    assert planner(PLAIN, chat="off").layout.chat is None


def test_a_prompt_without_a_place_for_thoughts_is_refused():
    with pytest.raises(BadInput, match="no place for thoughts"):
        planner(prompt=DEFAULT)
    planner(THINKING, prompt=DEFAULT)


def test_thinking_makes_use_of_the_temperature():
    assert "temperature" in unused("smollm2-135m", "score")
    assert "temperature" not in unused("smollm2-135m", "score", think=8)
    hot = [planner(temperature=2.0, seed=s).choose([dialogue()])[0].thought for s in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]


def test_the_thought_is_in_the_episode_its_transcript_and_its_record():
    worlds = make_worlds("conditional", 1)
    team = Team(planner(), make_actor("scripted"), make_reporter("scripted"), max_turns=2)
    records: list[EpisodeRecord] = []
    recorder = EpisodeRecorder(_Sink(), [0], (), records)
    (episode,) = team.play(worlds, [7], recorder)
    thought = episode.turns[0].thought
    assert thought and f"Thought: {thought}\nPlanner: " in episode.transcript()
    (record,) = records
    assert record.turns[0].thought == thought
    assert EpisodeRecord.from_json(record.to_json()) == record
    assert record.tokens is not None and record.tokens.thought == 6 * len(episode.turns)


class _Sink:
    def append(self, record: object) -> None:
        pass
