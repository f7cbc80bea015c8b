"""What a model is worth: figures with intervals, the comparison with the champion, gates, the model card."""
