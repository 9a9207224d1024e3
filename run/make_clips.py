"""``python -m run make-clips``: film episodes, ask true and false questions of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.batched.cells import FIRST_ITEM
from envs.errors import BadInput, unknown
from envs.room import one_of
from run.folder import RunFolder
from run.settings import to_json
from run.training import Bar

if TYPE_CHECKING:
    import numpy as np

    from envs.batched.cameras import Camera, Look
    from rewards.success_vqa.clips import Asked, Clip, Note
    from rewards.success_vqa.questions import Query, Wording
    from run.behaviours import Reel

FIRST_SEED = 1_500_000_000
SPLIT_SEEDS = 100_000_000
BATCH = 256


@dataclass(frozen=True)
class Split:
    """What a split's clips are like: behaviours, language, items, cameras and looks."""

    behaviours: str = "training"
    language: str = "train"
    items: str = "train"
    camera: str = "training"
    look: str = "training"
    clutter: tuple[int, ...] = (0,)
    share: float = 1.0


SPLITS: Mapping[str, Split] = {
    "train": Split(),
    "validation": Split(language="validation"),
    "test1": Split(),
    "test2": Split(behaviours="other"),
    "test3": Split(language="test", items="held-out"),
    "test4": Split(camera="above"),
    "test5": Split(look="test", clutter=(2, 4)),
    "test6": Split(behaviours="order"),
}
# What training never had, by name.
_TEST_LOOKS: Mapping[str, dict[str, Any]] = {
    "dusk": {"gain": (0.55, 0.6, 0.85), "light": (0.0, 5.0, 40.0)},
    "washed out": {"gain": (0.75, 0.75, 0.75), "light": (60.0, 60.0, 60.0), "fade": 0.25},
    "lamp": {"gain": (1.1, 0.95, 0.6), "light": (35.0, 20.0, 0.0)},
    "grainy": {"noise": 24.0},
    "faded": {"fade": 0.45},
}


@dataclass(frozen=True)
class MakeClips:
    """Film episodes and ask true and false questions of them: the data of the success detector.

    Agents play in rooms with nothing to achieve: the learned and the scripted Actor, one that
    wanders, ones that are interrupted, that undo what they did, that do two things in a row or the
    wrong one of two. From each rollout up to 8 frames are filmed by a camera, and questions are
    asked: half of the answers are yes, and what a false question asks nearly happened (one word is
    another, another item, the other order).

    Splits are disjoint by seed. test1 are unseen episodes, test2 behaviours, test3 words and items,
    test4 a camera (the whole room from above), test5 looks that training never had; test6 asks
    whether things were done in an order. The words of the questions are in
    rewards/success_vqa/questions.toml.

    The run folder has the data set in clips/: one Parquet file a split and a card.

    Examples:
      python -m run make-clips
      python -m run make-clips --clips 500 --test-clips 200 --splits train test1
      python -m run make-clips --out data/clips --seed 1
    """

    clips: int = 32000
    """Clips of training."""
    test_clips: int = 2400
    """Clips of every other split."""
    splits: tuple[str, ...] = tuple(SPLITS)
    """Splits to make."""
    questions: Path | None = None
    """Words of the questions, a file such as rewards/success_vqa/questions.toml."""
    seed: int = 0
    """Seed of everything."""
    out: Path | None = None
    """Folder for the data set, instead of clips/ in the run folder."""
    runs_dir: Path = Path("runs")
    """Where run folders are made."""
    name: str = "clips"
    """Name at the end of the run folder."""

    def __post_init__(self) -> None:
        for name in self.splits:
            if name not in SPLITS:
                raise unknown("split", name, SPLITS)
        for name, low in (("clips", 1), ("test_clips", 1), ("seed", 0)):
            if not getattr(self, name) >= low:
                raise BadInput(f"--{name.replace('_', '-')} must be at least {low}")


