"""HTTP beside gRPC: health and metrics for platforms, predictions as JSON for people, admin for operators.

`app` has the routes and turns every error into the same JSON; `predictions`, `health` and `admin` answer.
"""

__all__: list[str] = []
