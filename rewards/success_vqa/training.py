"""Training of detectors on clips, and how well they answer.

Every step draws its clips from its own seed, so that training goes on after a checkpoint exactly as
it would have gone on without one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from envs.errors import BadInput
from envs.items import ALL_ITEMS, COLOURS, SHAPES, TEXTURES, find_items
from envs.objects import MARKS
from envs.sight.encoder import N_FRAMES, prepare
from rewards.success_vqa.baseline import words_of
from rewards.success_vqa.clips import Asked, Clip, Note
from rewards.success_vqa.detector import Judge

LESSON = "training.safetensors"
PARTS = (TEXTURES, COLOURS, SHAPES)
_NUMBER = {str(item): k for k, item in enumerate(ALL_ITEMS)}
_UNTOLD = -1
# Which words make each item's name: [items, words].
_ITEM_WORDS = torch.tensor(
    [
        [float(w in (i.texture, i.colour, i.shape)) for part in PARTS for w in part]
        for i in ALL_ITEMS
    ]
)


def _targets(notes: Sequence[Note]) -> tuple[np.ndarray, np.ndarray]:
    """What 8 frames show, as numbers: of each ``[8, 7]`` texture, colour and shape of what is
    faced and held (0 for nothing) and the mark, and ``[8, items]`` what is in sight. The last
    frames are the notes'; of those before them nothing is told."""
    words = np.full((N_FRAMES, 7), _UNTOLD, np.int8)
    shows = np.zeros((N_FRAMES, len(ALL_ITEMS)), bool)
    for k, note in enumerate(notes, N_FRAMES - len(notes)):
        for at, name in ((0, note.faces), (3, note.holds)):
            if name and name not in _NUMBER:
                continue  # a ball, a key or a box
            item = ALL_ITEMS[_NUMBER[name]] if name else None
            of = (None, None, None) if item is None else (item.texture, item.colour, item.shape)
            for j, (word, known) in enumerate(zip(of, PARTS, strict=True)):
                words[k, at + j] = 0 if word is None else 1 + known.index(word)
        words[k, 6] = MARKS.index(note.mark)
        shows[k, [_NUMBER[n] for n in note.shows if n in _NUMBER]] = True
    return words, shows


def _named(clip: Clip) -> frozenset[str]:
    """The names of all items that a clip shows or tells of."""
    found = {str(i) for i in find_items(clip.caption)}
    for note in clip.notes:
        found |= {note.faces, note.holds, *note.shows}
    return frozenset(found)


@lru_cache(maxsize=65536)
def _asked_of(text: str) -> frozenset[str]:
    return frozenset(str(i) for i in find_items(text))


@dataclass
class Store:
    """Clips in memory: ``frames [N, 8, 64, 64, 3] uint8`` as the encoder is shown them, and for
    each of them what is asked, its caption, the names of all that it shows or tells of, and what
    its frames show as numbers: ``words [N, 8, 7] int8`` and ``shows [N, 8, items] bool``."""

    frames: np.ndarray
    asked: list[tuple[Asked, ...]]
    captions: list[str]
    words: np.ndarray
    shows: np.ndarray
    named: list[frozenset[str]]

    @classmethod
    def of(cls, clips: Iterable[Clip]) -> Store:
        """All clips of a split. Raises BadInput where no question or only one answer is left."""
        parts: list[np.ndarray] = []
        frames, asked, captions, words, shows, named = [], [], [], [], [], []
        for clip in clips:
            named.append(_named(clip))
            word, show = _targets(clip.notes)
            words.append(word)
            shows.append(show)
            frames.append(prepare(clip.frames))
            asked.append(clip.asked)
            captions.append(clip.caption)
            if len(frames) == 1024:  # many small arrays would not give their memory back
                parts.append(np.stack(frames))
                frames.clear()
        found = cls(
            np.concatenate([*parts, np.stack(frames)] if frames else parts),
            asked,
            captions,
            np.stack(words),
            np.stack(shows),
            named,
        )
        found.check()
        return found

    def __len__(self) -> int:
        return len(self.frames)

    def check(self) -> None:
        """Raise BadInput where there is nothing to learn: no questions, one answer only, or the
        same question of the same clip with two answers."""
        answers = {a.answer for asked in self.asked for a in asked}
        if len(answers) < 2:
            only = {True: "yes", False: "no"}[answers.pop()] if answers else "none"
            raise BadInput(f"questions with both answers are needed; here all are {only}")
        for k, asked in enumerate(self.asked):
            known: dict[str, bool] = {}
            for a in asked:
                if known.setdefault(a.text, a.answer) != a.answer:
                    raise BadInput(f"clip {k} has labels that contradict each other: '{a.text}'")

    def some(self, share: float, rng: np.random.Generator) -> Store:
        """A share of the clips, at least one."""
        n = max(1, round(share * len(self)))
        which = np.sort(rng.permutation(len(self))[:n])
        return Store(
            self.frames[which],
            [self.asked[k] for k in which],
            [self.captions[k] for k in which],
            self.words[which],
            self.shows[which],
            [self.named[k] for k in which],
        )


