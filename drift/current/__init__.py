"""Where current rows come from: a dataset, a prediction log on disk, or Loki; read into a bounded window."""
