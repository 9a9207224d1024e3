"""The hub: what a repository there holds, and its download.

Only weights in safetensors and texts are ever fetched: nothing that would have to be unpickled or
run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envs.errors import BadInput

FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.md")
HUB_TIMEOUT_S = 5


def on_hub(name: str, instead: str = "", file: str = "config.json") -> str:
    """The hub id ``name``, after a quick check that the hub has it.

    Args:
        name: The hub id.
        instead: The end of the error message, which may list alternatives.
        file: The file that must be there.

    Raises:
        BadInput: Where ``name`` is no hub id, or the hub does not deliver it.
    """
    from huggingface_hub import (
        get_hf_file_metadata,
        hf_hub_url,
        try_to_load_from_cache,
    )

    if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith(("/", ".gguf")):
        raise BadInput(f"there is no file or folder '{name}'")
    try:
        if isinstance(try_to_load_from_cache(name, file), str):
            return name
        # One request with a short timeout; from_pretrained alone would retry for half a minute.
        get_hf_file_metadata(hf_hub_url(name, file), timeout=HUB_TIMEOUT_S)
    # The hub client raises errors of several libraries; all mean that the model is unreachable.
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise BadInput(
            f"'{name}' is no folder here, and the model hub does not give it ({reason}){instead}"
        ) from error
    return name


def download(hub_id: str, **options: Any) -> Path:
    """The folder of a hub repository: its weights and texts, downloaded once.

    Args:
        hub_id: The repository's id.
        options: Arguments of huggingface_hub's ``snapshot_download``, such as ``revision``.

    Raises:
        BadInput: The hub does not deliver it.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(FILES), **options))
    # The hub client raises errors of several libraries; all mean that it cannot be had.
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise BadInput(f"'{hub_id}' cannot be downloaded from the hub: {reason}") from error