def borrow(store: Store, which: np.ndarray, p: float, rng: np.random.Generator) -> list[Asked]:
    """For each clip of ``which``, with the chance ``p``, a question that is true of another clip
    and names nothing that this one shows, so that its answer is no; otherwise one of its own."""
    found = []
    for k in which:
        own = store.asked[k]
        yes = [a for a in store.asked[int(rng.integers(len(store)))] if a.answer]
        if rng.random() < p and yes:
            other = yes[int(rng.integers(len(yes)))]
            if store.named[k] and not store.named[k] & _asked_of(other.text):
                found.append(Asked(other.text, other.kind, False))
                continue
        found.append(own[int(rng.integers(len(own)))])
    return found


def balanced_accuracy(said: np.ndarray, true: np.ndarray) -> float:
    """The mean of the shares of true yes and of true no that were said: ``[N] bool`` both."""
    return float((said[true].mean() + (~said[~true]).mean()) / 2)


def answers(judge: Judge, store: Store, batch: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities ``[questions]`` of yes and the true answers ``[questions] bool``."""
    texts = [[a.text for a in asked] for asked in store.asked]
    found = judge._answer(torch.from_numpy(store.frames), texts, batch)
    true = np.array([a.answer for asked in store.asked for a in asked])
    return np.concatenate(found), true


def calibrate(sure: np.ndarray, true: np.ndarray) -> float:
    """The temperature that makes these probabilities, got at temperature 1, likeliest."""
    odds = np.log(np.clip(sure, 1e-7, 1 - 1e-7) / np.clip(1 - sure, 1e-7, 1))
    grid = np.exp(np.linspace(math.log(0.2), math.log(10), 200))
    signed = np.where(true, odds, -odds)
    losses = [np.logaddexp(0, -signed / t).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


class Spotter(nn.Module):
    """Says in words what a frame shows. It serves training only: the vision encoder learns sooner
    from what each frame shows than from what is answered about all of them together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_patches = nn.LayerNorm(width)
        sizes = [len(p) + 1 for p in PARTS]
        self.faces = nn.ModuleList(nn.Linear(width, n) for n in (*sizes, len(MARKS)))
        self.holds = nn.ModuleList(nn.Linear(width, n) for n in sizes)
        # Words first: few share a name, many a colour.
        self.shows = nn.Linear(width, len(ALL_ITEMS) + _ITEM_WORDS.shape[1])
        nn.init.constant_(self.shows.bias, -2.0)

    def in_sight(self, patches: torch.Tensor, shows: torch.Tensor) -> torch.Tensor:
        """The loss on which items ``shows [N, items] bool`` are in sight, by each of the ``patches
        [N, places, width]`` alone: an item is in sight if it is at any place."""
        there = self.shows(self.norm_patches(patches)).float().amax(1)
        true = shows.float()
        named, worded = there.split([true.shape[1], there.shape[1] - true.shape[1]], 1)
        words_true = (true @ _ITEM_WORDS.to(true.device) > 0).float()
        cross_entropy = functional.binary_cross_entropy_with_logits
        return 10 * cross_entropy(named, true) + 5 * cross_entropy(worded, words_true)

    def at_hand(self, hands: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """The loss on what is faced and held, ``words [N, 7]``, by a vector for each, ``hands [N,
        2, width]``."""
        heads = [(head, 0) for head in self.faces[:3]]
        heads += [(head, 1) for head in self.holds] + [(self.faces[3], 0)]
        loss = hands.new_zeros((), dtype=torch.float32)
        for k, (head, query) in enumerate(heads):
            said = head(hands[:, query]).float()
            loss = loss + functional.cross_entropy(said, words[:, k].long(), ignore_index=_UNTOLD)
        return loss


class _Lesson(nn.Module):
    """A step's losses, as one module, so that accelerate can share steps among processes."""

    def __init__(self, judge: Judge, spotter: nn.Module) -> None:
        super().__init__()
        self.judge = judge
        self.spotter = spotter

    def forward(
        self,
        frames: torch.Tensor,
        asked: Sequence[Sequence[Asked]],
        captions: Sequence[str],
        words: torch.Tensor,
        shows: torch.Tensor,
        stage: str,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Losses on the answers, on the captions and on what frames show. In the stage "patches"
        only the convolutions learn, in "frames" they and the frames' layers, in "clips" all."""
        judge = self.judge
        nothing = torch.zeros((), device=frames.device)
        spotted, media = nothing, frames
        if isinstance(self.spotter, Spotter):
            patches = judge.encoder.patches(frames)
            told = words[..., 6] != _UNTOLD
            if told.any():
                spotted = self.spotter.in_sight(patches[told], shows[told])
            if stage == "patches":
                return nothing, nothing, spotted
            seen = judge.encoder.look(patches)
            hands = judge.encoder.at_hand(seen)
            if told.any():
                spotted = spotted + self.spotter.at_hand(hands[told], words[told])
            if stage == "frames":
                return nothing, nothing, spotted
            media = judge.encoder.sum_up(frames, seen, hands)
        which = torch.tensor([k for k, a in enumerate(asked) for _ in a], device=frames.device)
        flat = [x for a in asked for x in a]
        odds = judge.logits(media, which, [x.text for x in flat])
        true = torch.tensor([float(x.answer) for x in flat], device=frames.device)
        losses = functional.binary_cross_entropy_with_logits(odds, true, reduction="none")
        # Yes and no count the same, however many of each there are.
        loss = torch.stack([losses[true == t].mean() for t in (0, 1) if (true == t).any()]).mean()
        some = [k for k, c in enumerate(captions) if c]
        if not some:
            return loss, nothing, spotted
        which = torch.tensor(some, device=frames.device)
        return loss, judge.caption_loss(media, which, [captions[k] for k in some]), spotted


@dataclass(frozen=True)
class Progress:
    """Where training stands after a step."""

    step: int
    loss: float
    caption_loss: float
    spotting_loss: float


@dataclass
class Checkpoint:
    """All that training needs to go on."""

    step: int
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)


def train(
    judge: Judge,
    store: Store,
    *,
    steps: int,
    batch: int = 32,
    learning_rate: float = 6e-4,
    captions: float = 0.3,
    spotting: float = 0.3,
    borrowed: float = 0.0,
    patch_steps: int = 0,
    frame_steps: int = 0,
    spotter: Spotter | None = None,
    seed: int = 0,
    on_progress: Callable[[Progress], None] = lambda p: None,
    save: Callable[[Callable[[], Checkpoint]], None] = lambda make: None,
    resume: Checkpoint | None = None,
) -> None:
    """Train on ``batch`` clips a step, all questions of each.

    ``captions`` weighs the likelihood of what happened in words, asked of half of the clips,
    ``spotting`` that of what each frame shows. To so many clips, at first, as ``borrowed`` says, a
    question of another clip is put as well (`borrow`), and to fewer and fewer until half of the
    steps are made: a question about another item is an easier lesson than a near miss. The first
    ``patch_steps`` and ``frame_steps`` are for spotting alone; a judge that is not ``spotted`` has
    none. ``spotter`` is one that learned before. Raises BadInput where the loss is not finite; what
    was saved is then still there.
    """
    # In each stage some parts rest.
    some_rest = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=judge.device.type == "cpu", kwargs_handlers=[some_rest])
    if batch < accelerator.num_processes:
        raise BadInput(f"a batch of {batch} is too small for {accelerator.num_processes} processes")
    torch.manual_seed(seed)
    taught: nn.Module = nn.Module()
    if judge.spotted:
        taught = (spotter or Spotter(judge.config.width)).to(judge.device)
    parameters = [p for p in (*judge.parameters(), *taught.parameters()) if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}],
        learning_rate,
        betas=(0.9, 0.98),
    )
    lesson = accelerator.prepare(_Lesson(judge, taught))
    first = 0
    if resume is not None:
        first = resume.step
        _unpack(resume, judge, taught, optimiser, parameters)
    rank, world = accelerator.process_index, accelerator.num_processes
    judge.train()
    for step in range(first, steps):
        rng = np.random.default_rng([seed, step])
        stage, place_in, length = _stage(step, patch_steps, frame_steps, steps)
        epoch, place = divmod(step * batch, max(len(store) // batch * batch, batch))
        order = np.random.default_rng([seed, epoch, 5]).permutation(len(store))
        which = order[place : place + batch]
        told = rng.random(len(which)) < 0.5
        mine = slice(rank, None, world)
        shown = torch.from_numpy(store.frames[which[mine]]).to(judge.device)
        easy = borrowed * max(0.0, 1 - 2 * place_in / length)
        asked = [store.asked[k] for k in which]
        if easy and stage == "clips":
            more = borrow(store, which, easy, np.random.default_rng([seed, step, 2]))
            asked = [a if m in a else (*a, m) for a, m in zip(asked, more, strict=True)]
        asked = asked[mine]
        texts = [store.captions[k] if t else "" for k, t in zip(which, told, strict=True)][mine]
        words = torch.from_numpy(store.words[which[mine]]).to(judge.device)
        shows = torch.from_numpy(store.shows[which[mine]]).to(judge.device)
        if stage != "clips":
            # Two frames each of more clips: there is more to see in different rooms.
            own = np.random.default_rng([seed, step, 1, rank])
            some = own.integers(len(store), size=(N_FRAMES // 2 * len(which[mine]), 1))
            pair = own.integers(1, N_FRAMES, size=some.shape) - np.array([1, 0])
            shown, words, shows = (
                torch.from_numpy(a[some, pair]).to(judge.device)
                for a in (store.frames, store.words, store.shows)
            )
        texts = texts if captions else [""] * len(texts)
        rate = _rate(place_in, length, learning_rate * (3 if stage == "patches" else 1))
        for group in optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(judge.device.type, torch.bfloat16):
            loss, caption, spotted = lesson(shown, asked, texts, words, shows, stage)
        total = loss + captions * caption + (spotting if stage == "clips" else 1) * spotted
        if not torch.isfinite(total):
            raise BadInput(f"the loss is not finite at step {step + 1}; try a lower learning rate")
        optimiser.zero_grad()
        accelerator.backward(total)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        on_progress(Progress(step + 1, loss.item(), caption.item(), spotted.item()))
        judge.train()
        save(lambda done=step + 1: _pack(done, judge, taught, optimiser, parameters))  # type: ignore[misc]
    judge.eval()


def _stage(step: int, patch_steps: int, frame_steps: int, steps: int) -> tuple[str, int, int]:
    """What a step is for, its place in that stage and the stage's length."""
    for stage, length in (
        ("patches", patch_steps),
        ("frames", frame_steps),
        ("clips", steps - patch_steps - frame_steps),
    ):
        if step < length:
            return stage, step, length
        step -= length
    raise ValueError("beyond the last step")


def _rate(step: int, steps: int, peak: float) -> float:
    """Up over the first 5 % of the steps, then down to a fiftieth along a cosine."""
    share = (step + 1) / steps
    if share < 0.05:
        return peak * share / 0.05
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - 0.05) / 0.95)))


