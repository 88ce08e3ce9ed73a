"""Tensors as bytes, without pickle and without torch: latents, indices and pixels, in requests and answers.

Declared shapes are checked against the bytes that came before anything is allocated: an array is a view of
the body. Sizes on the wire are pixels, ``"height,width"``.

    dtypes.py   types of elements            quantised.py   8 bits a value
    stored.py   a tensor as it lies there    told.py        headers beside a body
    safetensors.py, npy.py, raw.py           the formats
    latents.py  reading and checking         writing.py     answers
"""

from service.wire.dtypes import (
    FLOATS,
    LAYOUTS,
    Array,
    Floating,
    Indices,
    LatentDtype,
    from_float32,
    to_float32,
)
from service.wire.latents import (
    CheckedLatent,
    WireLatent,
    check,
    coded_part,
    finite,
    read_latent,
    refuse_count,
    refuse_pixels,
    refuse_tokens,
)
from service.wire.npy import NPY_MAGIC, NPY_MEDIA_TYPE, read_npy, write_npy
from service.wire.raw import RAW_MEDIA_TYPE, read_raw, write_raw
from service.wire.safetensors import INDICES, SAFETENSORS_MEDIA_TYPE, read_safetensors, write_safetensors
from service.wire.sizes import MAX_DIMENSIONS, read_shape, read_size, write_size
from service.wire.stored import Stored
from service.wire.told import TOLD
from service.wire.writing import LatentFormat, WrittenLatent, check_format, write_indices, write_latent

__all__ = [
    "FLOATS",
    "INDICES",
    "LAYOUTS",
    "MAX_DIMENSIONS",
    "NPY_MAGIC",
    "NPY_MEDIA_TYPE",
    "RAW_MEDIA_TYPE",
    "SAFETENSORS_MEDIA_TYPE",
    "TOLD",
    "Array",
    "CheckedLatent",
    "Floating",
    "Indices",
    "LatentDtype",
    "LatentFormat",
    "Stored",
    "WireLatent",
    "WrittenLatent",
    "check",
    "check_format",
    "coded_part",
    "finite",
    "from_float32",
    "read_latent",
    "read_npy",
    "read_raw",
    "read_safetensors",
    "read_shape",
    "read_size",
    "refuse_count",
    "refuse_pixels",
    "refuse_tokens",
    "to_float32",
    "write_indices",
    "write_latent",
    "write_npy",
    "write_raw",
    "write_safetensors",
    "write_size",
]
