"""Who acts: the Planner, the Actor and the Reporter, and the loop that joins them."""

import os

# torch's two threads wait for each other hundreds of times in a forward pass. By default they do
# so spinning, which on a machine with other work takes 20 times as long as going to sleep.
# Read when torch is first imported, so it has to be set before that.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