def make_clips(args: MakeClips) -> Path:
    """Make the data set; returns the run folder."""
    import time

    from rich.console import Console

    from rewards.success_vqa.clips import write_clips
    from rewards.success_vqa.questions import Wording, wording

    words = Wording(args.questions) if args.questions else wording()
    began = time.monotonic()
    console = Console(stderr=True)
    with RunFolder.new(args.runs_dir, "make-clips", args.name, to_json(args), True) as folder:
        out = args.out or folder.path / "clips"
        counts: dict[str, Any] = {}
        for split in args.splits:
            n = args.clips if split == "train" else args.test_clips
            with Bar(console, split, n, "clips") as bar:
                tally = _Tally(split, bar)
                clips = map(tally.count, film_split(split, n, args.seed, words))
                write_clips(out / "data" / f"{split}.parquet", clips)
            counts[split] = tally.to_json()
        (out / "README.md").write_text(_card(args, counts), encoding="utf-8")
        folder.write_json(
            "summary.json",
            {
                "command": "make-clips",
                "seed": args.seed,
                "n": sum(c["clips"] for c in counts.values()),
                "n_errors": 0,
                "seconds": round(time.monotonic() - began, 1),
                "data": str(out),
                "splits": counts,
            },
        )
    print(folder.path)
    return folder.path


@dataclass
class _Tally:
    """Counts a split's clips as they go by, and tells the progress bar."""

    split: str
    bar: Bar
    clips: int = 0
    yes: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def count(self, clip: Clip) -> Clip:
        self.clips += 1
        for asked in clip.asked:
            self.yes += asked.answer
            self.kinds[asked.kind] = self.kinds.get(asked.kind, 0) + 1
        self.bar.tell(self.split, self.clips)
        return clip

    def to_json(self) -> dict[str, Any]:
        questions = sum(self.kinds.values())
        return {
            "clips": self.clips,
            "questions": questions,
            "yes": round(self.yes / max(questions, 1), 4),
            "kinds": dict(sorted(self.kinds.items())),
        }


def film_split(split: str, n: int, seed: int, words: Wording) -> Iterator[Clip]:
    """``n`` clips of a split, as many yes as no."""
    import numpy as np

    from envs import make_worlds
    from envs.batched.worlds import BatchedWorlds
    from run.behaviours import OTHER, TRAINING, film

    about = SPLITS[split]
    place = list(SPLITS).index(split)
    first = FIRST_SEED + SPLIT_SEEDS * place + seed * 1_000_000
    rng = np.random.default_rng([seed, place, 11])
    made, surplus, batch = 0, 0, 0
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
        worlds = make_worlds("playground", BATCH, batched=True, **settings)
        assert isinstance(worlds, BatchedWorlds)
        seeds = range(first + batch * BATCH, first + (batch + 1) * BATCH)
        batch += 1
        if about.behaviours == "order":
            clips = _in_both_orders(worlds, seeds, words, about, rng)
        else:
            table = TRAINING if about.behaviours == "training" else OTHER
            names = [list(table)[rng.integers(len(table))] for _ in seeds]
            reels = film(worlds, seeds, [table[name] for name in names])
            clips = [
                clip
                for name, reel in zip(names, reels, strict=True)
                for clip in _clips_of(reel, name, words, about, rng)
            ]
        for clip in clips:
            kept = []
            for asked in clip.asked:
                # Whatever there is too much of is left out as soon as it shows.
                if abs(surplus + (1 if asked.answer else -1)) > 8:
                    continue
                surplus += 1 if asked.answer else -1
                kept.append(asked)
            if kept and made < n:
                made += 1
                yield replace(clip, asked=tuple(kept))


