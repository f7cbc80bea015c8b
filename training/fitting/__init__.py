"""From a validated table to a fitted model: estimator, preprocessing, split, fit, cross-validation."""
