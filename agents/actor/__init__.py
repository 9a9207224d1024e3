"""Actors: who carries out commands, step by step."""

from __future__ import annotations

from agents.actor.registry import ACTORS, make_actor

__all__ = ["ACTORS", "make_actor"]