def _clips_of(
    reel: Reel, behaviour: str, words: Wording, about: Split, rng: np.random.Generator
) -> Iterator[Clip]:
    """One clip of a reel, sometimes run backwards."""
    last = len(reel.take) - 1
    if last < 1:
        return
    end = last if rng.random() < 0.75 else int(rng.integers(max(1, last // 2), last + 1))
    span = int(rng.choice([7, 14, 21, 28, 1000]))
    start = max(0, end - span)
    asked = ask(reel, start, end, words, about.language, rng)
    if asked:
        yield _shoot(reel, start, end, asked, behaviour, about, rng)


def _shoot(
    reel: Reel,
    start: int,
    end: int,
    asked: Sequence[Asked],
    behaviour: str,
    about: Split,
    rng: np.random.Generator,
    camera: Camera | None = None,
) -> Clip:
    from rewards.success_vqa.clips import Clip, evenly

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
    from envs.batched.cameras import Camera

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
    from envs.batched.cameras import Look

    if kind == "test":
        name = list(_TEST_LOOKS)[rng.integers(len(_TEST_LOOKS))]
        return name, Look(**_TEST_LOOKS[name])
    if rng.random() < 0.4:
        return "plain", Look()
    gain = tuple(float(g) for g in rng.uniform(0.7, 1.15, 3))
    light = tuple(float(x) for x in rng.uniform(0, 30) * rng.uniform(0, 1, 3))
    fade, noise = float(rng.uniform(0, 0.25)), float(rng.choice([0, 0, 6, 12]))
    return "changed", Look(gain, light, fade, noise)  # type: ignore[arg-type]


def caption(reel: Reel, start: int, end: int) -> str:
    """A sentence that says what happened from one step to another."""
    happened = reel.between(start, end)
    parts: list[str] = []
    for _, deed in happened.deeds:
        if deed.verb == "examine":
            parts.append(f"examined the {deed.item}, which shows {_a(reel.marks[deed.item])} mark")
        else:
            parts.append(f"picked up the {deed.item}")
    parts = [p for k, p in enumerate(parts) if k == 0 or p != parts[k - 1]][-4:]
    parts = parts or ["did nothing"]
    if happened.carried is not None:
        parts.append(f"holds the {happened.carried}")
    if happened.facing is not None:
        parts.append(f"stands before the {happened.facing}")
    return f"The agent {', then '.join(parts)}."


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def notes(reel: Reel, steps: Sequence[int], camera: Camera) -> tuple[Note, ...]:
    """What the frames at these steps show, in words."""
    from envs.batched.worlds import item_of_code, mark_of_code
    from rewards.success_vqa.clips import Note

    found = []
    for step, codes in zip(steps, camera.shown(reel.take.at(steps)), strict=True):
        items = {item_of_code(c): c for c in codes if c & 31 >= FIRST_ITEM}
        faces, holds = reel.facing[step], reel.carried[step]
        found.append(
            Note(
                "" if faces is None else str(faces),
                "" if faces not in items else mark_of_code(items[faces]),
                "" if holds is None else str(holds),
                tuple(sorted(map(str, items))),
            )
        )
    return tuple(found)


@dataclass
class _Draw:
    """Queries found so far, by their answer."""

    yes: list[Query] = field(default_factory=list)
    no: list[Query] = field(default_factory=list)


def ask(
    reel: Reel, start: int, end: int, words: Wording, language: str, rng: np.random.Generator
) -> list[Asked]:
    """True and false questions of a clip, as many of each, or one false one where nothing was done.

    The false ones are near misses: of a true one a word or the order is changed, or another item
    of the room is asked about, most likely the one that was to be seen to.
    """
    from rewards.success_vqa.clips import Asked
    from rewards.success_vqa.questions import VERBS, Branches, Deed, Query, one_word_off

    happened = reel.between(start, end)
    found = _Draw()

    def offer(query: Query) -> None:
        there = found.no if happened.answer(query) is None else found.yes
        if query not in there:
            there.append(query)

    done = [d for _, d in happened.deeds]
    if happened.facing is not None:
        done.append(Deed("go to", happened.facing))
    for deed in dict.fromkeys(done):
        offer(Query((deed,)))
        offer(Query((Deed(VERBS[rng.integers(3)], deed.item),)))
        for _ in range(2):
            offer(Query((Deed(deed.verb, one_word_off(deed.item, rng)),)))
        other = reel.items[rng.integers(len(reel.items))]
        offer(Query((Deed(deed.verb, other),)))
        for former in dict.fromkeys(d for _, d in happened.deeds):
            if former != deed:
                offer(Query((former, deed)))
                offer(Query((deed, former))) if deed.verb != "go to" else None
                offer(Query((former, replace(deed, item=one_word_off(deed.item, rng)))))
                offer(Query((replace(former, item=one_word_off(former.item, rng)), deed)))
    wished = reel.phases[-1].command
    if wished.verb in VERBS:
        offer(Query((Deed(wished.verb, wished.item),)))
    for _ in range(2):
        offer(Query((Deed(VERBS[rng.integers(3)], reel.items[rng.integers(len(reel.items))]),)))
    for decider in dict.fromkeys(d.item for _, d in happened.deeds if d.verb == "examine"):
        held = happened.carried
        for _ in range(2):
            others = [i for i in reel.items if i not in (decider, held)]
            if not others or held == decider:
                break
            a = held or others[0]
            left = [i for i in others if i != a]
            if not left:
                break
            b = left[rng.integers(len(left))]
            offer(
                Query(branches=Branches(decider, _condition(reel, decider, rng), *_mix(a, b, rng)))
            )
    groups: dict[str, dict[bool, list[Query]]] = {}
    for answer, queries in ((True, found.yes), (False, found.no)):
        for query in queries:
            groups.setdefault(query.kind, {}).setdefault(answer, []).append(query)
    if not found.yes:
        chosen = [one_of(rng, found.no)] if found.no and rng.random() < 0.7 else []
    else:
        # A kind, then a question of it of each answer: rare kinds get their share.
        kinds = [k for k, g in groups.items() if True in g]
        rng.shuffle(kinds)
        chosen = []
        for kind in kinds[: int(rng.integers(1, 3))]:
            chosen.append(one_of(rng, groups[kind][True]))
            chosen.append(one_of(rng, groups[kind].get(False) or found.no))
    asked = []
    for query in chosen:
        step = happened.answer(query)
        text = words.put(query, language, rng)
        asked.append(Asked(text, query.kind, step is not None, -1 if step is None else step))
    return asked


def _mix(a: Any, b: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    return (a, b) if rng.random() < 0.5 else (b, a)


def _condition(reel: Reel, decider: Any, rng: np.random.Generator) -> str:
    """A condition that holds of the decider in half of the cases."""
    from envs.conditional import PHRASES
    from envs.items import COLOURS

    holds = [p for p in sorted(reel.truths[decider])]
    every = [PHRASES[k] for k in ("wall", "corner", "mark")]
    own = [p for p in holds if "floor" in p]
    every += own
    if own:
        every.append(f"is on a {COLOURS[rng.integers(len(COLOURS))]} floor")
    return every[rng.integers(len(every))]


def _in_both_orders(
    worlds: Any, seeds: Sequence[int], words: Wording, about: Split, rng: np.random.Generator
) -> list[Clip]:
    """Pairs of clips with one question and both answers.

    Two thirds show one world in which two things are done in one order and in the other; the
    others one clip and the same frames backwards, where what was picked up is put back.
    """
    import numpy as np

    from rewards.success_vqa.clips import Asked
    from rewards.success_vqa.questions import Deed, Query
    from run.behaviours import LONG, Phase, film

    plans: list[tuple[Any, ...]] = []
    for i, seed in enumerate(seeds):
        worlds.reset(i, seed)
        draw = np.random.default_rng([seed, 3])
        world = worlds.world(i)
        items = [t.item for t in world.things if t.item in world.reachable]
        a, b = (items[k] for k in draw.choice(len(items), 2, replace=False))
        verb = ("examine", "pick up")[draw.integers(2)]
        who = ("scripted", "learned")[draw.integers(2)]
        from envs.commands import Command

        plans.append((Phase(who, Command("examine", a), LONG), Phase(who, Command(verb, b), LONG)))
    reels = film(worlds, seeds, plans)
    turned = film(worlds, seeds, [p[::-1] for p in plans])
    clips: list[Clip] = []
    for k, (reel, other, plan) in enumerate(zip(reels, turned, plans, strict=True)):
        first, second = (Deed(p.command.verb, p.command.item) for p in plan)
        camera = draw_camera(about.camera, rng)
        if k % 3:
            query = Query((first, second))
            text = words.put(query, about.language, rng)
            pair = []
            for r in (reel, other):
                end = len(r.take) - 1
                happened = r.between(0, end)
                step = happened.answer(query)
                both = {first, second} <= {d for _, d in happened.deeds}
                asked = Asked(text, query.kind, step is not None, -1 if step is None else step)
                if both and end > 0:
                    pair.append(_shoot(r, 0, end, [asked], "in order", about, rng, camera))
            answers = {c.asked[0].answer for c in pair}
            clips += pair if len(pair) == 2 and len(answers) == 2 else []
            continue
        end = next((s for s, d in reel.deeds if d == second), 0)
        start = max(0, end - 14)
        query = Query((second if second.verb == "pick up" else Deed("go to", second.item),))
        happened = reel.between(start, end)
        if end - start < 4 or happened.answer(query) is None:
            continue
        if reel.facing[start] == query.deeds[0].item:
            continue
        text = words.put(query, about.language, rng)
        yes = Asked(text, query.kind, True, end)
        clip = _shoot(reel, start, end, [yes], "forwards", about, rng, camera)
        no = Asked(text, query.kind, False)
        backwards = replace(
            clip, frames=clip.frames[::-1].copy(), asked=(no,), caption="", notes=clip.notes[::-1]
        )
        clips += [clip, replace(backwards, steps=clip.steps[::-1], behaviour="backwards")]
    return clips


def _card(args: MakeClips, counts: Mapping[str, Any]) -> str:
    """The data card, with a head that says where the splits are."""
    files = "\n".join(f"  - split: {name}\n    path: data/{name}.parquet" for name in counts)
    rows = "\n".join(
        f"| {name} | {c['clips']:,} | {c['questions']:,} | {c['yes']:.3f} | "
        + ", ".join(f"{k} {v:,}" for k, v in c["kinds"].items())
        + " |"
        for name, c in counts.items()
    )
    seeds = ", ".join(
        f"{name} {FIRST_SEED + SPLIT_SEEDS * list(SPLITS).index(name) + 1_000_000 * args.seed:,}"
        for name in counts
    )
    looks = ", ".join(_TEST_LOOKS)
    return f"""---
license: apache-2.0
configs:
- config_name: default
  data_files:
{files}
---
# Clips of agents in rooms, and questions about what they did

Made by `python -m run make-clips --clips {args.clips} --test-clips {args.test_clips} --seed
{args.seed}` of Parley. Each row is a clip of up to 8 frames (PNG), evenly spread from the first to
the last that is shown, with questions whose true answers come from the world's events. What was
done before the first frame counts as not done; what was picked up counts if it is still held at
the last, and an item was gone to if the agent faces it there.

| split | clips | questions | answer yes | kinds |
|---|---|---|---|---|
{rows}

- train, validation, test1: behaviours, cameras and looks of training; validation in other words.
- test2: other behaviours (fickle, noisy, hoarding, circling).
- test3: verbs, sentences and items that training never had.
- test4: the whole room from above; training has the agent's view and windows of 5 to 7 cells.
- test5: looks that training never had ({looks}), and balls, boxes and keys lie about.
- test6: pairs of clips with the same question, in one order yes and in the other no.

`asked` holds the questions: `text`, `kind`, `answer` and `success_step`, the step at which what is
asked was done (-1: it was not). `steps` are those of the frames. Worlds have consecutive seeds from
(by split): {seeds}.
"""
