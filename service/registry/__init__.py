"""Which models are served: read from their folders' JSON, without torch.

served.py what a request may ask of a model · folders.py, pipelines.py, signatures.py a folder as a model ·
identity.py which weights it holds · catalog.py models by name · allowed.py where models may be added from
"""

from service.registry.catalog import Key, Registry
from service.registry.served import (
    Condition,
    Served,
    ServedGenerator,
    ServedTokenizer,
    check_padded,
    codes_of,
)

__all__ = [
    "Condition",
    "Key",
    "Registry",
    "Served",
    "ServedGenerator",
    "ServedTokenizer",
    "check_padded",
    "codes_of",
]
