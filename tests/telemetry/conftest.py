"""What the tests of this folder share."""

from hypothesis import settings

# How long an example takes says nothing on a machine that does everything at once.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
