"""Language models: weights, loading, the key-value cache, the candidate scorer, adapters."""
