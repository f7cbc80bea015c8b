"""How often the drift alarm is raised without drift, and how often with it; Evidently's default flags beside it."""
