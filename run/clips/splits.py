"""The splits of clips: who does what, in which rooms, filmed by which cameras, in whose words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from envs import make_worlds
from envs.attributes import FLOOR
from envs.batched.cameras import Camera, Look
from envs.batched.cells import FIRST_ITEM
from envs.batched.kernels import step_x, step_y
from envs.batched.worlds import BatchedWorlds, item_of_code, mark_of_code
from envs.commands import Command
from envs.conditional import walls_beside
from envs.items import Item, with_article
from envs.trajectory import evenly
from rewards.success_vqa.clips import (
    Clip,
    ClipEvent,
    ClipOutcome,
    FrameAnnotation,
    QuestionAnswer,
)
from rewards.success_vqa.questions import ItemEvent, QuestionSpec, QuestionTemplates
from run.clips.behaviours import OTHER, TRAINING, BehaviourPhase, RecordedRollout, record_rollouts
from run.clips.questions import draw_questions, question_answer

FIRST_SEED = 1_500_000_000
SPLIT_SEEDS = 100_000_000
BATCH = 256


@dataclass(frozen=True)
class ClipSplit:
    """What a split's clips are like: behaviours, language, items, cameras and looks."""

    behaviours: str = "training"
    language: str = "train"
    items: str = "train"
    camera: str = "training"
    look: str = "training"
    clutter: tuple[int, ...] = (0,)


SPLITS: Mapping[str, ClipSplit] = {
    "train": ClipSplit(),
    "validation": ClipSplit(language="validation"),
    "test1": ClipSplit(),
    "test2": ClipSplit(behaviours="other"),
    "test3": ClipSplit(language="test", items="held-out"),
    "test4": ClipSplit(camera="above"),
    "test5": ClipSplit(look="test", clutter=(2, 4)),
    "test6": ClipSplit(behaviours="order"),
}
# What training never had, by name.
TEST_LOOKS: Mapping[str, Look] = {
    "dusk": Look(gain=(0.55, 0.6, 0.85), light=(0.0, 5.0, 40.0)),
    "washed out": Look(gain=(0.75, 0.75, 0.75), light=(60.0, 60.0, 60.0), fade=0.25),
    "lamp": Look(gain=(1.1, 0.95, 0.6), light=(35.0, 20.0, 0.0)),
    "grainy": Look(noise=24.0),
    "faded": Look(fade=0.45),
}


def first_seed(split: str, seed: int) -> int:
    """The seed of a split's first world; the others follow."""
    return FIRST_SEED + SPLIT_SEEDS * list(SPLITS).index(split) + 1_000_000 * seed


def film_split(split: str, n: int, seed: int, words: QuestionTemplates) -> Iterator[Clip]:
    """``n`` clips of a split, with as many yes as no of each kind of question.

    Args:
        split: one of ``SPLITS``.
        n: how many clips.
        seed: of worlds and of all draws.
        words: the sentences of questions.
    """
    settings = SPLITS[split]
    place = list(SPLITS).index(split)
    first = first_seed(split, seed)
    rng = np.random.default_rng([seed, place, 11])
    n_clips, batch = 0, 0
    n_worlds = min(BATCH, max(32, 2 * n))  # that are played together
    surplus: dict[str, int] = {}  # of yes, by kind
    while n_clips < n:
        size = int(rng.integers(6, 11))
        room = {
            "room_size": size,
            "n_items": int(rng.integers(3, 5 if size == 6 else 7)),
            "alike": 0.5,
            "items": settings.items,
            "clutter": int(settings.clutter[rng.integers(len(settings.clutter))]),
            "max_steps": 10_000,
        }
        worlds = make_worlds("playground", n_worlds, batched=True, **room)
        assert isinstance(worlds, BatchedWorlds)
        seeds = range(first + batch * n_worlds, first + (batch + 1) * n_worlds)
        batch += 1
        if settings.behaviours == "order":
            clips = _in_both_orders(worlds, seeds, words, settings, rng)
        else:
            table = TRAINING if settings.behaviours == "training" else OTHER
            names = [list(table)[rng.integers(len(table))] for _ in seeds]
            rollouts = record_rollouts(worlds, seeds, [table[name] for name in names])
            clips = (
                clip
                for name, rollout in zip(names, rollouts, strict=True)
                if (clip := _clip_of(rollout, name, words, settings, rng)) is not None
            )
        for clip in clips:
            kept = []
            for question in clip.questions:
                # Whatever there is too much of is left out as soon as it shows.
                balance = surplus.get(question.kind, 0) + (1 if question.answer else -1)
                if abs(balance) > 4:
                    continue
                surplus[question.kind] = balance
                kept.append(question)
            if kept:
                n_clips += 1
                yield replace(clip, questions=tuple(kept))
            if n_clips == n:
                break


