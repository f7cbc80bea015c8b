"""Where datasets are stored, and how they become rows: disks and object stores, CSV and Parquet."""
