"""How long the property tests look: a hypothesis profile, which COALMINE_PROPERTY_PROFILE chooses.

`quick` is for every run of the tests; `nox -s property` asks for `long`. The profiles are applied by name, since
folders that are collected later load defaults of their own.
"""

import os
from typing import Final

from hypothesis import HealthCheck, settings

__all__ = ["PROFILE", "converting", "serving"]

PROFILE: Final = os.environ.get("COALMINE_PROPERTY_PROFILE", "quick")
_UNHURRIED: Final = {
    # How long an example takes says nothing on a machine that does everything at once.
    "deadline": None,
    # The server is meant to be one for all examples; what must hold of it is checked after them.
    "suppress_health_check": [
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
}
for _name, _converted, _served in (("quick", 60, 25), ("long", 3000, 2000)):
    settings.register_profile(f"{_name}-converting", max_examples=_converted, **_UNHURRIED)  # type: ignore[arg-type]
    settings.register_profile(f"{_name}-serving", max_examples=_served, **_UNHURRIED)  # type: ignore[arg-type]

#: For laws over functions.
converting: Final = settings.get_profile(f"{PROFILE}-converting")
#: For laws over a running server.
serving: Final = settings.get_profile(f"{PROFILE}-serving")
