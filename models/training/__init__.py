"""Training: the trainer, checkpoints, schedules, gradient steps, policy gradients, processes."""
