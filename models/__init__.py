"""What agents and rewards both stand on: language models, vision, training."""