def _pack(
    step: int,
    judge: Judge,
    spotter: nn.Module,
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
) -> Checkpoint:
    tensors = {f"model.{n}": t.detach().clone() for n, t in judge.trained().items()}
    tensors |= {f"spotter.{n}": t.detach().clone() for n, t in spotter.state_dict().items()}
    for k, p in enumerate(parameters):
        for name, value in optimiser.state[p].items():
            tensors[f"optimiser.{k}.{name}"] = torch.as_tensor(value).detach().clone()
    return Checkpoint(step, tensors)


def _unpack(
    saved: Checkpoint,
    judge: Judge,
    spotter: nn.Module,
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
) -> None:
    model, other = {}, {}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in saved.tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            model[rest] = tensor
        elif kind == "spotter":
            other[rest] = tensor
        elif kind == "optimiser":
            k, _, what = rest.partition(".")
            state.setdefault(int(k), {})[what] = tensor
    judge.load_state_dict(model)
    spotter.load_state_dict(other)
    for number, memory in state.items():
        optimiser.state[parameters[number]] = memory


def save_lesson(folder: Path, judge: Judge, spotter: Spotter) -> None:
    """Write what training alone needs beside a judge's weights, to go on from there."""
    answers_need = judge.kept()
    tensors = {f"judge.{n}": t for n, t in judge.trained().items() if n not in answers_need}
    tensors |= {f"spotter.{n}": t for n, t in spotter.state_dict().items()}
    save_file({n: t.detach().half().contiguous() for n, t in tensors.items()}, folder / LESSON)


def load_lesson(folder: Path, judge: Judge, spotter: Spotter) -> None:
    """Take what of `save_lesson` fits; nothing where there is none. Raises BadInput for a damaged
    file."""
    if not (folder / LESSON).exists():
        return
    try:
        tensors = load_file(folder / LESSON)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"'{folder / LESSON}' cannot be read: {error}") from error
    for part, known in (("judge", judge.trained()), ("spotter", spotter.state_dict())):
        for name, tensor in known.items():
            there = tensors.get(f"{part}.{name}")
            if there is not None and there.shape == tensor.shape:
                with torch.no_grad():
                    tensor.copy_(there)


def vocabulary(store: Store) -> tuple[str, ...]:
    """The words of a store's questions and captions, for a baseline."""
    texts = {a.text for asked in store.asked for a in asked} | {*store.captions}
    return tuple(sorted({w for text in texts for w in words_of(text)}))
