"""Between HTTP and the models: admission, the worker process, batching, and what each operation computes.

The HTTP process imports engine, replica, admission, batching, costs, fairness, launch, messages and vitals, none of
which import torch. worker, core, stepping, warmup and operations run in the worker processes only.
"""
