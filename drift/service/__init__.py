"""What the monitor shows: routes, metrics, page and history."""
