"""Vision-language models of transformers: how they are loaded and shown frames."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import BadInput

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_of_transformers(folder: Path) -> bool:
    """Whether a folder has the ``config.json`` of a model of transformers, not of one of ours."""
    try:
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and "architectures" in about


def load_vision_language(name: str, device: str = "auto") -> tuple[Any, Any]:
    """A model for images and text (``AutoModelForImageTextToText``) and its processor, by hub id or
    folder.

    Raises BadInput where there is none, none for images, or one whose processor has no chat
    template.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        model = AutoModelForImageTextToText.from_pretrained(name, use_safetensors=True)
        processor = AutoProcessor.from_pretrained(name)
    except (OSError, ValueError, ImportError) as error:
        raise BadInput(f"'{name}' is no model for images and text: {error}") from error
    check_template(processor)
    if device != "cpu" and torch.cuda.is_available():
        torch.nn.Module.to(model, "cuda")
    return model.eval(), processor


def check_template(processor: Any) -> None:
    """Raise BadInput where a processor cannot put messages into a prompt."""
    if not getattr(processor, "chat_template", None):
        raise BadInput(f"the {type(processor).__name__} has no chat template")


def message(frames: np.ndarray, text: str) -> dict[str, Any]:
    """A user's message for `inputs_of`: frames ``[T, height, width, 3] uint8`` and a text."""
    content: list[dict[str, Any]] = [{"type": "image"} for _ in frames]
    content.append({"type": "text", "text": text})
    return {"role": "user", "content": content}


def inputs_of(
    model: Any, processor: Any, messages: Sequence[dict[str, Any]], frames: Sequence[np.ndarray]
) -> Any:
    """What the model takes: a dialogue that the model goes on with; ``frames`` are those of all
    its messages, in order."""
    from PIL import Image

    text = processor.apply_chat_template(list(messages), add_generation_prompt=True)
    images = [Image.fromarray(f) for clip in frames for f in clip]
    return processor(text=text, images=images, return_tensors="pt").to(model.device)
