"""Tables: where they lie (`sources`), how they are written (`csv_file`, `table_file`), and their columns."""
