"""The calibrated alarm: whether the data changed, whatever the number of rows.

The reference chooses `bins` for every column, and is kept as codes (`sample`). `distances` compares the counts of two
samples column by column, `dependence` the correlations of the features. `null` draws windows from the reference and so
learns what both do when nothing changes; where the reference is small, what seems found is tested again by `exact`.
A `calibration` joins them to the **finding** of one evaluation, and `persistence` turns findings into the **alarm**.
"""
