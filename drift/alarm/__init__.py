"""The calibrated alarm: whether the data changed, whatever the number of rows."""
