"""A policy's adapters, from disk and to disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict

from agents.dialogue import Dialogue
from agents.planner.adapter import PlannerAdapter, other_base, read_about, write_about
from agents.planner.language import LanguagePlanner
from agents.planner.policy import PlannerPolicy
from agents.planner.processor_registry import weakest_common
from envs.errors import BadInput
from models.language.adapters import WEIGHTS, read_adapter
from models.tensor_files import save_tensors


@torch.no_grad()
def load_adapters(policy: PlannerPolicy, folders: Sequence[Path], base: str) -> None:
    """Load the adapter in a folder into the policy, or the mean of several.

    The mean of what the adapters add to each weight ("model soup", arXiv 2203.05482) is cut to the
    policy's rank by its largest singular values; a single adapter is loaded as it is. The
    policy's default decision processors are those that all adapters have, each with the parameters
    that change decisions the least.

    Args:
        policy: Whose adapters are replaced.
        folders: At least one folder of an adapter.
        base: The name of the policy's language model.

    Raises:
        BadInput: Where an adapter is for another model, and where a single one has another rank.
    """
    parameters = policy.parameters()
    abouts: list[PlannerAdapter] = []
    adapters: list[tuple[float, dict[str, torch.Tensor]]] = []
    for folder in folders:
        about = read_about(folder)
        if about.base != base:
            raise other_base(folder, about.base, base)
        abouts.append(about)
        config, tensors = read_adapter(folder)
        saved = {n: tensors.get(n.replace(".default.", "."), torch.empty(0, 0)) for n in parameters}
        for name, p in parameters.items():
            rank, size = (0, 1) if ".lora_A." in name else (1, 0)
            fits = saved[name].shape[size] == p.shape[size]
            if not fits or (len(folders) == 1 and saved[name].shape[rank] != p.shape[rank]):
                raise BadInput(f"the adapter '{folder}' is of another model or rank")
        adapters.append((config["lora_alpha"] / config["r"], saved))
    policy.planner.set_default_processors(weakest_common([a.processors for a in abouts]))
    if len(adapters) == 1:
        for name, p in parameters.items():
            p.copy_(adapters[0][1][name])
    else:
        for name in [n for n in parameters if ".lora_A." in n]:
            other = name.replace(".lora_A.", ".lora_B.")
            a, b = parameters[name], parameters[other]
            added = [scale * (x[other].float() @ x[name].float()) for scale, x in adapters]
            mean, rank = torch.stack(added).mean(0) / policy.scale, len(a)
            u, s, v = torch.linalg.svd(mean, full_matrices=False)
            root = s[:rank].sqrt()
            a.copy_(root[:, None] * v[:rank])
            b.copy_(u[:, :rank] * root)
    policy.sync()


def check_saved(policy: PlannerPolicy, folder: Path) -> None:
    """Check that a saved adapter, loaded back, decides as the policy does.

    Args:
        policy: The policy, as it was saved.
        folder: Where `save_adapter` has saved it.

    Raises:
        BadInput: It cannot be loaded, or its scores are others.
    """
    policy.sync()
    loaded = LanguagePlanner.load(str(folder), policy.planner.options)
    expected, got = policy.planner.choose(_DIALOGUES), loaded.choose(_DIALOGUES)
    for a, b in zip(expected, got, strict=True):
        if a.error or b.error:
            raise BadInput(f"the adapter '{folder}' cannot be used again: {a.error or b.error}")
        # Saved in bfloat16, so that the last digits differ.
        differences = [abs(a.scores[c] - b.scores[c]) for c in a.scores]
        if max(differences) > _MOST_DIFFERENCE:
            raise BadInput(
                f"the adapter '{folder}' differs, loaded again, from what was trained: by "
                f"{max(differences):.2f} in a score"
            )


_MOST_DIFFERENCE = 0.5
_DIALOGUES = [
    Dialogue(task, ("examine", "pick up"), world=k)
    for k, task in enumerate(
        (
            "If the solid red ring is good, pick up the solid blue cross, otherwise pick up the "
            "striped grey tee.",
            "Exactly one of the solid red ring and the striped grey tee is good. Pick it up.",
        )
    )
]


def save_adapter(policy: PlannerPolicy, folder: Path, base: str) -> None:
    """Save the policy's adapters in bfloat16 as a Planner's adapter.

    Args:
        policy: Whose adapters are saved.
        folder: Is made where it does not exist.
        base: The name of the policy's language model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in get_peft_model_state_dict(
            policy.peft, save_embedding_layers=False
        ).items()
    }
    config: Any = policy.peft.peft_config["default"]
    config.base_model_name_or_path = base
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)  # a set: in no particular order
    config.save_pretrained(str(folder))
    planner = policy.planner
    about = PlannerAdapter(base, "constrained", planner.examples, policy.prompt, planner.processors)
    write_about(folder, about)
    save_tensors(tensors, folder / WEIGHTS)
