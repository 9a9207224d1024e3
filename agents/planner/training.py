"""Training of the small Planner: imitation of the oracle, then policy gradient in the team's loop.

Only LoRA adapters (arXiv 2106.09685, through peft) learn; the language model itself stays as it
is. Every step draws its random numbers from its own seed, so that training goes on after a
checkpoint exactly as it would have gone on without one.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from peft.helpers import disable_input_dtype_casting
from safetensors.torch import save_file
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from agents.dialogue import Decision, Dialogue
from agents.observation_recorder import ObservationRecorder
from agents.planner.adapter import PlannerAdapter, other_base, read_about, write_about
from agents.planner.demonstrations import (
    FIRST_SEED,
    ExpertPlanner,
    RolloutCollector,
    TrainingExample,
    lessons_of,
    told_before,
    with_boxes,
)
from agents.planner.language import LanguagePlanner
from agents.planner.options import PlannerOptions
from agents.planner.prompt import PROMPTS
from agents.protocols import TeamMember
from agents.team import Episode
from envs.errors import BadInput
from envs.room import coin
from models.language.adapters import WEIGHTS, read_adapter
from models.language.candidate_scorer import ScoringRequest
from models.training.schedules import learning_rate_at

# How many words' vectors make a strange word's.
MIXED = 64
# Tokens read in one go, padding included: a GPU that gets few at a time mostly waits.
CHUNK = 1024
GPU_CHUNK = 16384
Objective = Literal["choices", "tokens"]
# Of a group of episodes and what was filmed of them, a number each.
Reward = Callable[[Sequence[Episode], ObservationRecorder], Sequence[float]]


@dataclass(frozen=True)
class Progress:
    """Where training stands, told after each step; ``success`` is that of the episodes played,
    ``reward`` what they were rewarded with."""

    stage: str
    step: int
    loss: float
    success: float
    divergence: float = 0.0
    reward: float = 1.0


@dataclass
class Checkpoint:
    """All that a stage needs to go on: tensors by name, and how many steps it has made."""

    step: int
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)


def _nothing(_: Any) -> None:
    """For callers that want to be told nothing."""


class SelectiveLogits(torch.nn.Module):
    """A causal language model, asked at some places of some texts only."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model: Any = model

    def forward(
        self,
        ids: torch.Tensor,
        rows: torch.Tensor,
        positions: torch.Tensor,
        lessons: Sequence[TrainingExample],
        prefix: Sequence[tuple[torch.Tensor, torch.Tensor]] = (),
    ) -> torch.Tensor:
        """Logits ``[places, vocabulary] float32`` that follow ``ids[rows, positions]``.

        ``ids [batch, length]`` are padded at their end, where a causal model's earlier tokens
        cannot see it. ``lessons`` say which tokens of each row are strange. ``prefix`` are keys and
        values ``[1, heads, tokens, size]`` of each layer that all of them go on from.
        """
        decoder: Any = getattr(self.model, self.model.base_model_prefix)
        before = None
        if prefix:
            n = len(ids)
            before = DynamicCache()
            for layer, (keys, values) in enumerate(prefix):
                before.update(keys.expand(n, -1, -1, -1), values.expand(n, -1, -1, -1), layer)
        hidden = decoder(
            inputs_embeds=self._embed(ids, lessons),
            past_key_values=before,
            use_cache=before is not None,
        ).last_hidden_state
        head: Any = self.model.get_output_embeddings()
        logits: torch.Tensor = head(hidden[rows, positions]).float()
        return logits

    def _embed(self, ids: torch.Tensor, lessons: Sequence[TrainingExample]) -> torch.Tensor:
        """Word vectors ``[batch, length, size]``; strange ones are drawn with the mean and the
        covariance of the vocabulary's."""
        table: Any = self.model.get_input_embeddings()
        words: torch.Tensor = table(ids)
        for row, text, lesson in zip(words, ids, lessons, strict=True):
            draw = torch.Generator().manual_seed(lesson.key)  # the same on every device
            for token in lesson.strange:
                some = torch.randint(len(table.weight), (MIXED,), generator=draw)
                weights = torch.randn(MIXED, generator=draw).to(self._mean) / MIXED**0.5
                vector = self._mean + weights @ (table.weight[some].float() - self._mean)
                row[text == token] = vector.to(row)
        return words

    @cached_property
    def _mean(self) -> torch.Tensor:
        """The vocabulary's mean vector ``[size] float32``, which adapters leave as it is."""
        table: Any = self.model.get_input_embeddings()
        mean: torch.Tensor = table.weight.detach().float().mean(0)
        return mean

    def read(self, ids: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of a text ``[1, length]``, layer by layer, to go on from."""
        decoder: Any = getattr(self.model, self.model.base_model_prefix)
        cache = decoder(input_ids=ids, use_cache=True).past_key_values
        return [(layer.keys, layer.values) for layer in cache.layers]


class PlannerPolicy:
    """A language model with LoRA adapters in training, and the Planner that it makes.

    ``planner`` decides with a second copy of the model, into which ``sync`` merges the adapters
    as they are now: merging in place would round the weights a little more each time.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        rank: int = 16,
        seed: int = 0,
        examples: int = 0,
        prompt: str = "short",
        options: PlannerOptions | None = None,
    ) -> None:
        options = replace(options or PlannerOptions(), examples=examples)
        self.planner = LanguagePlanner(
            copy.deepcopy(model), tokenizer, options, scoring="tree", prompt=PROMPTS[prompt]
        )
        self.prompt = prompt
        self.planner.scorer.folder = None  # weights that change are not worth a place on disk
        self.scale = 2.0
        config = LoraConfig(r=rank, lora_alpha=int(self.scale * rank), target_modules="all-linear")
        torch.manual_seed(seed)  # peft draws the first weights from the global generator
        self.peft = get_peft_model(model, config)
        device = model.device
        half = "bf16" if model.dtype == torch.bfloat16 else "no"
        self.accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=half)
        self.reader = self.accelerator.prepare(SelectiveLogits(model))
        self._read: tuple[int, list[tuple[torch.Tensor, torch.Tensor]]] | None = None
        self._base: dict[str, Any] = {
            name: module
            for name, module in model.named_modules()
            if hasattr(module, "get_delta_weight")
        }

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """What learns, by name."""
        return {n: p for n, p in self.peft.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def sync(self) -> None:
        """Let the Planner decide by the adapters as they are now."""
        for name, module in self._base.items():
            target: Any = self.planner.model.get_submodule(name)
            weight = module.base_layer.weight.float() + module.get_delta_weight("default").float()
            target.weight.copy_(weight)
        self.planner.scorer.forget_all()

    def question(self, dialogue: Dialogue) -> ScoringRequest:
        """A dialogue in tokens, without the worked examples that all dialogues begin with."""
        question = self.planner.question(dialogue)
        return replace(question, context=question.context[len(self.planner.prefix) :])

    def _prefix(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The worked examples as the adapters read them now; no gradient goes there."""
        if not self.planner.prefix:
            return []
        version = sum(p._version for p in self.parameters().values())
        if self._read is None or self._read[0] != version:
            ids = torch.tensor([self.planner.prefix], device=self.accelerator.device)
            with (
                torch.no_grad(),
                self.accelerator.autocast(),
                disable_input_dtype_casting(self.peft),
            ):
                self._read = version, self.accelerator.unwrap_model(self.reader).read(ids)
        return self._read[1]

    def logits(
        self, lessons: Sequence[TrainingExample], positions: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Logits ``[places, vocabulary]`` at these positions of each lesson, one after another."""
        length = max(len(lesson.tokens) for lesson in lessons)
        ids = [[*lesson.tokens, *[0] * (length - len(lesson.tokens))] for lesson in lessons]
        rows = [k for k, places in enumerate(positions) for _ in places]
        flat = [p for places in positions for p in places]
        device = self.accelerator.device
        # peft would make every input float32, only for autocast to undo it.
        with self.accelerator.autocast(), disable_input_dtype_casting(self.peft):
            found: torch.Tensor = self.reader(
                torch.tensor(ids, device=device),
                torch.tensor(rows, device=device),
                torch.tensor(flat, device=device),
                lessons,
                self._prefix(),
            )
        return found

    def parts(self, lessons: Sequence[TrainingExample]) -> list[list[TrainingExample]]:
        """The lessons in parts that the device reads in one go."""
        return chunks(lessons, CHUNK if self.accelerator.device.type == "cpu" else GPU_CHUNK)

    def choices(
        self, lessons: Sequence[TrainingExample]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-probabilities ``[choices, most targets]`` of what could be said where candidates
        part (minus infinity beyond a choice's targets), what was taken ``[choices]`` and the
        number of the lesson ``[choices]``."""
        logits = self.logits(lessons, [[c.position for c in x.choices] for x in lessons])
        every = [(k, c) for k, x in enumerate(lessons) for c in x.choices]
        most = max(len(c.targets) for _, c in every)
        pad = [[*c.targets, *[c.targets[0]] * (most - len(c.targets))] for _, c in every]
        real = torch.tensor([[k < len(c.targets) for k in range(most)] for _, c in every])
        at = logits.gather(1, torch.tensor(pad, device=logits.device))
        at = at.masked_fill(~real.to(at.device), -math.inf).log_softmax(-1)
        taken = torch.tensor([c.taken for _, c in every], device=at.device)
        return at, taken, torch.tensor([k for k, _ in every], device=at.device)


def imitate(
    student: PlannerPolicy,
    school: RolloutCollector,
    *,
    steps: int,
    batch: int = 16,
    learning_rate: float = 5e-4,
    objective: Objective = "choices",
    strange: float = 0.0,
    boxes: float = 0.0,
    slips: float = 0.0,
    seed: int = 0,
    on_progress: Callable[[Progress], None] = _nothing,
    save: Callable[[Callable[[], Checkpoint]], None] = _nothing,
    resume: Checkpoint | None = None,
) -> None:
    """Imitate the teacher for ``steps`` steps of ``batch`` dialogues each.

    ``objective``: the likelihood of what was chosen where candidates part, or of every token of
    the commands. ``strange`` is the largest share of a dialogue's words that are read as random
    vectors (`TrainingExample.estranged`), ``boxes`` the chance that items are told of as boxes
    (`with_boxes`), ``slips`` the chance that a turn is a mistake, which is not learned
    (`ExpertPlanner`).
    Raises BadInput where the loss is not finite; what was saved is then still there.
    """
    parameters = list(student.parameters().values())
    optimiser = torch.optim.AdamW(parameters, learning_rate, weight_decay=0.0)
    first = 0 if resume is None else unpack(resume, student, optimiser)
    teacher = ExpertPlanner(slips)
    for step in range(first, steps):
        lessons = []
        rng = np.random.default_rng([seed, 1, step])
        start = FIRST_SEED + (seed * 100_000 + step) * batch
        for number, n in enumerate(school.draw(batch, rng)):
            if n:
                _, notes = school.play(teacher, number, range(start, start + n))
                start += n
                for decided in map(teacher.taught, notes.decided.values()):
                    if not decided:
                        continue
                    if rng.random() < boxes:
                        decided = with_boxes(decided, rng)
                        decided = told_before(decided) if coin(rng) else decided
                    lessons += lessons_of(decided, student.question)
        lessons = [x.estranged(strange, rng) for x in lessons]
        count = sum(len(x.choices if objective == "choices" else x.said) for x in lessons)
        losses = (
            _imitation_loss(student, part, objective) / count for part in student.parts(lessons)
        )
        rate = learning_rate_at(step, steps, learning_rate)
        loss = _descend(student, optimiser, losses, rate, step)
        on_progress(Progress("imitation", step + 1, loss, 1.0))
        save(partial(pack, step + 1, student, optimiser))
    student.sync()


def chunks(lessons: Sequence[TrainingExample], most: int) -> list[list[TrainingExample]]:
    """The lessons in parts of similar lengths, each of at most ``most`` tokens to be read in one
    go."""
    parts: list[list[TrainingExample]] = []
    for lesson in sorted(lessons, key=lambda x: len(x.tokens)):
        if not parts or (len(parts[-1]) + 1) * len(lesson.tokens) > most:
            parts.append([])
        parts[-1].append(lesson)
    return parts


def _imitation_loss(
    student: PlannerPolicy, lessons: Sequence[TrainingExample], objective: Objective
) -> torch.Tensor:
    """Negative log-likelihood, summed over choices or tokens."""
    if objective == "choices":
        logp, taken, _ = student.choices(lessons)
        return functional.nll_loss(logp, taken, reduction="sum")
    logits = student.logits(lessons, [[p for p, _ in x.said] for x in lessons])
    said = torch.tensor([t for x in lessons for _, t in x.said], device=logits.device)
    return functional.cross_entropy(logits, said, reduction="sum")


class SamplingPlanner(TeamMember):
    """A language Planner that says each candidate as often as its probability says."""

    def __init__(self, planner: LanguagePlanner, seed: int, temperature: float = 1.0) -> None:
        self.planner = planner
        self.seed = seed
        self.temperature = temperature

    def begin(self, worlds: Any) -> None:
        self.planner.begin(worlds)

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        found = []
        for dialogue, decision in zip(dialogues, self.planner.choose(dialogues), strict=True):
            if decision.command is None:
                found.append(decision)
                continue
            candidates = dialogue.candidates()
            scores = np.array([decision.scores[c.sentence()] for c in candidates])
            weights = np.exp((scores - scores.max()) / self.temperature)
            # By the place in the group too: the members of a group play the same episode.
            drawn = (self.seed, dialogue.seed, dialogue.world, len(dialogue.turns))
            k = np.random.default_rng(drawn).choice(len(weights), p=weights / weights.sum())
            found.append(replace(decision, said=candidates[k].sentence(), command=candidates[k]))
        return found


def truth(episodes: Sequence[Episode], film: ObservationRecorder) -> list[float]:
    """The reward that is true: 1 for success."""
    return [float(bool(e.success)) for e in episodes]


def reinforce(
    student: PlannerPolicy,
    school: RolloutCollector,
    *,
    steps: int,
    groups: int = 8,
    members: int = 8,
    learning_rate: float = 1e-4,
    kl: float = 0.05,
    temperature: float = 1.0,
    reward: Reward = truth,
    seed: int = 0,
    on_progress: Callable[[Progress], None] = _nothing,
    save: Callable[[Callable[[], Checkpoint]], None] = _nothing,
    resume: Checkpoint | None = None,
) -> None:
    """Policy gradient (REINFORCE) over the scored candidates, in the loop of the team.

    Each step plays ``groups`` episodes ``members`` times over; a member's advantage is its reward
    less the mean of the others of its group (leave one out, arXiv 2402.14740). ``kl`` weighs the
    divergence from the student as it was when the stage began, exact at every choice that was
    learned from. Raises BadInput where the loss is not finite.
    """
    parameters = student.parameters()
    before = {name: p.detach().clone() for name, p in parameters.items()}
    optimiser = torch.optim.AdamW(list(parameters.values()), learning_rate, weight_decay=0.0)
    first = 0
    if resume is not None:
        first = unpack(resume, student, optimiser)
        before = {n: resume.tensors[f"before.{n}"].to(p.device) for n, p in parameters.items()}
    for step in range(first, steps):
        student.sync()
        rng = np.random.default_rng([seed, 2, step])
        start = FIRST_SEED + 500_000_000 + (seed * 100_000 + step) * groups
        lessons: list[TrainingExample] = []
        rewards: list[float] = []
        successes: list[float] = []
        for number, n in enumerate(school.draw(groups, rng)):
            if not n:
                continue
            seeds = [start + k for k in range(n) for _ in range(members)]
            start += n
            player = SamplingPlanner(student.planner, seed * 1_000_003 + step, temperature)
            episodes, notes = school.play(player, number, seeds)
            got = np.array(reward(episodes, notes), float)
            rewards += got.tolist()
            successes += truth(episodes, notes)
            table = got.reshape(n, members)
            others = (table.sum(1, keepdims=True) - table) / (members - 1)
            for i, advantage in enumerate((table - others).reshape(-1)):
                if advantage:  # a group that agrees teaches nothing
                    lessons += lessons_of(notes.decided[i], student.question, advantage)
        divergences: list[float] = []
        losses = (
            _policy_loss(student, part, old, kl, divergences) / len(rewards)
            for part, old in _reference(student, lessons, before)
        )
        rate = learning_rate_at(step, steps, learning_rate)
        loss = _descend(student, optimiser, losses, rate, step)
        divergence = sum(divergences) / max(1, sum(len(x.choices) for x in lessons))
        on_progress(
            Progress(
                "reinforcement",
                step + 1,
                loss,
                float(np.mean(successes)),
                divergence,
                float(np.mean(rewards)),
            )
        )

        def checkpoint(step: int = step) -> Checkpoint:
            saved = pack(step + 1, student, optimiser)
            saved.tensors |= {f"before.{n}": p for n, p in before.items()}
            return saved

        save(checkpoint)
    student.sync()


def _reference(
    student: PlannerPolicy, lessons: Sequence[TrainingExample], before: dict[str, torch.Tensor]
) -> list[tuple[list[TrainingExample], torch.Tensor]]:
    """The lessons in chunks, with their choices' log-probabilities under other adapters."""
    parameters = student.parameters()
    now = {n: p.detach().clone() for n, p in parameters.items()}
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(before[name])
        found = [(part, student.choices(part)[0]) for part in student.parts(lessons)]
        for name, p in parameters.items():
            p.copy_(now[name])
    return found


def _policy_loss(
    student: PlannerPolicy,
    lessons: Sequence[TrainingExample],
    old: torch.Tensor,
    kl: float,
    divergences: list[float],
) -> torch.Tensor:
    """REINFORCE's loss with the divergence from ``old``, summed; tells the divergence as well."""
    logp, taken, owner = student.choices(lessons)
    weights = torch.tensor([x.weight for x in lessons], device=logp.device)[owner]
    chosen = logp.gather(1, taken[:, None])[:, 0]
    # Beyond a choice's targets both are minus infinity, and their difference no number.
    real = torch.isfinite(old)
    new = logp.masked_fill(~real, 0.0)
    divergence = (new.exp() * (new - old.masked_fill(~real, 0.0)))[real].sum()
    divergences.append(float(divergence.detach()))
    return kl * divergence - (weights * chosen).sum()


def _descend(
    student: PlannerPolicy,
    optimiser: torch.optim.Optimizer,
    losses: Iterable[torch.Tensor],
    learning_rate: float,
    step: int,
) -> float:
    """One step down the gradient of a sum of losses, clipped to a length of 1. Returns the sum."""
    total = 0.0
    optimiser.zero_grad()
    for loss in losses:
        if not bool(torch.isfinite(loss)):
            raise BadInput(
                f"the loss of step {step + 1} is not finite; try a lower learning rate or "
                "--dtype float32, and go on from the last checkpoint"
            )
        student.accelerator.backward(loss)
        total += loss.item()
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
    torch.nn.utils.clip_grad_norm_(list(student.parameters().values()), 1.0)
    optimiser.step()
    return total


def pack(step: int, student: PlannerPolicy, optimiser: torch.optim.Optimizer) -> Checkpoint:
    """The adapters and the optimiser's memory, after ``step`` steps."""
    tensors = {f"adapter.{n}": p.detach().clone() for n, p in student.parameters().items()}
    for k, memory in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{k}.{n}": v.clone() for n, v in memory.items()}
    return Checkpoint(step, tensors)


def unpack(saved: Checkpoint, student: PlannerPolicy, optimiser: torch.optim.Optimizer) -> int:
    """The way back; returns the number of steps. Raises BadInput for another model's checkpoint."""
    memory: dict[int, dict[str, torch.Tensor]] = {}
    parameters = student.parameters()
    found = {n: saved.tensors.get(f"adapter.{n}", torch.empty(0)) for n in parameters}
    if any(found[n].shape != p.shape for n, p in parameters.items()):
        raise BadInput("the checkpoint is of another model or rank")
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(found[name])
    for name, tensor in saved.tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimiser":
            k, _, part = rest.partition(".")
            memory.setdefault(int(k), {})[part] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": memory})
    return saved.step


@torch.no_grad()
def load_adapters(student: PlannerPolicy, folders: Sequence[Path], base: str) -> None:
    """Begin with the adapter in a folder, or with the mean of several.

    The mean of what they add to each weight ("model soup", arXiv 2203.05482) is cut to the
    student's rank by its largest singular values; a single adapter is taken as it is. Where the
    student's options leave ``look`` open, it is the highest of theirs, and ``contrast`` the
    lowest. Raises BadInput where one is another model's, and where a single one is of another rank.
    """
    parameters = student.parameters()
    abouts: list[PlannerAdapter] = []
    read: list[tuple[float, dict[str, torch.Tensor]]] = []
    for folder in folders:
        about = read_about(folder)
        if about.base != base:
            raise other_base(folder, about.base, base)
        abouts.append(about)
        config, tensors = read_adapter(folder)
        found = {n: tensors.get(n.replace(".default.", "."), torch.empty(0, 0)) for n in parameters}
        for name, p in parameters.items():
            rank, kept = (0, 1) if ".lora_A." in name else (1, 0)
            same = found[name].shape[kept] == p.shape[kept]
            if not same or (len(folders) == 1 and found[name].shape[rank] != p.shape[rank]):
                raise BadInput(f"the adapter '{folder}' is of another model or rank")
        read.append((config["lora_alpha"] / config["r"], found))
    planner = student.planner
    if planner.options.look is None:
        planner.deciding = replace(planner.deciding, look=max(a.look for a in abouts))
    if planner.options.contrast is None:
        planner.deciding = replace(planner.deciding, contrast=min(a.contrast for a in abouts))
    if len(read) == 1:
        for name, p in parameters.items():
            p.copy_(read[0][1][name])
    else:
        for name in [n for n in parameters if ".lora_A." in n]:
            other = name.replace(".lora_A.", ".lora_B.")
            a, b = parameters[name], parameters[other]
            added = [scale * (x[other].float() @ x[name].float()) for scale, x in read]
            mean, rank = torch.stack(added).mean(0) / student.scale, len(a)
            u, s, v = torch.linalg.svd(mean, full_matrices=False)
            root = s[:rank].sqrt()
            a.copy_(root[:, None] * v[:rank])
            b.copy_(u[:, :rank] * root)
    student.sync()


def save_adapter(student: PlannerPolicy, folder: Path, base: str) -> None:
    """Write the adapters as they are now, in bfloat16, as a Planner's adapter for ``base``."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in get_peft_model_state_dict(
            student.peft, save_embedding_layers=False
        ).items()
    }
    half = folder / f".{WEIGHTS}.half"
    save_file(tensors, half)
    config: Any = student.peft.peft_config["default"]
    config.base_model_name_or_path = base
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)  # a set, whose order is no one's
    config.save_pretrained(str(folder))
    planner = student.planner
    deciding = planner.deciding
    about = PlannerAdapter(
        base, "tree", planner.examples, student.prompt, deciding.look, deciding.contrast
    )
    write_about(folder, about)
    os.replace(half, folder / WEIGHTS)
