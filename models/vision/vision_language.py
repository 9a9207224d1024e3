"""Vision-language models of transformers: loading them and preparing their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.errors import BadInput, reason_of
from models.contract import check_tensors, check_tokenizer


def load_vision_language(name: str, device: str = "auto") -> tuple[Any, Any]:
    """Load an ``AutoModelForImageTextToText`` and its processor.

    Args:
        name: A hub id or a folder.
        device: ``cpu``, or anything else for a GPU where there is one.

    Returns:
        The model, in evaluation mode, and its processor.

    Raises:
        BadInput: Where there is no such model, where it takes no images, or where its processor has
            no chat template.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            name, use_safetensors=True, output_loading_info=True
        )
        model, info = loaded
        processor = AutoProcessor.from_pretrained(name)
    # The exception depends on which of the folder's files is broken.
    except Exception as error:
        raise BadInput(f"'{name}' is no model for images and text: {reason_of(error)}") from error
    check_tensors(name, info, model)
    if (tokenizer := getattr(processor, "tokenizer", None)) is not None:
        check_tokenizer(name, model, tokenizer)
    check_template(processor)
    if device != "cpu" and torch.cuda.is_available():
        torch.nn.Module.to(model, "cuda")
    return model.eval(), processor


def check_template(processor: Any) -> None:
    """Check that a processor can turn messages into a prompt.

    Raises:
        BadInput: Where it has no chat template.
    """
    if not getattr(processor, "chat_template", None):
        raise BadInput(f"the {type(processor).__name__} has no chat template")


def message(frames: np.ndarray, text: str) -> dict[str, Any]:
    """A user message for `inputs_of`, of frames ``[T, height, width, 3] uint8`` and a text."""
    content: list[dict[str, Any]] = [{"type": "image"} for _ in frames]
    content.append({"type": "text", "text": text})
    return {"role": "user", "content": content}


def inputs_of(
    model: Any, processor: Any, messages: Sequence[dict[str, Any]], frames: Sequence[np.ndarray]
) -> Any:
    """The model's inputs for a dialogue that it continues, on its device.

    Args:
        model: The model.
        processor: Its processor.
        messages: The messages of the dialogue (see `message`).
        frames: The frames ``[T, height, width, 3] uint8`` of each message with images, in order.
    """
    from PIL import Image

    text = processor.apply_chat_template(list(messages), add_generation_prompt=True)
    images = [Image.fromarray(f) for clip in frames for f in clip]
    return processor(text=text, images=images, return_tensors="pt").to(model.device)
