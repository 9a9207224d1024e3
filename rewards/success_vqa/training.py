"""Training of detectors on clips, and how well they answer.

Every step draws its clips from its own seed, so that training goes on after a checkpoint exactly as
it would have gone on without one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from envs.conditional import PHRASES
from envs.errors import BadInput
from envs.items import ALL_ITEMS, COLOURS, SHAPES, TEXTURES, find_items
from envs.objects import MARKS
from models.precision import half
from models.vision.encoder import N_FRAMES, PATCH, Seen, are_shown, fit, prepare, stack
from rewards.success_vqa.baseline import words_of
from rewards.success_vqa.clips import Clip, FrameAnnotation, QuestionAnswer
from rewards.success_vqa.cross_modal_encoder import MOST_NAMED, AuxiliaryLogits
from rewards.success_vqa.detector import SuccessDetector
from rewards.success_vqa.questions import VERBS

LESSON = "training.safetensors"
FRAMES_RATE = 2.0  # step size on frames, in those on clips
PARTS = (TEXTURES, COLOURS, SHAPES)
_NUMBER = {str(item): k for k, item in enumerate(ALL_ITEMS)}
# Which words make each item's name, by their places in PARTS, counted from 1.
_WORDS = {
    str(i): tuple(
        1 + known.index(word)
        for word, known in zip((i.texture, i.colour, i.shape), PARTS, strict=True)
        if word is not None
    )
    for i in ALL_ITEMS
}
_UNTOLD = -1
_CHUNK = 16  # clips whose frames are encoded together
# Which words make each item's name: [items, words].
_ITEM_WORDS = torch.tensor(
    [
        [float(w in (i.texture, i.colour, i.shape)) for part in PARTS for w in part]
        for i in ALL_ITEMS
    ]
)


@dataclass(frozen=True)
class _Targets:
    """What 8 frames show, as numbers; -1 where nothing is told of a frame.

    ``words [8, 10]``: texture, colour and shape of what is faced and of what is held (0 for
    nothing), the mark, whether what is faced is beside a wall, in a corner, and on a floor of which
    colour (0 for none). ``spots [8, 4]``: row and column of the patches at which the cell before
    the agent and its own are. ``shows [8, items]``: what is in sight.
    """

    words: np.ndarray
    spots: np.ndarray
    shows: np.ndarray


def _targets(notes: Sequence[FrameAnnotation], scale: float) -> _Targets:
    """Of frames that were scaled so. The last are the notes'; of those before, nothing is told."""
    words = np.full((N_FRAMES, 10), _UNTOLD, np.int8)
    spots = np.full((N_FRAMES, 4), _UNTOLD, np.int8)
    shows = np.zeros((N_FRAMES, len(ALL_ITEMS)), bool)
    for k, note in enumerate(notes, N_FRAMES - len(notes)):
        for at, name in ((0, note.faces), (3, note.holds)):
            if name and name not in _WORDS:
                continue  # a ball, a key or a box
            words[k, at : at + 3] = _WORDS[name] if name else 0
        words[k, 6] = MARKS.index(note.mark)
        words[k, 7] = PHRASES["wall"] in note.where
        words[k, 8] = PHRASES["corner"] in note.where
        floors = [c for c in COLOURS if f"is on a {c} floor" in note.where]
        words[k, 9] = 1 + COLOURS.index(floors[0]) if floors else 0
        if note.front and note.agent:
            spots[k] = [int(scale * v) // PATCH for v in (*note.front, *note.agent)]
        shows[k, [_NUMBER[n] for n in note.shows if n in _NUMBER]] = True
    return _Targets(words, spots, shows)


def _named(clip: Clip) -> frozenset[str]:
    """The names of all items that a clip shows or tells of."""
    found = {str(i) for i in find_items(clip.caption)}
    for note in clip.notes:
        found |= {note.faces, note.holds, *note.shows}
    return frozenset(found)


@lru_cache(maxsize=65536)
def _asked_of(text: str) -> tuple[str, ...]:
    return tuple(str(i) for i in find_items(text))


def named_in(words: np.ndarray, text: str) -> np.ndarray:
    """`AuxiliaryLogits.named` as numbers ``[8, 2]``, of frames of which ``words [8, 10]`` tell; -1
    where they tell nothing."""
    shown = words[:, :6].reshape(-1, 2, 3)
    found = np.where((shown == _UNTOLD).any(-1), _UNTOLD, 0)
    for k, name in enumerate(_asked_of(text)[:MOST_NAMED], 1):
        if name in _WORDS:
            found[(shown == _WORDS[name]).all(-1)] = k
    return found


def holds_in(words: np.ndarray, text: str) -> np.ndarray:
    """`AuxiliaryLogits.holds` as numbers ``[8]``, of frames of which ``words [8, 10]`` tell; -1
    where nothing is faced, or its mark does not show, or the text has no condition."""
    faced = words[:, 0] > 0
    if "white mark" in text:
        faced &= words[:, 6] > 0
        true = words[:, 6] == MARKS.index("white")
    elif PHRASES["wall"] in text:
        true = words[:, 7] == 1
    elif PHRASES["corner"] in text:
        true = words[:, 8] == 1
    else:
        floors = [c for c in COLOURS if f"is on a {c} floor" in text]
        if not floors:
            return np.full(len(words), _UNTOLD)
        true = words[:, 9] == 1 + COLOURS.index(floors[0])
    return np.where(faced, true.astype(int), _UNTOLD)


@lru_cache(maxsize=65536)
def _done_in(caption: str) -> dict[str, frozenset[str]]:
    """By verb, to which items a caption tells that it was done: it counts where it still holds."""
    told: dict[str, set[str]] = {verb: set() for verb in ("examined", "picked", "holds", "stands")}
    for part in caption.removeprefix("The agent ").rstrip(".").split(", then "):
        verb = part.partition(" ")[0]
        if verb in told:
            told[verb] |= {str(i) for i in find_items(part)[:1]}
    return {
        "go to": frozenset(told["stands"]),
        "examine": frozenset(told["examined"]),
        "pick up": frozenset(told["picked"] & told["holds"]),
    }


def deeds_in(caption: str, text: str) -> np.ndarray:
    """`AuxiliaryLogits.deeds` as numbers ``[3, 3]``; -1 where nothing is told or fewer items are
    named."""
    found = np.full((MOST_NAMED, len(VERBS)), _UNTOLD)
    if caption:
        done = _done_in(caption)
        for k, name in enumerate(_asked_of(text)[:MOST_NAMED]):
            found[k] = [name in done[verb] for verb in VERBS]
    return found


def auxiliary_loss(
    found: AuxiliaryLogits,
    words: Sequence[np.ndarray],
    captions: Sequence[str],
    texts: Sequence[str],
) -> torch.Tensor:
    """The loss on what the answers to ``texts`` rest on, of clips of which words and captions
    tell."""
    asked = list(zip(words, captions, texts, strict=True))
    targets = (
        np.stack([named_in(w, t) for w, _, t in asked]),
        np.stack([holds_in(w, t) for w, _, t in asked]),
        np.stack([deeds_in(c, t) for _, c, t in asked]),
    )
    named, holds, deeds = (torch.from_numpy(t).to(found.named.device) for t in targets)
    loss = found.named.sum() * 0
    if (named != _UNTOLD).any():
        loss = loss + functional.cross_entropy(
            found.named.flatten(0, 2), named.long().flatten(), ignore_index=_UNTOLD
        )
    for said, true in ((found.holds, holds), (found.deeds, deeds)):
        told = true != _UNTOLD
        if told.any():
            loss = loss + functional.binary_cross_entropy_with_logits(
                said[told], true[told].float()
            )
    return loss


def _more(frames: np.ndarray, few: list[np.ndarray]) -> np.ndarray:
    """``frames`` and ``few`` more, which are taken out of the list. The memory grows in place:
    there is seldom room for all clips twice."""
    more = stack(few)
    few.clear()
    side = max(frames.shape[2], more.shape[2])
    if side > frames.shape[2]:
        frames = stack([frames, more[:0]])
    n = len(frames)
    frames.resize((n + len(more), *frames.shape[1:]), refcheck=False)
    frames[n:] = stack([more, frames[:0]])
    return frames


@dataclass
class ClipDataset:
    """Clips in memory: ``frames [N, 8, side, side, 3] uint8`` as the encoder is shown them, and for
    each of them what is asked, its caption, the names of all that it shows or tells of, and what
    its frames show as numbers, ``words``, ``spots`` and ``shows`` as in `_Targets`."""

    frames: np.ndarray
    asked: list[tuple[QuestionAnswer, ...]]
    captions: list[str]
    words: np.ndarray
    spots: np.ndarray
    shows: np.ndarray
    named: list[frozenset[str]]

    @classmethod
    def of(cls, clips: Iterable[Clip]) -> ClipDataset:
        """All clips of a split. Raises BadInput where no question or only one answer is left."""
        frames = np.zeros((0, N_FRAMES, 0, 0, 3), np.uint8)
        few: list[np.ndarray] = []
        targets: list[_Targets] = []
        asked, captions, named = [], [], []
        for clip in clips:
            named.append(_named(clip))
            size = fit(clip.frames)
            targets.append(_targets(clip.notes, size[0] / clip.frames.shape[1]))
            few.append(prepare(clip.frames, size))
            asked.append(clip.asked)
            captions.append(clip.caption)
            if len(few) == 1024:
                frames = _more(frames, few)
        frames = _more(frames, few) if few else frames
        found = cls(
            frames,
            asked,
            captions,
            np.stack([t.words for t in targets]),
            np.stack([t.spots for t in targets]),
            np.stack([t.shows for t in targets]),
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

    def weights(self) -> dict[str, float]:
        """How much a question of each kind counts: rare kinds more, by the root of how rare."""
        kinds = Counter(a.kind for asked in self.asked for a in asked)
        return {kind: (kinds.total() / n) ** 0.5 for kind, n in kinds.items()}

    def busy(self) -> np.ndarray:
        """The numbers of the frames, counted through all clips, in which something is faced or
        held; of all that something is told of, where it never is."""
        words = self.words.reshape(-1, self.words.shape[-1])
        found = np.flatnonzero((words[:, [0, 3]] > 0).any(1))
        return found if len(found) else np.flatnonzero(words[:, 6] != _UNTOLD)

    def some(self, share: float, rng: np.random.Generator) -> ClipDataset:
        """A share of the clips, at least one."""
        n = max(1, round(share * len(self)))
        which = np.sort(rng.permutation(len(self))[:n])
        return ClipDataset(
            self.frames[which],
            [self.asked[k] for k in which],
            [self.captions[k] for k in which],
            self.words[which],
            self.spots[which],
            self.shows[which],
            [self.named[k] for k in which],
        )


def cross_clip_negatives(
    store: ClipDataset, which: np.ndarray, p: float, rng: np.random.Generator
) -> list[QuestionAnswer]:
    """For each clip of ``which``, with the chance ``p``, a question that is true of another clip
    and names nothing that this one shows, so that its answer is no; otherwise one of its own."""
    found = []
    for k in which:
        own = store.asked[k]
        yes = [a for a in store.asked[int(rng.integers(len(store)))] if a.answer]
        if rng.random() < p and yes:
            other = yes[int(rng.integers(len(yes)))]
            if store.named[k] and not store.named[k] & {*_asked_of(other.text)}:
                found.append(QuestionAnswer(other.text, other.kind, False))
                continue
        found.append(own[int(rng.integers(len(own)))])
    return found


def balanced_accuracy(said: np.ndarray, true: np.ndarray) -> float:
    """The mean of the shares of true yes and of true no that were said: ``[N] bool`` both."""
    return float((said[true].mean() + (~said[~true]).mean()) / 2)


class FrameFeatureCache:
    """What a judge's vision encoder, which no longer learns, makes of a store's frames. Each frame
    is encoded once, when it is first needed, and always beside the same others."""

    def __init__(self, judge: SuccessDetector, store: ClipDataset) -> None:
        self._judge = judge
        self._frames = store.frames
        self._vectors: torch.Tensor | None = None
        self._done = np.zeros(-(-len(store) // _CHUNK), bool)

    @torch.no_grad()
    def __call__(self, which: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """``[batch, 8, 3, width]`` what the frames show and ``[batch, 8] bool`` which there are."""
        judge = self._judge
        for chunk in np.unique(which // _CHUNK):
            if self._done[chunk]:
                continue
            part = slice(chunk * _CHUNK, (chunk + 1) * _CHUNK)
            clips = torch.from_numpy(self._frames[part]).to(judge.device)
            with half(judge.device):
                vectors = judge.encoder.see(clips)
            if self._vectors is None:
                size = (len(self._frames), *vectors.shape[1:])
                self._vectors = torch.zeros(size, dtype=torch.bfloat16)
            self._vectors[part] = vectors.to("cpu", torch.bfloat16)
            self._done[chunk] = True
        assert self._vectors is not None, "nothing was asked for"
        shown = are_shown(torch.from_numpy(self._frames[which]))
        return self._vectors[torch.from_numpy(which)].float().to(judge.device), shown.to(
            judge.device
        )


def answers(
    judge: SuccessDetector,
    store: ClipDataset,
    batch: int = 64,
    glances: FrameFeatureCache | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities ``[questions]`` of yes and the true answers ``[questions] bool``; ``glances``
    are what its vision encoder has made of the frames."""
    found: list[np.ndarray] = []
    for first in range(0, len(store), batch):
        which = np.arange(first, min(first + batch, len(store)))
        with torch.no_grad(), half(judge.device):
            if glances is None:
                media = judge.encoder(torch.from_numpy(store.frames[which]).to(judge.device))
            else:
                media = judge.encoder.sum_up(*glances(which))
        texts = [[a.text for a in store.asked[k]] for k in which]
        found += judge.answer_seen(media, texts)
    true = np.array([a.answer for asked in store.asked for a in asked])
    return np.concatenate(found), true


def calibrate(sure: np.ndarray, true: np.ndarray) -> float:
    """The temperature that makes these probabilities, got at temperature 1, likeliest."""
    odds = np.log(np.clip(sure, 1e-7, 1 - 1e-7) / np.clip(1 - sure, 1e-7, 1))
    grid = np.exp(np.linspace(math.log(0.2), math.log(10), 200))
    signed = np.where(true, odds, -odds)
    losses = [np.logaddexp(0, -signed / t).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


class AuxiliaryHeads(nn.Module):
    """Says in words what a frame shows. It serves training only: the vision encoder learns what
    there is to see from what each frame shows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_patches = nn.LayerNorm(width)
        sizes = [len(p) + 1 for p in PARTS]
        about = (len(MARKS), 2, 2, len(COLOURS) + 1)
        self.faces = nn.ModuleList(nn.Linear(width, n) for n in (*sizes, *about))
        self.holds = nn.ModuleList(nn.Linear(width, n) for n in sizes)
        # Words first: few share a name, many a colour.
        n = len(ALL_ITEMS) + _ITEM_WORDS.shape[1]
        self.places = nn.Linear(width, n)
        self.scene = nn.Linear(width, n)
        for head in (self.places, self.scene):
            nn.init.constant_(head.bias, -2.0)

    def said(self, vectors: torch.Tensor) -> list[torch.Tensor]:
        """Log-odds of each of `_Targets.words`, of frames' ``vectors [N, 3, width]``."""
        faces = [head(vectors[:, 0]).float() for head in self.faces]
        return [*faces[:3], *(head(vectors[:, 1]).float() for head in self.holds), *faces[3:]]

    def forward(
        self, seen: Seen, words: torch.Tensor, spots: torch.Tensor, shows: torch.Tensor
    ) -> torch.Tensor:
        """The loss on what frames show, as `_Targets` has it."""
        loss = self._in_sight(self.scene(seen.vectors[:, 2]).float(), shows)
        # By each patch alone: an item is in sight if it is at any place.
        alone = self.places(self.norm_patches(seen.patches)).float().amax(1)
        loss = loss + self._in_sight(alone, shows)
        for k, said in enumerate(self.said(seen.vectors)):
            loss = loss + functional.cross_entropy(said, words[:, k].long(), ignore_index=_UNTOLD)
        side = math.isqrt(seen.where.shape[1])
        for k in range(2):
            row, column = spots[:, 2 * k].long(), spots[:, 2 * k + 1].long()
            at = torch.where(row < 0, _UNTOLD, row * side + column)
            if (at >= 0).any():
                where = seen.where[:, :, k]
                loss = loss + functional.cross_entropy(where, at, ignore_index=_UNTOLD)
        return loss

    @staticmethod
    def _in_sight(there: torch.Tensor, shows: torch.Tensor) -> torch.Tensor:
        true = shows.float()
        named, worded = there.split([true.shape[1], there.shape[1] - true.shape[1]], 1)
        words_true = (true @ _ITEM_WORDS.to(true.device) > 0).float()
        cross_entropy = functional.binary_cross_entropy_with_logits
        return 3 * cross_entropy(named, true) + 1.5 * cross_entropy(worded, words_true)


_Losses = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class _Lesson(nn.Module):
    """A step's losses, as one module, so that accelerate can share steps among processes."""

    def __init__(
        self, judge: SuccessDetector, spotter: nn.Module, weights: Mapping[str, float]
    ) -> None:
        super().__init__()
        self.judge = judge
        self.spotter = spotter
        self.weights = weights

    def forward(self, stage: str, *what: Any) -> _Losses:
        """The loss on what frames show, or those on answers, findings and captions."""
        return self._spot(*what) if stage == "frames" else self._answer(*what)

    def _spot(self, frames: torch.Tensor, *shown: torch.Tensor) -> _Losses:
        loss = self.spotter(self.judge.encoder.look(frames), *shown)
        return loss, torch.zeros_like(loss), torch.zeros_like(loss)

    def _answer(
        self,
        clips: tuple[torch.Tensor, ...],
        asked: Sequence[Sequence[QuestionAnswer]],
        words: np.ndarray,
        captions: Sequence[str],
        told: Sequence[bool],
    ) -> _Losses:
        """Of clips' frames, or of what `FrameFeatureCache` has of them; ``words`` and ``captions``
        tell what they show, ``told`` which captions are to be learned."""
        judge = self.judge
        media = judge.encoder(*clips) if len(clips) == 1 else judge.encoder.sum_up(*clips)
        of = [k for k, a in enumerate(asked) for _ in a]
        which = torch.tensor(of, device=media.device)
        flat = [x for a in asked for x in a]
        texts = [x.text for x in flat]
        if judge.spotted:
            odds, found = judge.weigh(media, which, texts)
            finding = auxiliary_loss(
                found, [words[k] for k in of], [captions[k] for k in of], texts
            )
        else:
            odds = judge.logits(media, which, texts)
            finding = torch.zeros_like(odds).sum()
        true = torch.tensor([float(x.answer) for x in flat], device=media.device)
        losses = functional.binary_cross_entropy_with_logits(odds, true, reduction="none")
        weights = torch.tensor([self.weights[x.kind] for x in flat], device=media.device)
        losses = losses * weights
        # Yes and no count the same, however many of each there are.
        each = [losses[true == t].sum() / weights[true == t].sum() for t in (0, 1) if t in true]
        loss = torch.stack(each).mean()
        some = [k for k, c in enumerate(captions) if c and told[k]]
        if not some:
            return loss, finding, torch.zeros_like(loss)
        which = torch.tensor(some, device=media.device)
        return loss, finding, judge.caption_loss(media, which, [captions[k] for k in some])


@dataclass(frozen=True)
class Progress:
    """Where training stands after a step. On frames ``loss`` is that on what they show, on clips
    that on the answers; then those on what answers rest on and on captions."""

    step: int
    loss: float
    finding_loss: float
    caption_loss: float


@dataclass
class Checkpoint:
    """All that training needs to go on."""

    step: int
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)


def train(
    judge: SuccessDetector,
    store: ClipDataset,
    *,
    steps: int,
    batch: int = 32,
    learning_rate: float = 6e-4,
    findings: float = 1.0,
    captions: float = 0.3,
    borrowed: float = 0.0,
    frame_steps: int = 0,
    tune_vision: bool = False,
    spotter: AuxiliaryHeads | None = None,
    seed: int = 0,
    on_progress: Callable[[Progress], None] = lambda p: None,
    save: Callable[[Callable[[], Checkpoint]], None] = lambda make: None,
    resume: Checkpoint | None = None,
) -> None:
    """Train on ``batch`` clips a step, all questions of each.

    The first ``frame_steps``, on 8 times as many single frames, are for the vision encoder: it
    learns what frames show, half of them such that the agent faces or holds something. From then on
    it rests, and each frame is encoded once, unless ``tune_vision`` or the judge is not
    ``spotted``. ``findings`` weighs the loss on what answers rest on (`AuxiliaryLogits`). Two
    things make the beginning easier, and fade until half of the steps are made: half of the clips
    are told in words, ``captions`` weighs their likelihood; and to so many clips as ``borrowed``
    says a question of another clip is put as well (`cross_clip_negatives`), since another item is
    more easily told apart than a near miss. ``spotter`` is one that learned before.
    Raises BadInput where the loss is not finite; what was saved is then still there.
    """
    # In each stage some parts rest.
    some_rest = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=judge.device.type == "cpu", kwargs_handlers=[some_rest])
    if batch < accelerator.num_processes:
        raise BadInput(f"a batch of {batch} is too small for {accelerator.num_processes} processes")
    torch.manual_seed(seed)
    taught: nn.Module = nn.Module()
    if judge.spotted:
        taught = (spotter or AuxiliaryHeads(judge.config.width)).to(judge.device)
    parameters = [p for p in (*judge.parameters(), *taught.parameters()) if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}],
        learning_rate,
        betas=(0.9, 0.98),
    )
    lesson = accelerator.prepare(_Lesson(judge, taught, store.weights()))
    first = 0
    if resume is not None:
        first = resume.step
        _unpack(resume, judge, taught, optimiser, parameters)
    mine = slice(accelerator.process_index, None, accelerator.num_processes)
    rests = judge.spotted and not tune_vision
    glances = FrameFeatureCache(judge, store)
    busy = store.busy()
    if frame_steps and not len(busy):
        raise BadInput(
            "these clips do not tell what their frames show, so that the vision encoder can only "
            "learn from answers: --frame-steps 0 --tune-vision"
        )
    judge.train()
    for step in range(first, steps):
        rng = np.random.default_rng([seed, step])
        if step < frame_steps:
            place_in, length = step, frame_steps
            what = ("frames", *_some_frames(store, busy, N_FRAMES * batch, mine, rng, judge.device))
        else:
            place_in, length = step - frame_steps, steps - frame_steps
            epoch, place = divmod(place_in * batch, max(len(store) // batch * batch, batch))
            order = np.random.default_rng([seed, epoch, 5]).permutation(len(store))
            which = order[place : place + batch]
            at_first = max(0.0, 1 - 2 * place_in / length)
            asked = [store.asked[k] for k in which]
            easy = borrowed * at_first
            if easy:
                more = cross_clip_negatives(
                    store, which, easy, np.random.default_rng([seed, step, 2])
                )
                asked = [a if m in a else (*a, m) for a, m in zip(asked, more, strict=True)]
            told = rng.random(len(which)) < (0.5 * at_first if captions else 0.0)
            texts = [store.captions[k] for k in which]
            own = which[mine]
            shown: tuple[torch.Tensor, ...]
            if rests:
                shown = glances(own)
            else:
                shown = (torch.from_numpy(store.frames[own]).to(judge.device),)
            what = ("clips", shown, asked[mine], store.words[own], texts[mine], told[mine])
        rate = _rate(place_in, length, learning_rate * (FRAMES_RATE if step < frame_steps else 1))
        for group in optimiser.param_groups:
            group["lr"] = rate
        with half(judge.device):
            loss, finding, caption = lesson(*what)
        total = loss + findings * finding + captions * caption
        if not torch.isfinite(total):
            raise BadInput(f"the loss is not finite at step {step + 1}; try a lower learning rate")
        optimiser.zero_grad()
        accelerator.backward(total)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        on_progress(Progress(step + 1, loss.item(), finding.item(), caption.item()))
        judge.train()
        save(lambda done=step + 1: _pack(done, judge, taught, optimiser, parameters))  # type: ignore[misc]
    judge.eval()


def _some_frames(
    store: ClipDataset,
    busy: np.ndarray,
    n: int,
    mine: slice,
    rng: np.random.Generator,
    device: torch.device,
) -> list[torch.Tensor]:
    """Frames and what they show: half of them ``busy``, the others any that have been told of."""
    told = np.flatnonzero((store.words[..., 6] != _UNTOLD).ravel())
    picked = np.where(rng.random(n) < 0.5, rng.choice(busy, n), rng.choice(told, n))[mine]
    which = np.unravel_index(picked, store.words.shape[:2])
    arrays = (store.frames, store.words, store.spots, store.shows)
    return [torch.from_numpy(a[which]).to(device) for a in arrays]


def _rate(step: int, steps: int, peak: float) -> float:
    """Up over the first 5 % of the steps, then down to a fiftieth along a cosine."""
    share = (step + 1) / steps
    if share < 0.05:
        return peak * share / 0.05
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - 0.05) / 0.95)))


def _pack(
    step: int,
    judge: SuccessDetector,
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
    judge: SuccessDetector,
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


def save_lesson(folder: Path, judge: SuccessDetector, spotter: AuxiliaryHeads) -> None:
    """Write what training alone needs beside a judge's weights, to go on from there."""
    answers_need = judge.kept()
    tensors = {f"judge.{n}": t for n, t in judge.trained().items() if n not in answers_need}
    tensors |= {f"spotter.{n}": t for n, t in spotter.state_dict().items()}
    save_file({n: t.detach().half().contiguous() for n, t in tensors.items()}, folder / LESSON)


def load_lesson(folder: Path, judge: SuccessDetector, spotter: AuxiliaryHeads) -> None:
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


def vocabulary(store: ClipDataset) -> tuple[str, ...]:
    """The words of a store's questions and captions, for a baseline."""
    texts = {a.text for asked in store.asked for a in asked} | {*store.captions}
    return tuple(sorted({w for text in texts for w in words_of(text)}))
