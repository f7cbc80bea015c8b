"""Versions and aliases of an MLflow registry: made last, moved by compare-and-swap, with a history."""
