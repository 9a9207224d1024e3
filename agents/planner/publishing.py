"""Publishing: a Planner's adapter to and from a folder or the hub."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Self

from agents.planner.adapter import ABOUT
from agents.planner.options import PlannerOptions
from envs.errors import BadInput
from models.hub import download
from models.language.adapters import CONFIG, WEIGHTS
from models.references import hub_part

FILES = (CONFIG, WEIGHTS, ABOUT, "README.md")


class PublishedAdapter:
    """``save_pretrained``, ``push_to_hub`` and ``from_pretrained`` for a Planner.

    What is published is the adapter in peft's format, with ``planner.json``; the model that it was
    trained for stays where it is.

    Attributes:
        adapter: The folder of the Planner's adapter; None for a model without one.
    """

    adapter: Path | None = None

    @classmethod
    def load(cls, name: str, options: PlannerOptions) -> Self:
        """Load the Planner of a name or folder."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        options: PlannerOptions | None = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> Self:
        """Load a Planner from the folder or hub id of an adapter, or of a whole model.

        Args:
            name: The folder or the hub id.
            options: How the Planner reads and decides.
            revision: A branch, tag or commit of an adapter's repository.
            token: The hub's token; by default the one that ``hf auth login`` stored.

        Raises:
            BadInput: There is no such Planner, or it is damaged.
        """
        name, options = str(name), PlannerOptions() if options is None else options
        if not Path(name).exists() and hub_part(name) == "planner":
            name = str(download(name, revision=revision, token=token))
        return cls.load(name, options)

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the adapter into a folder.

        Raises:
            BadInput: The Planner has none.
        """
        source, folder = self._published(), Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str = "Upload a Planner's adapter",
        create_pr: bool | None = None,
    ) -> str:
        """Upload the adapter to a repository on the hub, which is made where there is none.

        Args:
            repo_id: The hub id, owner/name.
            private: Whether a new repository is private.
            token: The hub's token; by default the one that ``hf auth login`` stored.
            commit_message: What the commit says.
            create_pr: Whether to open a pull request instead of changing the main branch.

        Returns:
            The address of the commit.

        Raises:
            BadInput: The Planner has no adapter.
        """
        from huggingface_hub import HfApi

        source = self._published()
        api = HfApi(token=token)
        repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        return api.upload_folder(
            repo_id=repository,
            folder_path=source,
            allow_patterns=list(FILES),
            commit_message=commit_message,
            create_pr=create_pr,
        )

    def _published(self) -> Path:
        if self.adapter is None:
            raise BadInput(
                "this Planner has no adapter to publish; a whole model goes to the hub by "
                "planner.model.push_to_hub(...) and planner.tokenizer.push_to_hub(...)"
            )
        return self.adapter
