"""The success detector: frames and a question in, the probability of "yes" out.

After Flamingo (arXiv 2204.14198), as in "Vision-Language Models as Success Detectors" (arXiv
2303.07280): the vision encoder's output is fed to a frozen language model through gated
cross-attention, and the answer is read off its logits of "yes" and "no". The layers below the first
gate never see a clip, so they need no gradient, and their output for a text is cached. It is also
what the frames are compared with before they are fed in (`CrossModalEncoder`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from envs.errors import BadInput
from models.precision import half
from models.publishing import PublishedWeights
from models.tensor_files import save_tensors
from models.vision.cross_attention import GatedLanguage, batches_by_length
from models.vision.encoder import VisionEncoder, prepare, stack
from rewards.success_vqa.cross_modal_encoder import AuxiliaryLogits, CrossModalEncoder
from rewards.success_vqa.registry import DETECTOR_KINDS

MOST_TOKENS = 128
TELL = "What happened?"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
VERSION = 3


@dataclass(frozen=True)
class FlamingoConfig:
    """A detector's architecture.

    Attributes:
        base: The name of the language model.
        width: The size of the vision encoder's vectors.
        depth: The number of the vision encoder's blocks.
        latents: The number of the perceiver resampler's vectors.
        layers: The number of layers of the cross-modal encoder.
        gates: The number of gated cross-attentions.
        every: Each is before every so many layers, counted from the last one back.
        kind: The name in ``DETECTOR_KINDS``.
        temperature: Divides the logits.
        version: The version of the saved files.
    """

    base: str = "smollm2-135m"
    width: int = 192
    depth: int = 3
    latents: int = 16
    layers: int = 4
    gates: int = 2
    every: int = 3
    kind: str = "detector"
    temperature: float = 1.0
    version: int = VERSION


class SuccessDetector(
    nn.Module,
    PublishedWeights,
    library_name="parley",
    license="apache-2.0",
    tags=["visual-question-answering", "reward-model", "minigrid"],
):
    """The base class of trained detectors: clips and questions in, probabilities of "yes" out.

    A subclass implements `forward`, or only `logits` if it has no vision encoder of its own.
    Tensors whose names begin with one of ``only_training`` are not saved.
    """

    only_training: tuple[str, ...] = ()
    has_vision_encoder = True
    encoder: Any

    def __init__(self, config: Any, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder or VisionEncoder(config.width, config.depth, config.latents)
        self.temperature = float(config.temperature)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], device: str = "auto", cache: Path | None = None
    ) -> SuccessDetector:
        """An untrained detector.

        Args:
            config: As `read_config` returns it.
            device: Where a pretrained model is loaded: cpu, cuda or auto.
            cache: The folder of fetched and converted weights of that model.

        Raises:
            TypeError: A setting is missing or unknown.
            BadInput: The pretrained model cannot be loaded.
        """
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def logits(
        self, media: torch.Tensor, which: torch.Tensor, questions: Sequence[str]
    ) -> torch.Tensor:
        """Logits of "yes".

        Args:
            media: ``[clips, vectors, width]``, as the vision encoder returns it.
            which: ``[questions] int64``, the number of each question's clip.
            questions: The questions, each of which has passed `check`.

        Returns:
            ``[questions] float32``.
        """
        return self(media, which, questions)[0]

    def forward(
        self, media: torch.Tensor, which: torch.Tensor, questions: Sequence[str]
    ) -> tuple[torch.Tensor, AuxiliaryLogits]:
        """Logits of "yes", and of what the answers depend on.

        Args:
            media: ``[clips, vectors, width]``, as the vision encoder returns it.
            which: ``[questions] int64``, the number of each question's clip.
            questions: The questions, each of which has passed `check`.

        Returns:
            ``[questions] float32`` and the `AuxiliaryLogits` of as many questions.
        """
        raise NotImplementedError

    def caption_loss(
        self, media: torch.Tensor, which: torch.Tensor, captions: Sequence[str]
    ) -> torch.Tensor:
        """The mean negative log-likelihood of all tokens of captions.

        Args:
            media: ``[clips, vectors, width]``, as the vision encoder returns it.
            which: ``[captions] int64``, the number of each caption's clip.
            captions: Sentences that say what happened in these clips.
        """
        raise NotImplementedError

    def check(self, question: str) -> None:
        """Check a question.

        Raises:
            BadInput: It cannot be answered.
        """
        if not question.strip():
            raise BadInput("an empty question cannot be answered")

    @torch.no_grad()
    def answer(
        self, clips: Sequence[np.ndarray], questions: Sequence[Sequence[str]], batch: int = 64
    ) -> list[np.ndarray]:
        """The probabilities of "yes". Each clip is encoded once for all its questions.

        Args:
            clips: For each clip 1 to 8 frames, ``[T, height, width, 3] uint8``.
            questions: For each clip any number of questions.
            batch: The number of clips processed at once.

        Returns:
            For each clip ``[questions] float32``.

        Raises:
            BadInput: A clip has another shape or type, or a question is empty or too long.
        """
        if len(clips) != len(questions):
            raise BadInput(f"{len(clips)} clips, but questions for {len(questions)}")
        for texts in questions:
            for text in texts:
                self.check(text)
        probabilities: list[np.ndarray] = []
        # Pictures of similar sizes are batched together, so that little is padded.
        prepared = [prepare(c) for c in clips]
        order = sorted(range(len(clips)), key=lambda k: prepared[k].shape[-2])
        for first in range(0, len(order), batch):
            part = order[first : first + batch]
            shown = torch.from_numpy(stack([prepared[k] for k in part])).to(self.device)
            with half(self.device):
                media = self.encoder(shown)
            probabilities += self.probabilities(media, [questions[k] for k in part])
        return [probabilities[k] for k in np.argsort(order)]

    @torch.no_grad()
    def probabilities(
        self, media: torch.Tensor, questions: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        """Probabilities of "yes" to questions about clips that are already encoded.

        Args:
            media: ``[clips, vectors, width]``, as the vision encoder returns it.
            questions: For each clip any number of questions.

        Returns:
            For each clip ``[questions] float32``.
        """
        which = [k for k, texts in enumerate(questions) for _ in texts]
        flat = [t for texts in questions for t in texts]
        was_training = self.training
        self.eval()
        with half(self.device):
            logits = self.logits(media, torch.tensor(which, device=self.device), flat)
        self.train(was_training)
        probabilities = (logits.float() / self.temperature).sigmoid().cpu().numpy()
        return np.split(probabilities, np.cumsum([len(texts) for texts in questions])[:-1])

    def trained_state(self) -> dict[str, torch.Tensor]:
        """All trained tensors by name, without those of the frozen language model."""
        return dict(self.state_dict())

    def inference_state(self) -> dict[str, torch.Tensor]:
        """The trained tensors that answers need, by name."""
        parts = self.only_training
        return {n: t for n, t in self.trained_state().items() if not n.startswith(parts)}

    def save(self, folder: Path) -> None:
        """Write the tensors that answers need, in half precision, and the configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {n: t.detach().half().contiguous() for n, t in self.inference_state().items()}
        save_tensors(tensors, folder / WEIGHTS)
        about = asdict(self.config) | {"temperature": self.temperature}
        text = json.dumps(about, indent=2)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_folder(cls, folder: Path, device: str = "auto", cache: Path | None = None) -> Self:
        """Load what `save` wrote, as the kind of detector that it is.

        Args:
            folder: The folder.
            device: Where a pretrained model is loaded: cpu, cuda or auto.
            cache: The folder of fetched and converted weights of that model.

        Raises:
            BadInput: The weights are damaged, or were trained with another language model.
        """
        config = read_config(folder)
        try:
            detector = DETECTOR_KINDS[config["kind"]].from_config(config, device, cache)
        except TypeError as error:
            raise BadInput(f"'{folder}' does not describe a detector: {error}") from error
        if not isinstance(detector, cls):
            raise BadInput(f"'{folder}' holds a {type(detector).__name__}, not a {cls.__name__}")
        detector.load(folder)
        return detector.eval()

    def load(self, folder: Path) -> None:
        """Load the trained tensors from a folder.

        Raises:
            BadInput: Names or shapes differ.
        """
        tensors = _read_weights(folder)
        state = self.inference_state()
        wrong = sorted(set(tensors) ^ set(state)) or [
            n for n, t in tensors.items() if t.shape != state[n].shape
        ]
        if wrong:
            raise BadInput(
                f"the weights in '{folder}' are of another detector: {wrong[0]} does not fit"
            )
        self.load_state_dict({**self.trained_state(), **{n: t.float() for n, t in tensors.items()}})


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"the weights in '{folder}' cannot be read: {error}") from error


