"""Who acts: the Planner, the Actor and the Reporter, and the loop that joins them."""
