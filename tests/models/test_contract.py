"""The contract of loading, digests, and adapters of every kind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertLMHeadModel, PreTrainedModel

from agents.planner.language import LanguagePlanner
from agents.planner.options import PlannerOptions
from agents.planner.policy import PlannerPolicy
from agents.planner.policy_adapters import check_saved, save_adapter
from envs.errors import BadInput
from models.digest import file_digest, folder_digest, model_key, noted_digest, weights_digest
from models.language.adapters import WEIGHTS, merge
from models.language.candidate_scorer import CandidateScorer
from models.language.loading import load_model
from tests.agents.tiny import dialogue, tiny_model, tiny_tokenizer


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PARLEY_CACHE", str(tmp_path / "cache"))


def saved(folder: Path, kind: str = "llama", model: PreTrainedModel | None = None) -> Path:
    (model or tiny_model(kind)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def changed(folder: Path, change) -> Path:
    """A model folder whose tensors have been changed."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_whole_model_is_loaded(tmp_path, kind):
    model, _ = load_model(str(saved(tmp_path / "m", kind)), dtype="float32")
    ids = torch.arange(5)[None]
    assert torch.equal(model(input_ids=ids).logits, tiny_model(kind)(input_ids=ids).logits)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.pop("model.layers.1.mlp.up_proj.weight"), "lacks the tensor 'model.layers.1"),
        (lambda t: t.pop("lm_head.weight"), "lacks the tensor 'lm_head.weight'"),
        (lambda t: [t.pop(k) for k in [*t] if "layers.0" in k], "and 8 tensors more"),
        (lambda t: t.update({"model.norm.weight": torch.ones(7)}), "shape|size"),
        (lambda t: t["model.norm.weight"].fill_(float("nan")), "not finite"),
    ],
)
def test_what_is_missing_or_wrong_is_refused(tmp_path, change, why):
    folder = changed(saved(tmp_path / "m"), change)
    with pytest.raises(BadInput, match=why) as error:
        load_model(str(folder), dtype="float32")
    assert "\n" not in str(error.value)


def test_tied_weights_are_not_missing(tmp_path):
    model = tiny_model("llama")
    model.config.tie_word_embeddings = True
    model.tie_weights()
    folder = saved(tmp_path / "m", model=model)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    load_model(str(folder), dtype="float32")


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    from copy import deepcopy

    folder = saved(tmp_path / "m")
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.add_tokens(["Pick up the"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(BadInput, match="tokens up to number 400, the model only knows those below"):
        load_model(str(folder), dtype="float32")


def test_a_model_that_looks_ahead_is_no_causal_one(tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = BertConfig(vocab_size=len(tiny_tokenizer()), num_attention_heads=2, **sizes)
    folder = saved(tmp_path / "m", model=BertLMHeadModel(config))
    with pytest.raises(BadInput, match=r"no causal language model: .*model type bert"):
        load_model(str(folder), dtype="float32")


@pytest.mark.parametrize("damage", ["cut", "config", "tokenizer", "empty"])
def test_damaged_files_are_one_sentence(tmp_path, damage):
    folder = saved(tmp_path / "m")
    weights = folder / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "empty":
        weights.unlink()
    else:
        name = {"config": "config.json", "tokenizer": "tokenizer.json"}[damage]
        (folder / name).write_text("{not json")
    with pytest.raises(BadInput, match="can be loaded: ") as error:
        load_model(str(folder), dtype="float32")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"GGUF", b"GGUF" + b"\x03\0\0\0" + b"\xff" * 64])
def test_a_gguf_file_that_was_cut_off_is_one_sentence(tmp_path, content):
    file = tmp_path / "head.gguf"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=r"head\.gguf' cannot be converted") as error:
        load_model(str(file))
    assert "\n" not in str(error.value)


def test_a_device_without_numbers_is_refused(tmp_path):
    with pytest.raises(BadInput, match="device 'meta'"):
        load_model(str(saved(tmp_path / "m")), device="meta")


# Digests


def test_a_file_is_read_again_only_where_it_changed(tmp_path, monkeypatch):
    file, cache = tmp_path / "a.bin", tmp_path / "cache"
    file.write_bytes(b"one")
    first = file_digest(file, cache)
    opened = []
    real_open = Path.open

    def spied(path: Path, *args, **options):
        opened.append(path)
        return real_open(path, *args, **options)

    monkeypatch.setattr(Path, "open", spied)
    assert file_digest(file, cache) == first and file not in opened
    stat = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a copy with times would
    assert file_digest(file, cache) != first


def test_one_number_of_one_row_is_another_model(tmp_path):
    a, b = saved(tmp_path / "a"), saved(tmp_path / "b")
    changed(b, lambda t: t["model.embed_tokens.weight"][200, 17].add_(0.25))
    assert folder_digest(a, tmp_path) != folder_digest(b, tmp_path)
    keys = {model_key(load_model(str(f), dtype="float32")[0]) for f in (a, b)}
    assert len(keys) == 2


def test_a_model_changed_in_memory_has_a_key_of_its_own(tmp_path):
    model, _ = load_model(str(saved(tmp_path / "m")), dtype="float32")
    before = model_key(model)
    assert noted_digest(model) is not None
    with torch.no_grad():
        model.get_input_embeddings().weight[200, 17] += 0.25
    assert noted_digest(model) is None and model_key(model) != before
    again, _ = load_model(str(tmp_path / "m"), dtype="float32")
    assert model_key(again) == before
    assert weights_digest(tiny_model("llama")) == weights_digest(tiny_model("llama"))