def start_from(detector: SuccessDetector, folder: Path) -> None:
    """Initialise a detector from a saved one.

    All weights are copied if both have the same architecture, otherwise only the vision encoder.

    Raises:
        BadInput: The vision encoder has another size.
    """
    mine = detector.trained_state()
    tensors = {n: t.float() for n, t in _read_weights(folder).items()}
    about = json.loads(json.dumps(asdict(detector.config)))
    if {**read_config(folder), "temperature": 1.0} != {**about, "temperature": 1.0}:
        tensors = {n: t for n, t in tensors.items() if n.startswith("encoder.")}
    needed = [n for n in mine if n.startswith("encoder.")]
    if not tensors:
        raise BadInput(f"there is nothing in '{folder}' to start from: it is built otherwise")
    if any(n not in tensors for n in needed) or any(
        n not in mine or t.shape != mine[n].shape for n, t in tensors.items()
    ):
        raise BadInput(f"the vision encoder in '{folder}' has another size")
    detector.load_state_dict({**mine, **tensors})


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a saved detector.

    Raises:
        BadInput: The folder holds none.
    """
    file = folder / CONFIG
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"'{folder}' holds no detector: {error}") from error
    if not isinstance(about, dict) or about.get("kind") not in DETECTOR_KINDS:
        raise BadInput(f"'{file}' does not describe a detector")
    if about.get("version") != VERSION:
        raise BadInput(
            f"the detector in '{folder}' is of version {about.get('version')}, not {VERSION}"
        )
    return about


class FlamingoDetector(SuccessDetector):
    """The Flamingo-like detector, over a frozen causal language model of transformers.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        config: The architecture.

    Raises:
        BadInput: `GatedLanguage` does not support the model, or the tokenizer has no separate
            tokens for "yes" and "no".
    """

    config: FlamingoConfig

    def __init__(self, model: Any, tokenizer: Any, config: FlamingoConfig | None = None) -> None:
        config = config or FlamingoConfig()
        super().__init__(config)
        self._language = GatedLanguage(
            model,
            tokenizer,
            width=config.width,
            gates=config.gates,
            every=config.every,
            name=config.base,
        )
        self.gates = self._language.gates
        size = model.config.hidden_size
        self.reads = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, config.width))
        self.mixer = CrossModalEncoder(config.width, config.layers)
        self.tokenizer = tokenizer
        self._yes, self._no = (self._word(w) for w in (" Yes", " No"))
        if self._yes == self._no:
            raise BadInput(f"the tokenizer of {config.base} does not tell 'Yes' from 'No'")

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], device: str = "auto", cache: Path | None = None
    ) -> FlamingoDetector:
        """An untrained detector over its pretrained language model.

        Args:
            config: As `read_config` returns it.
            device: Where a pretrained model is loaded: cpu, cuda or auto.
            cache: The folder of fetched and converted weights of that model.

        Raises:
            TypeError: A setting is missing or unknown.
            BadInput: The pretrained model cannot be loaded.
        """
        from models.language.loading import load_model

        settings = FlamingoConfig(**config)
        return cls(*load_model(settings.base, device=device, cache=cache), settings)

    def _word(self, word: str) -> int:
        return int(self.tokenizer.encode(word, add_special_tokens=False)[-1])

    def to(self, *args: Any, **kwargs: Any) -> FlamingoDetector:
        self._language.model.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def tokens(self, text: str) -> tuple[int, ...]:
        """The tokens of a text.

        Raises:
            BadInput: The text is too long.
        """
        tokens = tuple(self.tokenizer.encode(text, add_special_tokens=False))
        if len(tokens) > MOST_TOKENS:
            raise BadInput(
                f"a question has at most {MOST_TOKENS} tokens, not {len(tokens)}: '{text[:60]}…'"
            )
        return tokens

    def check(self, question: str) -> None:
        super().check(question)
        self.tokens(question + " Answer:")

    def forget(self) -> None:
        """Clear the cache of the lower layers' outputs for texts."""
        self._language.forget()

    def forward(
        self, media: torch.Tensor, which: torch.Tensor, questions: Sequence[str]
    ) -> tuple[torch.Tensor, AuxiliaryLogits]:
        """Logits of "yes", and auxiliary logits, as `SuccessDetector.forward`.

        Args:
            media: ``[clips, vectors, width]``, as the vision encoder returns it.
            which: ``[questions] int64``, the number of each question's clip.
            questions: The questions, each of which has passed `check`.
        """
        texts = [self.tokens(q + " Answer:") for q in questions]
        last, predicted, order = [], [], []
        for part in batches_by_length(texts):
            read = self._language.read([texts[k] for k in part])
            ends = torch.tensor([len(texts[k]) for k in part], device=self.device)
            absent = torch.arange(read.shape[1], device=self.device) >= ends[:, None]
            _, compared, auxiliary = self.mixer(self.reads(read), absent, media[which[part]])
            hidden = self._language.hidden(compared, read)
            last.append(hidden[torch.arange(len(part), device=self.device), ends - 1])
            predicted.append(auxiliary)
            order += part
        weight = self._language.head.weight
        ends_of_all = torch.cat(last)
        direction = (weight[self._yes] - weight[self._no]).to(ends_of_all.dtype)
        logits = (ends_of_all @ direction).float()
        back = torch.tensor(order, device=self.device).argsort()
        return logits[back], AuxiliaryLogits(
            *(torch.cat(f)[back] for f in zip(*predicted, strict=True))
        )

    def caption_loss(
        self, media: torch.Tensor, which: torch.Tensor, captions: Sequence[str]
    ) -> torch.Tensor:
        """The language model's mean loss per token, as `SuccessDetector.caption_loss`.

        Args:
            media: ``[clips, vectors, width]``, as the vision encoder returns it.
            which: ``[captions] int64``, the number of each caption's clip.
            captions: Sentences that say what happened in these clips.
        """
        texts = [self.tokens(f"{TELL} {c}") for c in captions]
        # Only the question is compared with the frames, never the caption that answers it.
        tell = self.tokens(TELL)
        skip = len(tell)
        question = self.reads(self._language.read([tell]))
        outputs: list[torch.Tensor] = []
        targets: list[int] = []
        for part in batches_by_length(texts):
            absent = torch.zeros(len(part), skip, dtype=torch.bool, device=self.device)
            each = question.expand(len(part), -1, -1)
            _, compared, _ = self.mixer(each, absent, media[which[part]])
            hidden = self._language.hidden(compared, self._language.read([texts[k] for k in part]))
            for row, k in zip(hidden, part, strict=True):
                outputs.append(row[skip - 1 : len(texts[k]) - 1])
                targets += texts[k][skip:]
        logits = self._language.head(torch.cat(outputs)).float()
        return functional.cross_entropy(logits, torch.tensor(targets, device=self.device))
