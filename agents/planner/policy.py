"""The policy that training changes: a language model with LoRA adapters (arXiv 2106.09685).

Only the adapters learn; the language model itself stays as it is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from agents.dialogue import Dialogue
from agents.planner.demonstrations import TrainingExample
from agents.planner.language import LanguagePlanner
from agents.planner.options import PlannerOptions
from agents.planner.prompt import PROMPTS
from envs.errors import BadInput, reason_of
from models.language.adapters import lora_modules, merged_weight
from models.language.candidate_scorer import ScoringRequest

# How many words' embeddings are mixed into a random one.
MIXED_EMBEDDINGS = 64
# Tokens in one forward pass, padding included: a GPU that gets few at a time mostly waits.
TOKENS_PER_PASS = 1024
GPU_TOKENS_PER_PASS = 16384


class SelectiveLogits(torch.nn.Module):
    """A causal language model whose logits are computed at selected positions only."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model: Any = model

    def forward(
        self,
        ids: torch.Tensor,
        rows: torch.Tensor,
        positions: torch.Tensor,
        examples: Sequence[TrainingExample],
        prefix: Sequence[tuple[torch.Tensor, torch.Tensor]] = (),
    ) -> torch.Tensor:
        """The logits that follow ``ids[rows, positions]``.

        Args:
            ids: ``[batch, length]``, padded at the end, where a causal model's earlier tokens
                cannot see it.
            rows: ``[n]`` rows of ``ids``.
            positions: ``[n]`` positions in those rows.
            examples: ``[batch]`` says which tokens of each row have random embeddings.
            prefix: For each layer keys and values ``[1, heads, tokens, size]`` of a text that all
                rows continue.

        Returns:
            ``[n, vocabulary] float32``.
        """
        decoder: Any = getattr(self.model, self.model.base_model_prefix)
        cache = None
        if prefix:
            n = len(ids)
            cache = DynamicCache()
            for layer, (keys, values) in enumerate(prefix):
                cache.update(keys.expand(n, -1, -1, -1), values.expand(n, -1, -1, -1), layer)
        hidden = decoder(
            inputs_embeds=self._embed(ids, examples),
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        head: Any = self.model.get_output_embeddings()
        logits: torch.Tensor = head(hidden[rows, positions]).float()
        return logits

    def _embed(self, ids: torch.Tensor, examples: Sequence[TrainingExample]) -> torch.Tensor:
        """Embeddings ``[batch, length, size]``; random ones have the mean and the covariance of
        the vocabulary's."""
        table: Any = self.model.get_input_embeddings()
        embeddings: torch.Tensor = table(ids)
        for row, text, example in zip(embeddings, ids, examples, strict=True):
            draw = torch.Generator().manual_seed(example.key)  # the same on every device
            for token in example.random_tokens:
                some = torch.randint(len(table.weight), (MIXED_EMBEDDINGS,), generator=draw)
                weights = torch.randn(MIXED_EMBEDDINGS, generator=draw).to(self._mean)
                weights = weights / MIXED_EMBEDDINGS**0.5
                vector = self._mean + weights @ (table.weight[some].float() - self._mean)
                row[text == token] = vector.to(row)
        return embeddings

    @cached_property
    def _mean(self) -> torch.Tensor:
        """The vocabulary's mean embedding ``[size] float32``, which adapters leave as it is."""
        table: Any = self.model.get_input_embeddings()
        mean: torch.Tensor = table.weight.detach().float().mean(0)
        return mean

    def read(self, ids: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each layer's keys and values of a text ``[1, length]``, as a ``prefix``."""
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
        """
        Args:
            model: Receives the adapters, in place.
            tokenizer: The model's.
            rank: Of the adapters.
            seed: Of the adapters' first weights.
            examples: How many worked examples the prompt has.
            prompt: A name in ``PROMPTS``.
            options: Of the Planner.
        """
        options = replace(options or PlannerOptions(), examples=examples)
        self.planner = LanguagePlanner(
            copy.deepcopy(model), tokenizer, options, scoring="constrained", prompt=PROMPTS[prompt]
        )
        self.prompt = prompt
        self.planner.scorer.folder = None  # weights that change are not worth a place on disk
        self.scale = 2.0
        config = LoraConfig(r=rank, lora_alpha=int(self.scale * rank), target_modules="all-linear")
        torch.manual_seed(seed)  # peft draws the first weights from the global generator
        try:
            self.peft = get_peft_model(model, config)
            self._lora_modules = lora_modules(model)
            for module in self._lora_modules.values():
                merged_weight(module)
        # What peft raises depends on the model's layers.
        except Exception as error:
            raise BadInput(
                f"a {model.config.model_type} model cannot be trained as a Planner: LoRA adapters "
                f"do not fit its layers ({reason_of(error)})"
            ) from error
        device = model.device
        precision = "bf16" if model.dtype == torch.bfloat16 else "no"
        self.accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
        self.reader = self.accelerator.prepare(SelectiveLogits(model))
        self._prefix_cache: tuple[int, list[tuple[torch.Tensor, torch.Tensor]]] | None = None

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The adapters' parameters by name."""
        return {n: p for n, p in self.peft.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def sync(self) -> None:
        """Let ``planner`` decide by the adapters as they are now."""
        for name, module in self._lora_modules.items():
            target: Any = self.planner.model.get_submodule(name)
            target.weight.copy_(merged_weight(module))
        self.planner.scorer.forget_all()

    def request(self, dialogue: Dialogue) -> ScoringRequest:
        """A dialogue in tokens, without the worked examples with which every prompt begins."""
        request = self.planner.scoring_request(dialogue)
        return replace(request, context=request.context[len(self.planner.prefix) :])

    def _prefix(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The worked examples as the adapters read them now; no gradient goes there."""
        if not self.planner.prefix:
            return []
        version = sum(p._version for p in self.parameters().values())
        if self._prefix_cache is None or self._prefix_cache[0] != version:
            ids = torch.tensor([self.planner.prefix], device=self.accelerator.device)
            with (
                torch.no_grad(),
                self.accelerator.autocast(),
                disable_input_dtype_casting(self.peft),
            ):
                reader = self.accelerator.unwrap_model(self.reader)
                self._prefix_cache = version, reader.read(ids)
        return self._prefix_cache[1]

    def logits(
        self, examples: Sequence[TrainingExample], positions: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Logits ``[n, vocabulary]`` at the given positions of each example, in order."""
        length = max(len(example.tokens) for example in examples)
        ids = [[*example.tokens, *[0] * (length - len(example.tokens))] for example in examples]
        rows = [k for k, places in enumerate(positions) for _ in places]
        flat = [p for places in positions for p in places]
        device = self.accelerator.device
        # peft would make every input float32, only for autocast to undo it.
        with self.accelerator.autocast(), disable_input_dtype_casting(self.peft):
            logits: torch.Tensor = self.reader(
                torch.tensor(ids, device=device),
                torch.tensor(rows, device=device),
                torch.tensor(flat, device=device),
                examples,
                self._prefix(),
            )
        return logits

    def batches(self, examples: Sequence[TrainingExample]) -> list[list[TrainingExample]]:
        """The examples in batches that the device reads in one pass."""
        on_cpu = self.accelerator.device.type == "cpu"
        return batches_of(examples, TOKENS_PER_PASS if on_cpu else GPU_TOKENS_PER_PASS)

    def decisions(
        self, examples: Sequence[TrainingExample]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The policy at all decision points of these examples.

        Returns:
            Log-probabilities ``[n, most targets] float32`` of the tokens that were possible, minus
            infinity in padding; which of them was taken ``[n]``; the number of the example ``[n]``.
        """
        logits = self.logits(examples, [[c.position for c in x.decision_points] for x in examples])
        points = [(k, c) for k, x in enumerate(examples) for c in x.decision_points]
        most = max(len(c.targets) for _, c in points)
        targets = [[*c.targets, *[c.targets[0]] * (most - len(c.targets))] for _, c in points]
        real = torch.tensor([[k < len(c.targets) for k in range(most)] for _, c in points])
        chosen = logits.gather(1, torch.tensor(targets, device=logits.device))
        chosen = chosen.masked_fill(~real.to(chosen.device), -math.inf).log_softmax(-1)
        taken = torch.tensor([c.taken for _, c in points], device=chosen.device)
        return chosen, taken, torch.tensor([k for k, _ in points], device=chosen.device)


def batches_of(examples: Sequence[TrainingExample], most: int) -> list[list[TrainingExample]]:
    """The examples in batches of similar lengths, each of at most ``most`` tokens with padding;
    a longer example is a batch of its own."""
    batches: list[list[TrainingExample]] = []
    for example in sorted(examples, key=lambda x: len(x.tokens)):
        if not batches or (len(batches[-1]) + 1) * len(example.tokens) > most:
            batches.append([])
        batches[-1].append(example)
    return batches
