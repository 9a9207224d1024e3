"""What sentences a Planner was trained on, and what is new to it in a sentence of the user's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from agents.planner.registry import PLANNERS, check_planner
from agents.planner.shipped import shipped
from envs.conditional import DEED_VERBS, PHRASES
from envs.instruction import Reading
from envs.items import COLOURS, WORDS, item_spans
from envs.phrasings import (
    CONDITIONAL,
    CONDITIONAL_PHRASINGS,
    DEEDS,
    PROPERTIES,
    SEARCH,
)

VISIBLE = "parley-visible"  # the one that is also trained on what can be seen
MOST_ITEMS = 5  # in a search of training
_ITEM = "ITEM"
_TRAINED = PROPERTIES["train"][0]
_OTHER_WORDS = {w for three in (*PROPERTIES["validation"], *PROPERTIES["test"]) for w in three}


def what_is_new(planner: str, sentence: str) -> str:
    """What in a task sentence lies outside what a Planner was trained on, as one sentence; empty
    where nothing does, or where it is not known what the Planner was trained on.

    Only the form counts: any items may stand in it, and "the red ring" for "the solid red ring".

    Args:
        planner: The Planner's name.
        sentence: The task sentence.

    Raises:
        BadInput: The sentence cannot be played, or there is no such Planner.
    """
    reference = check_planner(planner)
    if planner in PLANNERS or reference.kind in ("module", "server"):
        return ""
    is_adapter = planner in shipped() or (Path(reference.target) / "planner.json").is_file()
    if not is_adapter:
        if Reading.of(sentence).kind:
            return ""
        return (
            f"the Planner {reference.label} was not trained for this: a few worked examples in its "
            "prompt are all that it knows of the game, and none of them reads like this sentence"
        )
    new = _new_in(sentence, visible=VISIBLE in reference.label)
    if not new:
        return ""
    known = " and ".join(f'"{_example(t)}"' for t in (_PLAIN, _SEARCHED))
    return (
        f"the Planner {reference.label} was trained on sentences like {known}; {new}, so it may "
        "well go wrong"
    )


_PLAIN = CONDITIONAL["train"]["plain"]
_SEARCHED = SEARCH["train"]["plain"]


def _example(template: str) -> str:
    slots = {"decider": "X", "condition": "is good", "yes": "Y", "no": "Z", "word": "good"}
    return template.format(all="X, Y and Z", **slots)


def _new_in(sentence: str, visible: bool) -> str:
    """What a Planner that was trained on our families meets for the first time."""
    form = _form(sentence)
    trained = {_form(text) for text in _trained(visible)}
    if form in trained:
        names = len({sentence[a:b].lower() for _, a, b in item_spans(sentence.lower())})
        if form in {_form(t) for t in _searches(("train",), _TRAINED[0])} and names > MOST_ITEMS:
            return f"it names {names} items, and searches of training had at most {MOST_ITEMS}"
        return ""
    words = form.split()
    others = [w for w in words if w in _OTHER_WORDS]
    if others and _form(_with_trained_word(sentence, others)) in trained:
        return f"the property '{others[0]}' is a word that it never met"
    if not visible and form in {_form(text) for text in _trained(True)}:
        return f"the condition is about something to see, for which {VISIBLE} was trained"
    splits = [*CONDITIONAL][1:]
    if form in {_form(t) for t in (*_conditionals(splits), *_searches(splits, _TRAINED[0]))}:
        return "this asks the same in a phrasing that it never met"
    met = {word for text in trained for word in text.split()} | {*WORDS}
    strange = list(dict.fromkeys(w for w in words if w not in met))
    listed = ", ".join(f"'{w}'" for w in strange[:5])
    return "this is another kind of sentence" + (f", with new words ({listed})" if listed else "")


def _trained(visible: bool) -> Iterator[str]:
    yield from _conditionals(("train",))
    deeds = [f"{verb} the red ring" for verb in DEED_VERBS if verb != "put"]
    deeds.append("put the red ring next to the blue tee")
    for template, word, yes, no in product(DEEDS.values(), _TRAINED, deeds, deeds):
        yield template.format(decider="red ring", condition=f"is {word}", yes=yes, no=no)
    for word in _TRAINED:
        yield from _searches(("train",), word)
    if visible:
        floors = [f"is on {article} {c} floor" for article in ("a", "an") for c in COLOURS]
        for condition in (*PHRASES.values(), *floors):
            yield _filled(CONDITIONAL_PHRASINGS["plain"], condition)


def _conditionals(splits: Iterable[str]) -> Iterator[str]:
    for split in splits:
        for template, word in product(CONDITIONAL[split].values(), _TRAINED):
            yield _filled(template, f"is {word}")


def _filled(template: str, condition: str) -> str:
    items = dict.fromkeys(("decider", "yes", "no"), "red ring")
    return template.format(condition=condition, **items)


def _searches(splits: Iterable[str], word: str) -> Iterator[str]:
    names = "the red ring and the blue tee"
    for split in splits:
        for template in SEARCH[split].values():
            yield template.format(all=names, All=names, any=names.replace("and", "or"), word=word)


def _form(sentence: str) -> str:
    """A sentence without the names of its items, articles and punctuation."""
    text = sentence.lower()
    for _, start, end in reversed(list(item_spans(text))):
        text = f"{text[:start]} {_ITEM} {text[end:]}"
    words = [w for w in re.findall(r"[^\W_]+", text) if w not in ("a", "an", "the")]
    # A list of items is one, however long.
    return re.sub(rf"{_ITEM}(?: (?:(?:and|or) )?{_ITEM})+", _ITEM, " ".join(words))


def _with_trained_word(sentence: str, words: Iterable[str]) -> str:
    for word in words:
        sentence = re.sub(rf"\b{word}\b", _TRAINED[0], sentence, flags=re.IGNORECASE)
    return sentence
