"""Storage: run folders, settings, checkpoints."""
