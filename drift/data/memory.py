"""Stands for `drift.memory` until `drift.service.service` imports that."""

from drift.memory import give_back

__all__ = ["give_back"]
