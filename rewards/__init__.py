# Of the distribution parley-rl: run/shadowing.py looks for this line.
"""Rewards: a success detector that judges from the frames, and its training."""
