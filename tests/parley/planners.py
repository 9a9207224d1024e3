"""A Planner of a user's, in a module of its own, where other processes find it."""

from __future__ import annotations


def first_item(dialogue: str) -> str:
    """Pick up whatever the task names first."""
    return f"Pick up the {dialogue.split('one of the ')[-1].split(',')[0].split(' and ')[0]}."
