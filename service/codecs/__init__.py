"""Pictures as bytes and as arrays. Host work only: run it in a thread, never on the event loop.

    reading.py   files -> pixels    tensors.py   npy and raw -> pixels    writing.py   pixels -> files
    webp.py, avif.py                sizes that must be known before a decoder allocates
    videos.py    videos: headers and refusals; their frames are decoded by tokenizer/data/video_file.py

Arrays are uint8 (H, W, 3), several (N, H, W, 3).
"""

from service.codecs.reading import ACCEPTED, FORMATS, PictureHeader, decode, decode_mask, inspect
from service.codecs.tensors import read_pixels
from service.codecs.videos import VIDEO_MEDIA_TYPE, inspect_video, is_video, refused
from service.codecs.writing import (
    MAX_SIDE,
    MEDIA_TYPES,
    OUTPUTS,
    QUALITIES,
    ZIP_MEDIA_TYPE,
    Output,
    Pixels,
    check_output,
    encode,
)

__all__ = [
    "ACCEPTED",
    "FORMATS",
    "MAX_SIDE",
    "MEDIA_TYPES",
    "OUTPUTS",
    "QUALITIES",
    "VIDEO_MEDIA_TYPE",
    "ZIP_MEDIA_TYPE",
    "Output",
    "PictureHeader",
    "Pixels",
    "check_output",
    "decode",
    "decode_mask",
    "encode",
    "inspect",
    "inspect_video",
    "is_video",
    "read_pixels",
    "refused",
]
