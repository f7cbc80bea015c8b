"""Coalmine's own contract."""
