"""The one idiom for extension: a registry a room, filled by a decorator."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from envs.errors import BadInput, unknown

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Names to things. A name taken twice is an error; an unknown one names the nearest."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._things: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: ``@PLANNERS.register("oracle")``."""

        def add(thing: T) -> T:
            if name in self._things:
                raise KeyError(f"{self.what} '{name}' is registered twice")
            self._things[name] = thing
            return thing

        return add

    def imported(self, name: str) -> str:
        """The name of what ``module:name`` means, once the module, which registers it, has been
        imported; any other name as it is. Raises BadInput where that is not to be had."""
        module, colon, inner = name.partition(":")
        if not colon:
            return name
        try:
            importlib.import_module(module)
        except (ImportError, ValueError) as error:
            raise BadInput(
                f"the module of {self.what} '{name}' cannot be imported: {error}"
            ) from error
        return inner

    def __getitem__(self, name: str) -> T:
        if name not in self._things:
            raise unknown(self.what, name, self._things)
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)
