"""Planners whose language model runs behind an OpenAI-compatible server."""

from agents.planner.server.planner import ServerPlanner

__all__ = ["ServerPlanner"]
