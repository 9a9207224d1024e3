# Of the distribution parley-rl: run/shadowing.py looks for this line.
"""What agents and rewards both stand on: language models, vision, training."""
