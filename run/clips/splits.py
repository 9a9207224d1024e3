"""The splits of clips: who does what, in which rooms, filmed by which cameras, in whose words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs import make_worlds
from envs.batched.cameras import Camera, Look
from envs.batched.cells import FIRST_ITEM
from envs.batched.kernels import step_x, step_y
from envs.batched.worlds import BatchedWorlds, item_of_code, mark_of_code
from envs.commands import Command
from envs.conditional import PHRASES, walls_beside
from envs.items import Item, with_article
from models.vision.encoder import evenly
from rewards.success_vqa.clips import Clip, FrameAnnotation, QuestionAnswer
from rewards.success_vqa.questions import ItemEvent, QuestionSpec, QuestionTemplates
from run.clips.behaviours import OTHER, TRAINING, BehaviourPhase, FilmedRollout, film
from run.clips.questions import ask

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
TEST_LOOKS: Mapping[str, dict[str, Any]] = {
    "dusk": {"gain": (0.55, 0.6, 0.85), "light": (0.0, 5.0, 40.0)},
    "washed out": {"gain": (0.75, 0.75, 0.75), "light": (60.0, 60.0, 60.0), "fade": 0.25},
    "lamp": {"gain": (1.1, 0.95, 0.6), "light": (35.0, 20.0, 0.0)},
    "grainy": {"noise": 24.0},
    "faded": {"fade": 0.45},
}


def first_seed(split: str, seed: int) -> int:
    """The seed of a split's first world; the others follow."""
    return FIRST_SEED + SPLIT_SEEDS * list(SPLITS).index(split) + 1_000_000 * seed


def film_split(split: str, n: int, seed: int, words: QuestionTemplates) -> Iterator[Clip]:
    """``n`` clips of a split, of each kind of question as many yes as no."""
    about = SPLITS[split]
    place = list(SPLITS).index(split)
    first = first_seed(split, seed)
    rng = np.random.default_rng([seed, place, 11])
    made, batch = 0, 0
    many = min(BATCH, max(32, 2 * n))  # worlds that are played together
    surplus: dict[str, int] = {}  # of yes, by kind
    while made < n:
        size = int(rng.integers(6, 11))
        settings = {
            "room_size": size,
            "n_items": int(rng.integers(3, 5 if size == 6 else 7)),
            "alike": 0.5,
            "items": about.items,
            "clutter": int(about.clutter[rng.integers(len(about.clutter))]),
            "max_steps": 10_000,
        }
        worlds = make_worlds("playground", many, batched=True, **settings)
        assert isinstance(worlds, BatchedWorlds)
        seeds = range(first + batch * many, first + (batch + 1) * many)
        batch += 1
        if about.behaviours == "order":
            clips = _in_both_orders(worlds, seeds, words, about, rng)
        else:
            table = TRAINING if about.behaviours == "training" else OTHER
            names = [list(table)[rng.integers(len(table))] for _ in seeds]
            reels = film(worlds, seeds, [table[name] for name in names])
            clips = (
                clip
                for name, reel in zip(names, reels, strict=True)
                if (clip := _clip_of(reel, name, words, about, rng)) is not None
            )
        for clip in clips:
            kept = []
            for asked in clip.asked:
                # Whatever there is too much of is left out as soon as it shows.
                more = surplus.get(asked.kind, 0) + (1 if asked.answer else -1)
                if abs(more) > 4:
                    continue
                surplus[asked.kind] = more
                kept.append(asked)
            if kept:
                made += 1
                yield replace(clip, asked=tuple(kept))
            if made == n:
                break


