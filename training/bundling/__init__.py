"""The directory that training hands to servers: compiled, compared, described and pinned, signed if wanted."""
