"""Who judges an episode. Empty so far: the world's own truth is all there is."""
