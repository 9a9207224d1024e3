"""Rewards: a success detector that judges from the frames, and its training."""
