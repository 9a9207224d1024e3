# Of the distribution parley-rl: run/shadowing.py looks for this line.
"""Who acts: the Planner, the Actor and the Reporter, and the loop that joins them."""
