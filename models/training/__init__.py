"""Training: the trainer, checkpoints, schedules, the process group, the policy gradient."""
