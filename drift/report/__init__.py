"""Evidently itself, in a child process: the page that it draws, and what it says beside our statistics."""
