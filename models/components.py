"""Components: the classes, functions and objects behind the name of a part."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from envs.errors import BadInput, unknown
from models.references import Part, Reference, check_hub, resolve


def checked_reference(part: Part, given: str) -> Reference:
    """What a user's text stands for, checked as far as that takes no loading: a module is imported,
    and the hub is asked for one small file.

    Raises:
        BadInput: It names nothing, or something else than the part.
    """
    reference = resolve(part, given)
    if reference.kind == "module":
        component(part, reference)
    elif reference.kind == "hub":
        check_hub(part, reference.target)
    return reference


def component(part: Part, reference: Reference) -> Any:
    """The class, function or object behind a name or ``module:Class``.

    Args:
        part: What it is to be.
        reference: A reference of kind ``name`` (registered) or ``module``.

    Raises:
        BadInput: The module cannot be imported, has no such thing, or it lacks the part's methods.
    """
    if reference.kind == "name":
        return part.registry[reference.target]
    module_name, _, attribute = reference.target.partition(":")
    try:
        module = importlib.import_module(module_name)
    # Whatever a user's module raises while it is imported is for the user to mend.
    except Exception as error:
        raise BadInput(
            f"the module of {part.name} '{reference.given}' cannot be imported: "
            f"{' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    if attribute in part.registry:
        return part.registry[attribute]
    thing: Any = module
    for name in attribute.split("."):
        if not hasattr(thing, name):
            public = [n for n in vars(module) if not n.startswith("_")]
            raise unknown(f"attribute of module '{module_name}'", attribute, public)
        thing = getattr(thing, name)
    if isinstance(thing, type) or not callable(thing):
        check_methods(part, thing, reference.given)
    if part.offers is not None and not _is_made(part, thing):
        _arguments(part, thing, reference.given, [None] * part.offers, {})
    return thing


def check_methods(part: Part, thing: object, given: str) -> None:
    """Check that an object or class has what a part must have.

    Raises:
        BadInput: It lacks something, all of which the message names.
    """
    missing = [f"method {m}()" for m in part.methods if not callable(getattr(thing, m, None))]
    # A class may set its attributes when it is called.
    if not isinstance(thing, type):
        missing += [f"attribute {a}" for a in part.attributes if not hasattr(thing, a)]
    if missing:
        hint = ""
        if part.inherits:
            hint = f"; {part.inherits}, which it can inherit, has all but {part.methods[-1]}()"
        name = "detector" if part.name == "detector" else part.name.capitalize()
        raise BadInput(f"{given} is no {name}: it has no {', no '.join(missing)}{hint}")


def _is_made(part: Part, thing: object) -> bool:
    """Whether this is a part already, and need not be called to make one."""
    return not isinstance(thing, type) and all(hasattr(thing, m) for m in part.methods)


def _arguments(
    part: Part, thing: Any, given: str, offered: Sequence[object], options: Mapping[str, Any]
) -> Sequence[object]:
    """Which of the positional arguments ``thing`` is called with: all or none.

    Raises:
        BadInput: It can be called with neither.
    """
    try:
        signature = inspect.signature(thing)
    except ValueError:  # of some builtins no signature is known
        return offered
    try:
        signature.bind(*offered, **options)
    except TypeError:
        try:
            signature.bind(**options)
        except TypeError as error:
            raise BadInput(f"the {part.name} '{given}' cannot be made: {error}") from error
        return ()
    return offered


def made(part: Part, thing: Any, given: str, *offered: Any, **options: Any) -> Any:
    """The part that a registered or user's ``thing`` makes: the class called, or the object itself.

    Args:
        part: What is to come out.
        thing: A class, a function that makes the part, or an object that is one.
        given: What the user called it.
        offered: Positional arguments, which ``thing`` may leave out.
        options: Keyword arguments, which it must take.

    Raises:
        BadInput: It takes other arguments, or what comes out lacks something.
    """
    if _is_made(part, thing):
        check_methods(part, thing, given)
        return thing
    if not callable(thing):
        raise BadInput(f"{given} is no {part.name}: it is of type {type(thing).__name__}")
    result = thing(*_arguments(part, thing, given, offered, options), **options)
    check_methods(part, result, given)
    return result
