"""The contracts: every message and service that crosses a process, and the code generated from them.

`inference/v1` is Coalmine's own contract: the Predict service, the manifest of a bundle, the metrics of
a model, and the prediction event. `oip` is the Open Inference Protocol v2 that other servers and clients
of the field speak. Nothing here imports anything of ours. The generated modules are committed and proved
fresh by `nox -s codegen`.
"""
