"""Colours and markers that all plots share."""

from __future__ import annotations

# Okabe and Ito's colours without black and yellow: apart for colour-blind readers and in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#5D3A9B")
# Eight of them: with seven colours, 56 pairs are different.
MARKERS = "osD^vPX*"
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "++", "oo", "--")
REFERENCE = "#777777"
"""The colour of what nobody competes with: chance, floors, commands at random."""


def colour(k: int) -> str:
    """The colour of the ``k``-th series; after seven they begin again, with other markers."""
    return COLOURS[k % len(COLOURS)]


def marker(k: int) -> str:
    """The marker of the ``k``-th series."""
    return MARKERS[k % len(MARKERS)]


def hatch(k: int) -> str:
    """The hatch of the ``k``-th series' bars."""
    return HATCHES[k % len(HATCHES)]


def literal(text: str) -> str:
    """Text that a plot shows as it stands: no formula between dollars, no entry that a legend
    leaves out for its underscore."""
    plain = text.replace("$", r"\$")
    return f" {plain}" if plain.startswith("_") else plain