def _clip_of(
    rollout: RecordedRollout,
    behaviour: str,
    words: QuestionTemplates,
    settings: ClipSplit,
    rng: np.random.Generator,
) -> Clip | None:
    """A clip of a rollout; None where nothing can be asked about it."""
    last = rollout.trajectory.n_steps
    if last < 1:
        return None
    end = last if rng.random() < 0.75 else int(rng.integers(max(1, last // 2), last + 1))
    span = int(rng.choice([7, 14, 21, 28, 1000]))
    start = max(0, end - span)
    questions = draw_questions(rollout, start, end, words, settings.language, rng)
    if not questions:
        return None
    return _shoot(rollout, start, end, questions, behaviour, settings, rng)


def _shoot(
    rollout: RecordedRollout,
    start: int,
    end: int,
    questions: Sequence[QuestionAnswer],
    behaviour: str,
    settings: ClipSplit,
    rng: np.random.Generator,
    camera: Camera | None = None,
) -> Clip:
    """The clip of a rollout from one step to another, by a camera that is drawn if none is
    given."""
    steps = evenly(start, end)
    camera = camera or draw_camera(settings.camera, rng)
    name, look = draw_look(settings.look, rng)
    outcome = clip_outcome(rollout, start, end)
    return Clip(
        look.apply(rollout.trajectory.frames(steps, camera), rng),
        tuple(questions),
        caption(outcome, {str(item): mark for item, mark in rollout.marks.items()}),
        annotate(rollout, steps, camera),
        steps,
        behaviour,
        f"{camera.kind} {camera.tile_size}",
        name,
        rollout.seed,
        outcome,
    )


def draw_camera(kind: str, rng: np.random.Generator) -> Camera:
    """A camera of training's: the agent's own view in half of the cases, otherwise a window from
    above that never shows a whole room; or the whole room from above."""
    tile = int(rng.choice([8, 8, 8, 7, 9]))
    if kind == "above":
        return Camera("above", 8)
    if rng.random() < 0.5:
        return Camera("view", tile)
    size = int(rng.integers(5, 8))
    offset = (int(rng.integers(-1, 2)), int(rng.integers(-1, 2)))
    kind = ("follow", "scroll", "scroll")[rng.integers(3)]
    return Camera(kind, tile, size, offset, bool(rng.random() < 0.6))


def draw_look(kind: str, rng: np.random.Generator) -> tuple[str, Look]:
    """A look by its name: plain or changed a little in training, one of its own in a test."""
    if kind == "test":
        name = list(TEST_LOOKS)[rng.integers(len(TEST_LOOKS))]
        return name, TEST_LOOKS[name]
    if rng.random() < 0.4:
        return "plain", Look()
    gain = tuple(float(g) for g in rng.uniform(0.7, 1.15, 3))
    light = tuple(float(x) for x in rng.uniform(0, 30) * rng.uniform(0, 1, 3))
    fade, noise = float(rng.uniform(0, 0.25)), float(rng.choice([0, 0, 6, 12]))
    return "changed", Look(gain, light, fade, noise)  # type: ignore[arg-type]


def clip_outcome(rollout: RecordedRollout, start: int, end: int) -> ClipOutcome:
    """What was done in a clip.

    Args:
        rollout: The rollout that the clip shows.
        start: The step of its first frame.
        end: The step of its last frame.
    """
    truth = rollout.between(start, end)
    return ClipOutcome(
        tuple(ClipEvent(event.verb, str(event.item), step) for step, event in truth.events),
        _name(truth.faced),
        _name(truth.held),
    )


def _name(item: Item | None) -> str:
    return "" if item is None else str(item)


def caption(outcome: ClipOutcome, marks: Mapping[str, str]) -> str:
    """A sentence that says what happened; ``marks`` are those that examining shows, by item."""
    parts = []
    for event in outcome.recent_events():
        if event.verb == "examine":
            mark = with_article(marks[event.item])
            parts.append(f"examined the {event.item}, which shows {mark} mark")
        else:
            parts.append(f"picked up the {event.item}")
    parts = parts or ["did nothing"]
    if outcome.held:
        parts.append(f"holds the {outcome.held}")
    if outcome.faced:
        parts.append(f"stands before the {outcome.faced}")
    return f"The agent {', then '.join(parts)}."


def annotate(
    rollout: RecordedRollout, steps: Sequence[int], camera: Camera
) -> tuple[FrameAnnotation, ...]:
    """What frames show, as data.

    Args:
        rollout: The rollout.
        steps: The step of each frame.
        camera: The camera that takes the frames.
    """
    annotations = []
    states = rollout.trajectory.at(steps)
    places = camera.agent_pixels(states)
    for step, codes, agent, front in zip(steps, camera.codes(states), *places, strict=True):
        in_sight = {item_of_code(c): c for c in codes if c & 31 >= FIRST_ITEM}
        faced = rollout.faced[step]
        sides = 0 if faced is None else _walls_before(rollout, step)
        annotations.append(
            FrameAnnotation(
                faced=_name(faced),
                mark=mark_of_code(in_sight[faced]) if faced in in_sight else "",
                held=_name(rollout.held[step]),
                in_sight=tuple(sorted(map(str, in_sight))),
                beside_wall=sides > 0,
                in_corner=sides == 2,
                floor="" if faced is None else _floor(rollout, step, faced),
                agent=tuple(map(int, agent)),
                front=tuple(map(int, front)),
            )
        )
    return tuple(annotations)


def _walls_before(rollout: RecordedRollout, step: int) -> int:
    """How many walls the cell before the agent is beside."""
    x, y, direction = map(int, rollout.trajectory.poses[step])
    cell = (x + step_x(direction), y + step_y(direction))
    assert rollout.trajectory.grids is not None
    return walls_beside(cell, rollout.trajectory.grids.shape[2])


def _floor(rollout: RecordedRollout, step: int, item: Item) -> str:
    """The colour of the floor under an item at a step; "" where there is none, as wherever an item
    is put down again."""
    if any(s <= step and e == ItemEvent("pick up", item) for s, e in rollout.events):
        return ""
    floors = [a.value for a in rollout.attributes.get(item, ()) if a.predicate == FLOOR]
    return floors[0] if floors else ""


def _two_deeds(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    """Examining an item, then examining or picking up another."""
    a, b = (items[k] for k in rng.choice(len(items), 2, replace=False))
    verb = ("examine", "pick up")[rng.integers(2)]
    who = ("scripted", "learned")[rng.integers(2)]
    return [BehaviourPhase(who, Command("examine", a)), BehaviourPhase(who, Command(verb, b))]


def _in_both_orders(
    worlds: BatchedWorlds,
    seeds: Sequence[int],
    words: QuestionTemplates,
    settings: ClipSplit,
    rng: np.random.Generator,
) -> Iterator[Clip]:
    """Pairs of clips with one question and both answers.

    Two thirds show one world in which two things are done in one order and in the other; the
    others one clip and the same frames backwards, where what was picked up is put back.
    """
    rollouts = record_rollouts(worlds, seeds, [_two_deeds] * len(seeds))
    turned = record_rollouts(
        worlds, seeds, [lambda items, rng: _two_deeds(items, rng)[::-1]] * len(seeds)
    )
    for k, (rollout, other) in enumerate(zip(rollouts, turned, strict=True)):
        first, second = (ItemEvent(p.command.verb, p.command.item) for p in rollout.phases)
        camera = draw_camera(settings.camera, rng)
        if k % 3:
            spec = QuestionSpec((first, second))
            text = words.put(spec, settings.language, rng)
            pair = []
            for played in (rollout, other):
                end = played.trajectory.n_steps
                truth = played.between(0, end)
                question = question_answer(spec, text, truth.answer(spec))
                both = {first, second} <= {event for _, event in truth.events}
                if both and end > 0:
                    pair.append(
                        _shoot(played, 0, end, [question], "in order", settings, rng, camera)
                    )
            answers = {clip.questions[0].answer for clip in pair}
            if len(pair) == 2 and len(answers) == 2:
                yield from pair
            continue
        end = next((step for step, event in rollout.events if event == second), 0)
        start = max(0, end - 14)
        spec = QuestionSpec(
            (second if second.verb == "pick up" else ItemEvent("go to", second.item),)
        )
        truth = rollout.between(start, end)
        if end - start < 4 or truth.answer(spec) is None:
            continue
        if rollout.faced[start] == second.item:
            continue
        text = words.put(spec, settings.language, rng)
        yes, no = question_answer(spec, text, end), question_answer(spec, text, None)
        clip = _shoot(rollout, start, end, [yes], "forwards", settings, rng, camera)
        yield clip
        # Nothing is known of what was done in a clip that runs backwards.
        yield replace(
            clip,
            frames=clip.frames[::-1].copy(),
            questions=(no,),
            caption="",
            outcome=None,
            annotations=clip.annotations[::-1],
            steps=clip.steps[::-1],
            behaviour="backwards",
        )
