"""The whole story on embedded defaults: train, serve, promote a good model, roll back a bad one, watch drift.

`story` tells it with the real commands and processes, under the traffic of `traffic`, a closed-loop client
process. `evidence` counts what clients saw; `report` turns it into a table and an HTML page. The outcome is
what the judge and the drift monitor say; the demo only compares it with what the story expects.
"""
