"""The words of our families' sentences: phrasings and property words, each in three splits.

The ``test`` split is for measuring only: what is chosen or trained on ``train`` and ``validation``
has never met it. The same goes for the harder sentences after it: misspelled (``misspelled``), in
other languages with English names and conditions (``languages``), and in the middle of a longer
text (``stories``).
"""

from __future__ import annotations

from collections.abc import Mapping

# Sentences of a condition and its two branches; a condition follows the decider's name.
CONDITIONAL: Mapping[str, Mapping[str, str]] = {
    "train": {
        "plain": "If the {decider} {condition}, pick up the {yes}, otherwise pick up the {no}.",
        # The other item comes first, so that the order of the names does not give the answer.
        "normally": "Normally pick up the {no}, but the {yes} if the {decider} {condition}.",
    },
    "validation": {
        "look": "Look at the {decider}: when it {condition}, pick up the {yes}, "
        "or else pick up the {no}.",
        "instead": "Pick up the {no}, but if the {decider} {condition}, pick up the {yes} instead.",
        "whether": "Find out whether the {decider} {condition}. If yes, collect the {yes}; "
        "if no, collect the {no}.",
        "only if": "The {yes} is what I need, but only if the {decider} {condition}; "
        "failing that, bring me the {no}.",
        "provided": "Provided that the {decider} {condition}, grab the {yes}. "
        "If that is false, grab the {no}.",
    },
    "test": {
        "when": "When the {decider} {condition}, get the {yes}; when that is not so, get the {no}.",
        "want": "I want the {yes} if it turns out that the {decider} {condition}. "
        "If it does not, I want the {no}.",
        "depends": "What to pick up depends on the {decider}: the {yes} if it {condition}, "
        "the {no} in any other case.",
        "check": "Check the {decider}. In case it {condition}, take the {yes}; "
        "in every other case take the {no}.",
        "unless": "Pick up the {no}, unless the {decider} {condition}: then pick up the {yes}.",
    },
    "misspelled": {
        "hasty": "If teh {decider} {condition}, pik up the {yes}, othewise pick up teh {no}.",
        "phonetic": "Wen the {decider} {condition}, plees get the {yes}, els get the {no}.",
    },
    "languages": {
        "German": 'Wenn gilt "the {decider} {condition}", dann hebe {yes} auf, '
        "andernfalls hebe {no} auf.",
        "French": 'Si "the {decider} {condition}" est vrai, ramasse {yes} ; sinon, ramasse {no}.',
        "Spanish": 'Recoge {no}, pero si es cierto que "the {decider} {condition}", recoge {yes}.',
    },
    "stories": {
        "museum": "The museum closes in ten minutes and the last visitors are on their way to the "
        "cloakroom. A guard has left you a note: someone has been careless with the "
        "new exhibits, and one of them has to be in the director's hands by tonight. Which one is "
        "not clear to him. If the {decider} {condition}, it is the {yes}, otherwise it is the "
        "{no}. Please pick it up. The lights go out on their own, so take your time.",
        "grandmother": "My grandmother collected odd things all her life, and every Sunday she "
        "laid them out on the carpet and told us where each came from. We never listened. Before "
        "she died she said only this to me: the {no} is yours, you may pick it up whenever you "
        "like, but should you ever find that the {decider} {condition}, leave it and pick up the "
        "{yes} instead. I have thought of it every day since, and today I would like you to do it "
        "for me.",
    },
}
# The same for branches that are commands of any kind, such as "go to the solid red ring".
DEEDS: Mapping[str, str] = {
    "plain": "If the {decider} {condition}, {yes}, otherwise {no}.",
    "normally": "Normally {no}, but {yes} if the {decider} {condition}.",
}
# ``all`` joins the items' names with "and", ``any`` with "or"; ``All`` begins a sentence.
SEARCH: Mapping[str, Mapping[str, str]] = {
    "train": {
        "plain": "Exactly one of {all} is {word}. Pick up the {word} one.",
        "which": "Find out which of {all} is {word}, and pick it up.",
    },
    "validation": {
        "only": "Only one thing among {all} is {word}; pick up that one.",
        "somewhere": "Somewhere among {all} there is one that is {word}. Grab it.",
        "bring": "Bring me the {word} one of these: {all}.",
    },
    "test": {
        "single": "Of {all}, a single one is {word}. Get it.",
        "others": "{All}: one of them is {word} and the others are not. I want the {word} one.",
        "whichever": "Pick up whichever of {any} is {word}.",
        "out": "One out of {all} is {word}. Look for it and take it.",
    },
    "misspelled": {
        "hasty": "Exacty one of {all} is {word}. Pik up teh {word} one.",
        "phonetic": "Wun of {all} is {word}. Plees fined it and get it.",
    },
    "languages": {
        "German": 'Genau eines von diesen ist "{word}": {all}. Hebe es auf.',
        "French": 'Un seul de ces objets est "{word}" : {all}. Ramasse-le.',
        "Spanish": 'Solo uno de estos objetos es "{word}": {all}. Recoge ese.',
    },
    "stories": {
        "museum": "The museum closes in ten minutes and the last visitors are on their way to the "
        "cloakroom. On the table of the workshop lie {all}, just unpacked. The restorer is sure "
        "that one of them is {word}, and that none of the others is; which one it is she has not "
        "been told. Pick up the one that is {word}. The lights go out on their own, so take your "
        "time.",
        "grandmother": "My grandmother collected odd things all her life, and every Sunday she "
        "laid them out on the carpet. Today there are only {all}. She used to say that one of "
        "her things was {word} and that whoever got hold of it would never be bored again. I would "
        "like you to find the {word} one and to pick it up for me, before my cousins come.",
    },
}
# The words for the three secret properties; each triple is named by its first word.
PROPERTIES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "train": (("good", "bad", "unknown"),),
    "validation": (
        ("safe", "dangerous", "unclear"),
        ("solved", "unsolved", "skipped"),
        ("clean", "dirty", "dusty"),
        ("sweet", "sour", "salty"),
        ("alive", "asleep", "dead"),
        ("blap", "florp", "zim"),
    ),
    "test": (
        ("heavy", "light", "hollow"),
        ("magic", "ordinary", "broken"),
        ("ripe", "rotten", "dry"),
        ("hot", "cold", "warm"),
        ("lucky", "cursed", "dull"),
        ("wug", "dax", "blick"),
    ),
}

CONDITIONAL_PHRASINGS = {n: text for split in CONDITIONAL.values() for n, text in split.items()}
SEARCH_PHRASINGS = {n: text for split in SEARCH.values() for n, text in split.items()}
PROPERTY_WORDS = {three[0]: three for split in PROPERTIES.values() for three in split}
ORDINALS = ("first", "second", "third")
