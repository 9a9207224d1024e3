"""Reporters: who puts into words what the Actor saw and did."""

from __future__ import annotations

from agents.reporter.registry import REPORTERS, make_reporter

__all__ = ["REPORTERS", "make_reporter"]
