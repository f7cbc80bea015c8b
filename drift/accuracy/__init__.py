"""How often the model is right: estimated from its probabilities, and realised once labels arrive."""
