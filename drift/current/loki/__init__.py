"""Loki as the source of current rows.

A `client` asks (with the `access` that the settings give, and the patience of `retry`), `refusals` puts what Loki
refuses into sentences, `answers` makes entries of what it gives, and `pages` reads any stretch of time completely and
each line once, a burst within one nanosecond by `shards`. `loki_log` does that again and again from a cursor, and
`minutes` checks the result against Loki's own counts.
"""
