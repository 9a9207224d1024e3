"""The registry: names to things."""

from __future__ import annotations

import math

import pytest

from envs.errors import BadInput
from envs.registry import Registry


def test_register_find_and_list() -> None:
    parts: Registry[type] = Registry("part")
    assert parts.register("one")(int) is int
    parts.register("two")(str)
    assert parts["one"] is int and list(parts) == ["one", "two"] and len(parts) == 2
    assert "one" in parts and "three" not in parts


def test_a_name_taken_twice_is_an_error() -> None:
    parts: Registry[type] = Registry("part")
    parts.register("one")(int)
    with pytest.raises(KeyError, match="part 'one' is registered twice"):
        parts.register("one")(str)
    assert parts["one"] is int


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    parts: Registry[type] = Registry("part")
    parts.register("scripted")(int)
    with pytest.raises(BadInput, match="unknown part 'scriptd'; did you mean 'scripted'"):
        parts["scriptd"]


def test_a_target_is_known_without_being_imported() -> None:
    parts: Registry[object] = Registry("part", {"lazy": "tests.envs.play:play", "pi": "math:pi"})
    assert "lazy" in parts and list(parts) == ["lazy", "pi"] and len(parts) == 2
    assert parts["pi"] == math.pi and list(parts) == ["lazy", "pi"]
    with pytest.raises(KeyError, match="part 'lazy' is registered twice"):
        parts.register("lazy")(int)
    with pytest.raises(BadInput, match="did you mean 'lazy'"):
        parts["lzy"]
