"""Tiny random language models and a tiny tokenizer, made in a moment."""

from __future__ import annotations

import copy
from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from agents.dialogue import Dialogue
from envs.items import COLOURS, SHAPES, TEXTURES

VERBS = ("go to", "examine", "pick up")
TASK = (
    "If the solid red circle is good, pick up the striped blue cross, "
    "otherwise pick up the checkered grey ring."
)
# What the tokenizer learns its tokens from.
TEXT = f"""
You command an agent in a room with items. You see nothing yourself; after each command you are told
what happened. Answer with one command and nothing else.

Task: {TASK}
Command: examine the solid red circle
Report: I examined the solid red circle, it is good and is beside a wall.
Command: pick up the striped blue cross
Report: I did not manage to pick up the striped blue cross.
Task: Search for the item that is bad among these: the striped green ring, the solid grey square.
Command: go to the striped green ring
Report: I see the striped green ring in a corner, it shows a white mark and is on a yellow floor.
Command: say done
{" ".join(TEXTURES + COLOURS + SHAPES)}
"""
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096}


@cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with 400 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<end>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def tiny_model(kind: str) -> PreTrainedModel:
    """A random float32 model of the kind ``llama``, ``qwen2`` or ``gpt2``, the same each time and
    the caller's own: what a detector, say, does to it is seen by nobody else."""
    return copy.deepcopy(_tiny_model(kind))


@cache
def _tiny_model(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    size = len(tiny_tokenizer())
    if kind == "gpt2":
        config = GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=4096)
        model: PreTrainedModel = GPT2LMHeadModel(config)
    elif kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(vocab_size=size, **SIZES, **HEADS))
    else:
        model = LlamaForCausalLM(LlamaConfig(vocab_size=size, **SIZES, **HEADS))
    # Random weights as they come give nearly even probabilities, under which every way of
    # scoring would give nearly equal scores.
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)
    return model.eval()


def dialogue(task: str = TASK, seed: int = 0, world: int = 0) -> Dialogue:
    return Dialogue(task, VERBS, seed=seed, world=world)
