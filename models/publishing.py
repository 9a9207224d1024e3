"""Publishing: trained weights to and from a folder or the hub, by huggingface_hub's own mixin."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from huggingface_hub import PyTorchModelHubMixin

from models.hub import download, on_hub


class PublishedWeights(PyTorchModelHubMixin):
    """``save_pretrained``, ``push_to_hub`` and ``from_pretrained`` for a network with files of its
    own: ``model.safetensors`` with what was trained, and ``config.json``.

    Unlike in the mixin's own ``from_pretrained``, no pickled weights are ever fetched. A subclass
    implements `save` and `from_folder`.
    """

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and ``config.json`` into a folder."""
        raise NotImplementedError

    @classmethod
    def from_folder(cls, folder: Path, device: str = "auto", cache: Path | None = None) -> Self:
        """Load what `save` wrote, in evaluation mode.

        Args:
            folder: The folder.
            device: Where the network runs; ``auto`` for the fastest available.
            cache: The folder of fetched and converted weights of a language model below it.

        Raises:
            BadInput: There is no such network, or it is damaged.
        """
        raise NotImplementedError

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(save_directory)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        device: str = "auto",
        cache: Path | None = None,
    ) -> Self:
        """Load a network from a folder or a hub id.

        Args:
            pretrained_model_name_or_path: The folder or the hub id.
            force_download: Whether to download what is in the cache again.
            token: The hub's token; by default the one that ``hf auth login`` stored.
            cache_dir: The hub's cache; by default its own.
            local_files_only: Whether to take only what is in the cache.
            revision: A branch, tag or commit of the hub's repository.
            device: Where the network runs; ``auto`` for the fastest available.
            cache: The folder of fetched and converted weights of a language model below it.

        Raises:
            BadInput: There is no such network, or it is damaged.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            hub_id = str(pretrained_model_name_or_path)
            if not (local_files_only or force_download or token or cache_dir):
                on_hub(hub_id)
            folder = download(
                hub_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                token=token,
                local_files_only=local_files_only,
            )
        return cls.from_folder(folder, device, cache)
