"""What is measured, each beside a stated peer or limit in the same run; `nox -s bench` runs it.

Absolute figures move with the machine; the ratios are what counts. Servers run on one core and the load
generator on another, targets take turns within each round, and medians over the rounds are shown.
"""
