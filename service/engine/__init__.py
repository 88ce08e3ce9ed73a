"""Between HTTP and the models: admission, the worker process, batching, and what each operation computes.

The HTTP process imports messages, admission, batching, launch and engine, none of which import torch. worker
and operations run in the worker process only.
"""
