"""What a table must satisfy: the rules in words, the checks of columns, rows and target, and the report of it all."""
