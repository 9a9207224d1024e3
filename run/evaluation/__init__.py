"""Evaluation: suites, teams, jobs, workers, tables, replays."""
