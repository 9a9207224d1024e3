"""Who judges: the world's own truth, or a success detector that watches the frames."""
