"""Between HTTP and the models: admission, the worker process, batching, and what each operation computes.

The HTTP process imports engine, keeper, replica, admission, batching, costs, decoding, fairness, launch, messages and
vitals, none of which import torch. worker, core, stepping, warmup, foreign_pipeline and operations run in the workers
only.
"""
