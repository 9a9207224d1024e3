"""The registry: names with lazy targets, for each kind of component."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar, cast

from envs.errors import unknown

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """A mapping from names to components.

    Built-in components are imported when their name is first looked up, so a name is known without
    the import, and no module has to import a registry to be in it. Further names are added with the
    decorator `register`. Looking up an unknown name raises BadInput with the nearest name.

    Args:
        what: What is registered, for messages.
        targets: The built-in names, each with its ``"module:attribute"``.
    """

    def __init__(self, what: str, targets: Mapping[str, str] | None = None) -> None:
        self.what = what
        self._targets = dict(targets or {})
        self._things: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: ``@PLANNERS.register("mine")``.

        Raises:
            KeyError: The name is already registered.
        """

        def add(thing: T) -> T:
            if name in self:
                raise KeyError(f"{self.what} '{name}' is registered twice")
            self._things[name] = thing
            return thing

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._things:
            if name not in self._targets:
                raise unknown(self.what, name, self)
            module, _, attribute = self._targets[name].partition(":")
            self._things[name] = cast(T, getattr(importlib.import_module(module), attribute))
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        return name in self._things or name in self._targets

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._targets, *self._things)))

    def __len__(self) -> int:
        return len(self._targets.keys() | self._things.keys())
