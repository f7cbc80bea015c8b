"""Other people's servers beside ours: the same forest, the same call, the same core.

    python -m benchmarks.peers [--rounds 3] [--seconds 2] [--only WORD …] [--json DIR]

`environments` makes an environment for each peer from its lock, `forest` lays our forest down in the forms that
peers load, `servers` starts who serves it, `calls` are the requests, `agreement` compares the answers with
scikit-learn's, `rounds` measures, and `tables` shows. `runtimes` runs inside the environments of the peers and
imports nothing of ours.
"""
