"""Components: the classes, functions and objects behind the name of a part."""

from __future__ import annotations

import importlib
import inspect
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
    return thing


def check_methods(part: Part, thing: object, given: str) -> None:
    """Check that an object or class has the methods of a part.

    Raises:
        BadInput: One is missing.
    """
    for method in part.methods:
        if not callable(getattr(thing, method, None)):
            raise BadInput(
                f"{given} is no {part.name.capitalize()}: it has no method {method}() (an object "
                f"needs {', '.join(f'{m}()' for m in part.methods)})"
            )


def made(part: Part, thing: Any, given: str, *offered: Any, **options: Any) -> Any:
    """The part that a registered or user's ``thing`` makes: the class called, or the object itself.

    Args:
        part: What is to come out.
        thing: A class, a function that makes the part, or an object that is one.
        given: What the user called it.
        offered: Positional arguments, which ``thing`` may leave out.
        options: Keyword arguments, which it must take.

    Raises:
        BadInput: What comes out lacks the part's methods.
    """
    if not isinstance(thing, type) and all(hasattr(thing, m) for m in part.methods):
        return thing
    if not callable(thing):
        raise BadInput(f"{given} is no {part.name}: it is of type {type(thing).__name__}")
    try:
        inspect.signature(thing).bind(*offered, **options)
    except TypeError:
        offered = ()
    except ValueError:  # of some builtins no signature is known
        pass
    result = thing(*offered, **options)
    check_methods(part, result, given)
    return result
