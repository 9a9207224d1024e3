"""Questions about clips: near misses beside what was done, with their true answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from envs.attributes import BESIDE_WALL, FLOOR, IN_CORNER, MARK, Attribute
from envs.items import COLOURS, Item
from envs.room import one_of
from rewards.success_vqa.clips import ClipEvent, QuestionAnswer, QuestionSubject
from rewards.success_vqa.questions import (
    VERBS,
    ClipGroundTruth,
    ConditionalSpec,
    ItemEvent,
    QuestionSpec,
    QuestionTemplates,
    one_word_off,
)
from run.clips.behaviours import RecordedRollout


@dataclass
class _Candidates:
    """Questions that could be asked of a clip: by kind those with the answer yes, and by kind and
    by way of construction those with the answer no."""

    truth: ClipGroundTruth
    true: dict[str, list[QuestionSpec]] = field(default_factory=dict)
    false: dict[str, dict[str, list[QuestionSpec]]] = field(default_factory=dict)

    def add(self, spec: QuestionSpec, way: str) -> None:
        if self.truth.answer(spec) is None:
            specs = self.false.setdefault(spec.kind, {}).setdefault(way, [])
        else:
            specs = self.true.setdefault(spec.kind, [])
        if spec not in specs:
            specs.append(spec)

    def draw(self, n: int, rng: np.random.Generator) -> Iterator[QuestionSpec]:
        """``n`` true ones and as many false ones, or one false one where nothing is true.

        A kind is drawn first, then a way of construction, then a question, so that what is rare
        gets its share.
        """
        kinds = list(self.true)
        for k in rng.permutation(len(kinds))[:n]:
            yield one_of(rng, self.true[kinds[k]])
        kinds = list(self.false)
        for k in rng.permutation(len(kinds))[: min(n, max(1, len(self.true)))]:
            ways = list(self.false[kinds[k]].values())
            yield one_of(rng, ways[int(rng.integers(len(ways)))])


def draw_questions(
    rollout: RecordedRollout,
    start: int,
    end: int,
    words: QuestionTemplates,
    language: str,
    rng: np.random.Generator,
) -> list[QuestionAnswer]:
    """True and false questions about a clip, up to three of each.

    The false ones are near misses: something else was done to the item, the item differs in one
    word, another item of the room is meant, most likely the one of the command, or two things were
    done in the other order.

    Args:
        rollout: what was filmed.
        start: step of the clip's first frame.
        end: step of its last frame.
        words: the sentences of questions.
        language: which split of these sentences to use.
        rng: draws the questions.
    """
    truth = rollout.between(start, end)
    candidates = _Candidates(truth)

    def add(way: str, *events: ItemEvent) -> None:
        candidates.add(QuestionSpec(events), way)

    done = [event for _, event in truth.events]
    if truth.faced is not None:
        done.append(ItemEvent("go to", truth.faced))
    done = list(dict.fromkeys(done))
    for event in done:
        for verb in VERBS:
            add("verb", ItemEvent(verb, event.item))
        for _ in range(2):
            add("word", ItemEvent(event.verb, one_word_off(event.item, rng)))
        add("item", ItemEvent(event.verb, one_of(rng, rollout.items)))
        for former in dict.fromkeys(other for _, other in truth.events):
            if former == event:
                continue
            add("order", former, event)
            if event.verb != "go to":
                add("order", event, former)
            add("word", former, replace(event, item=one_word_off(event.item, rng)))
            add("word", replace(former, item=one_word_off(former.item, rng)), event)
            for verb in VERBS[1:]:
                add("verb", replace(former, verb=verb), event)
                add("verb", former, replace(event, verb=verb))
    command = rollout.phases[-1].command
    add("item", ItemEvent(command.verb, command.item))
    for verb in VERBS:
        add("item", ItemEvent(verb, one_of(rng, rollout.items)))
    for decider in dict.fromkeys(event.item for event in done if event.verb == "examine"):
        for _ in range(3):
            conditional = _draw_conditional(rollout, decider, truth.held, rng)
            if conditional is not None:
                candidates.add(QuestionSpec(conditional=conditional), "branch")
    return [
        question_answer(spec, words.put(spec, language, rng), truth.answer(spec))
        for spec in candidates.draw(int(rng.integers(2, 4)), rng)
    ]


def question_answer(spec: QuestionSpec, text: str, success_step: int | None) -> QuestionAnswer:
    """A question with its answer.

    Args:
        spec: what is asked.
        text: the same in words.
        success_step: the step at which it was done; None where it was not, and the answer is no.
    """
    subject = _subject_of(spec, text)
    if success_step is None:
        return QuestionAnswer(text, spec.kind, False, subject=subject)
    return QuestionAnswer(text, spec.kind, True, success_step, subject)


def _subject_of(spec: QuestionSpec, text: str) -> QuestionSubject:
    """What is asked as data; ``text`` gives the order in which items are named."""
    task = spec.conditional
    if task is None:
        events, decider, condition = spec.events, None, None
    else:
        events = (ItemEvent("pick up", task.yes), ItemEvent("pick up", task.no))
        decider, condition = task.decider, task.condition
    items = {str(event.item) for event in events} | ({str(decider)} if decider else set())
    return QuestionSubject(
        tuple(sorted(items, key=text.index)),
        tuple(ClipEvent(event.verb, str(event.item)) for event in events),
        str(decider) if decider else "",
        condition,
    )


def _draw_conditional(
    rollout: RecordedRollout, decider: Item, held: Item | None, rng: np.random.Generator
) -> ConditionalSpec | None:
    """A conditional task about the held item and another, or about two items where none is held;
    None where there are too few."""
    others = [i for i in rollout.items if i not in (decider, held)]
    rng.shuffle(others)
    two = [held, *others][:2] if held else others[:2]
    if len(two) < 2 or held == decider:
        return None
    yes, no = two if rng.random() < 0.5 else two[::-1]
    return ConditionalSpec(decider, _draw_condition(rollout, decider, rng), yes, no)


def _draw_condition(rollout: RecordedRollout, decider: Item, rng: np.random.Generator) -> Attribute:
    """A condition that may hold of the decider or not."""
    conditions = [Attribute(BESIDE_WALL), Attribute(IN_CORNER), Attribute(MARK, "white")]
    floors = [a for a in rollout.attributes[decider] if a.predicate == FLOOR]
    conditions += floors
    if floors:
        conditions.append(Attribute(FLOOR, COLOURS[rng.integers(len(COLOURS))]))
    return one_of(rng, conditions)