def test_the_prompt_cache_of_other_weights_is_not_taken(tmp_path):
    def prefix_of(folder: Path) -> torch.Tensor:
        model, _ = load_model(str(folder), dtype="float32")
        scorer = CandidateScorer(model, 1, tmp_path / "prompts")
        scorer.read_prefix(tuple(range(100, 240)))
        return scorer._prefix.states

    folder = saved(tmp_path / "m")
    first = prefix_of(folder)
    assert torch.equal(prefix_of(folder), first)
    changed(folder, lambda t: t["model.embed_tokens.weight"][200].add_(0.25))
    assert not torch.equal(prefix_of(folder), first)


# Adapters


def adapter(folder: Path, kind: str = "llama", base: str = "", **settings) -> PreTrainedModel:
    """Save an adapter with random weights; the wrapped model, not merged."""
    model = tiny_model(kind)
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **settings})
    wrapped = get_peft_model(model, config)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in wrapped.named_parameters():
            if ".lora_" in name:
                p.copy_(torch.randn(p.shape, generator=draw) * 0.2)
    wrapped.peft_config["default"].base_model_name_or_path = base
    wrapped.save_pretrained(str(folder))
    return wrapped


IDS = torch.arange(3, 20)[None]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {".*layers.0.*q_proj": 2}, "alpha_pattern": {".*up_proj": 3}},
        {"init_lora_weights": "gaussian"},
    ],
    ids=["plain", "rslora", "patterns", "gaussian"],
)
def test_a_merged_adapter_is_the_wrapped_model(tmp_path, kind, settings):
    wrapped = adapter(tmp_path / "a", kind, **settings)
    model = tiny_model(kind)
    before = model(input_ids=IDS).logits
    merge(model, tmp_path / "a", "tiny")
    merged, expected = model(input_ids=IDS).logits, wrapped(input_ids=IDS).logits
    assert torch.allclose(merged, expected, atol=1e-3)
    assert not torch.allclose(merged, before, atol=1e-2)
    assert not any("lora" in name for name, _ in model.named_modules())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights pissa, which changes the model"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"r": 0}, "not plain LoRA"),
    ],
)
def test_kinds_that_would_be_merged_wrongly_are_refused(tmp_path, change, why):
    adapter(tmp_path / "a")
    file = tmp_path / "a" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    model = tiny_model("llama")
    before = weights_digest(model)
    with pytest.raises(BadInput, match=why):
        merge(model, tmp_path / "a", "tiny")
    assert weights_digest(model) == before


def test_an_adapter_of_another_model_leaves_it_as_it_was(tmp_path):
    adapter(tmp_path / "a", "gpt2")
    model = tiny_model("llama")
    before = weights_digest(model)
    with pytest.raises(BadInput, match="does not fit 'tiny'"):
        merge(model, tmp_path / "a", "tiny")
    assert weights_digest(model) == before
    adapter(tmp_path / "b")
    tensors = load_file(tmp_path / "b" / WEIGHTS)
    tensors.pop(next(k for k in tensors if "lora_B" in k))
    save_file(tensors, tmp_path / "b" / WEIGHTS)
    with pytest.raises(BadInput, match="no place for"):
        merge(model, tmp_path / "b", "tiny")
    assert weights_digest(model) == before


@pytest.mark.parametrize("place", ["absolute", "beside", "inside"])
def test_a_plain_peft_folder_is_a_planner(tmp_path, place):
    base = saved(tmp_path / ("a/base" if place == "inside" else "base"))
    name = {"absolute": str(base), "beside": "base", "inside": "base"}[place]
    wrapped = adapter(tmp_path / "a", base=name)
    options = PlannerOptions(examples=1, dtype="float32", processors="none")
    planner = LanguagePlanner.load(str(tmp_path / "a"), options)
    got = planner.model(input_ids=IDS).logits
    assert torch.allclose(got, wrapped(input_ids=IDS).logits, atol=1e-3)
    (decision,) = planner.choose([dialogue()])
    assert decision.command is not None and planner.scoring == "length-normalised"


def test_a_plain_peft_folder_without_a_base_says_so(tmp_path):
    adapter(tmp_path / "a")
    with pytest.raises(BadInput, match="names no base model"):
        LanguagePlanner.load(str(tmp_path / "a"), PlannerOptions())


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_training_saves_is_what_was_trained(tmp_path, kind):
    base = saved(tmp_path / "base", kind)
    model, tokenizer = load_model(str(base), dtype="float32")
    options = PlannerOptions(dtype="float32")
    policy = PlannerPolicy(model, tokenizer, rank=2, options=options)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in policy.parameters().values():
            p.copy_(torch.randn(p.shape, generator=draw) * 0.3)
    save_adapter(policy, tmp_path / "a", str(base))
    check_saved(policy, tmp_path / "a")
    tensors = load_file(tmp_path / "a" / WEIGHTS)
    save_file({k: -v if "lora_B" in k else v for k, v in tensors.items()}, tmp_path / "a" / WEIGHTS)
    with pytest.raises(BadInput, match="differs, loaded again, from what was trained"):
        check_saved(policy, tmp_path / "a")


def test_a_model_that_cannot_be_trained_is_refused_before_training(tmp_path):
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(
        vocab_size=len(tiny_tokenizer()), hidden_size=32, num_hidden_layers=2, state_size=4
    )
    with pytest.raises(BadInput, match="a mamba model cannot be trained as a Planner"):
        PlannerPolicy(MambaForCausalLM(config), tiny_tokenizer(), rank=2)
