"""The adapters that come with Parley, and the names of all models that it knows."""

from __future__ import annotations

from pathlib import Path

from models.language.weights import packaged

ADAPTERS = Path(__file__).parent / "adapters"


def shipped() -> dict[str, Path]:
    """The folders of the adapters that come with Parley, by name."""
    return {p.parent.name: p.parent for p in sorted(ADAPTERS.glob("*/planner.json"))}


def known_models() -> dict[str, Path | None]:
    """The shipped adapters with their folders, and the packaged language models."""
    return {**shipped(), **dict.fromkeys(packaged())}
