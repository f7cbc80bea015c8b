"""Version 1 of Coalmine's own contract: service, manifest, metrics, prediction event."""
