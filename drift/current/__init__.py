"""Where current rows come from: a dataset, a prediction log on disk, or Loki; read into a bounded window.

`source` picks one of the three. A log gives lines, as files that grow (`log_tail`, `prediction_log`) or from Loki
(`loki`); both hand them to an `intake`. There the parts of cut lines are joined (`cut_line`), wrappers of container
runtimes and collectors are taken off (`wrapped_line`), each event is read as the contract says
(`prediction_event`), its very long labels are shortened (`long_label`), events are gathered to rows by the thousand
(`event_batch`), those seen before are dropped (`seen`), and what remains goes into the `window`.
"""
