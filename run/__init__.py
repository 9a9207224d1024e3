# Of the distribution parley-rl: run/shadowing.py looks for this line.