def _clip_of(
    reel: FilmedRollout,
    behaviour: str,
    words: QuestionTemplates,
    about: ClipSplit,
    rng: np.random.Generator,
) -> Clip | None:
    """A clip of a reel; None where nothing can be asked of it."""
    last = len(reel.take) - 1
    if last < 1:
        return None
    end = last if rng.random() < 0.75 else int(rng.integers(max(1, last // 2), last + 1))
    span = int(rng.choice([7, 14, 21, 28, 1000]))
    start = max(0, end - span)
    asked = ask(reel, start, end, words, about.language, rng)
    return _shoot(reel, start, end, asked, behaviour, about, rng) if asked else None


def _shoot(
    reel: FilmedRollout,
    start: int,
    end: int,
    asked: Sequence[QuestionAnswer],
    behaviour: str,
    about: ClipSplit,
    rng: np.random.Generator,
    camera: Camera | None = None,
) -> Clip:
    steps = evenly(start, end)
    camera = camera or draw_camera(about.camera, rng)
    name, look = draw_look(about.look, rng)
    return Clip(
        look.apply(camera.film(reel.take.at(steps)), rng),
        tuple(asked),
        caption(reel, start, end),
        notes(reel, steps, camera),
        steps,
        behaviour,
        f"{camera.kind} {camera.tile_size}",
        name,
        reel.seed,
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
        return name, Look(**TEST_LOOKS[name])
    if rng.random() < 0.4:
        return "plain", Look()
    gain = tuple(float(g) for g in rng.uniform(0.7, 1.15, 3))
    light = tuple(float(x) for x in rng.uniform(0, 30) * rng.uniform(0, 1, 3))
    fade, noise = float(rng.uniform(0, 0.25)), float(rng.choice([0, 0, 6, 12]))
    return "changed", Look(gain, light, fade, noise)  # type: ignore[arg-type]


def caption(reel: FilmedRollout, start: int, end: int) -> str:
    """A sentence that says what happened from one step to another."""
    happened = reel.between(start, end)
    parts: list[str] = []
    for _, deed in happened.deeds:
        if deed.verb == "examine":
            parts.append(
                f"examined the {deed.item}, which shows {with_article(reel.marks[deed.item])} mark"
            )
        else:
            parts.append(f"picked up the {deed.item}")
    parts = [p for k, p in enumerate(parts) if k == 0 or p != parts[k - 1]][-4:]
    parts = parts or ["did nothing"]
    if happened.carried is not None:
        parts.append(f"holds the {happened.carried}")
    if happened.facing is not None:
        parts.append(f"stands before the {happened.facing}")
    return f"The agent {', then '.join(parts)}."


def notes(reel: FilmedRollout, steps: Sequence[int], camera: Camera) -> tuple[FrameAnnotation, ...]:
    """What the frames at these steps show, in words."""
    found = []
    take = reel.take.at(steps)
    places = camera.places(take)
    for step, codes, agent, front in zip(steps, camera.shown(take), *places, strict=True):
        items = {item_of_code(c): c for c in codes if c & 31 >= FIRST_ITEM}
        faces, holds = reel.facing[step], reel.carried[step]
        found.append(
            FrameAnnotation(
                "" if faces is None else str(faces),
                "" if faces not in items else mark_of_code(items[faces]),
                "" if holds is None else str(holds),
                tuple(sorted(map(str, items))),
                () if faces is None else _where(reel, step, faces),
                tuple(map(int, agent)),
                tuple(map(int, front)),
            )
        )
    return tuple(found)


def _where(reel: FilmedRollout, step: int, faces: Item) -> tuple[str, ...]:
    """What is true of the place of the item before the agent."""
    x, y, direction = map(int, reel.take.poses[step])
    at = (x + step_x(direction), y + step_y(direction))
    sides = walls_beside(at, reel.take.cells.shape[2])
    true = {PHRASES["wall"]: sides > 0, PHRASES["corner"]: sides == 2}
    found = [phrase for phrase, is_so in true.items() if is_so]
    if not any(s <= step and d == ItemEvent("pick up", faces) for s, d in reel.deeds):
        found += [p for p in reel.truths.get(faces, ()) if "floor" in p]
    return tuple(found)


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
    about: ClipSplit,
    rng: np.random.Generator,
) -> Iterator[Clip]:
    """Pairs of clips with one question and both answers.

    Two thirds show one world in which two things are done in one order and in the other; the
    others one clip and the same frames backwards, where what was picked up is put back.
    """
    reels = film(worlds, seeds, [_two_deeds] * len(seeds))
    turned = film(worlds, seeds, [lambda items, rng: _two_deeds(items, rng)[::-1]] * len(seeds))
    for k, (reel, other) in enumerate(zip(reels, turned, strict=True)):
        first, second = (ItemEvent(p.command.verb, p.command.item) for p in reel.phases)
        camera = draw_camera(about.camera, rng)
        if k % 3:
            query = QuestionSpec((first, second))
            text = words.put(query, about.language, rng)
            pair = []
            for r in (reel, other):
                end = len(r.take) - 1
                happened = r.between(0, end)
                step = happened.answer(query)
                both = {first, second} <= {d for _, d in happened.deeds}
                asked = QuestionAnswer(
                    text, query.kind, step is not None, -1 if step is None else step
                )
                if both and end > 0:
                    pair.append(_shoot(r, 0, end, [asked], "in order", about, rng, camera))
            answers = {c.asked[0].answer for c in pair}
            if len(pair) == 2 and len(answers) == 2:
                yield from pair
            continue
        end = next((s for s, d in reel.deeds if d == second), 0)
        start = max(0, end - 14)
        query = QuestionSpec(
            (second if second.verb == "pick up" else ItemEvent("go to", second.item),)
        )
        happened = reel.between(start, end)
        if end - start < 4 or happened.answer(query) is None:
            continue
        if reel.facing[start] == query.deeds[0].item:
            continue
        text = words.put(query, about.language, rng)
        yes = QuestionAnswer(text, query.kind, True, end)
        clip = _shoot(reel, start, end, [yes], "forwards", about, rng, camera)
        no = QuestionAnswer(text, query.kind, False)
        backwards = replace(
            clip, frames=clip.frames[::-1].copy(), asked=(no,), caption="", notes=clip.notes[::-1]
        )
        yield clip
        yield replace(backwards, steps=clip.steps[::-1], behaviour="backwards")
