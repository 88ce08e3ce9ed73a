"""Files inside JSON: base64 or a data URL, measured before they are decoded. Run it in a thread.

Source: RFC 2397 (data URLs), RFC 4648 section 4 (base64).
"""

from __future__ import annotations

import binascii
import json
from typing import TYPE_CHECKING

from service.errors import BadForm, BodyTooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

# Between `data:` and the comma: a media type, its parameters and `;base64`.
MAX_URL_HEAD = 256


def files_of_json(body: bytes, field: str, *, max_files: int, max_bytes: int) -> list[bytes]:
    """The files of ``{"FIELD": "..."}`` or ``{"FIELDs": ["...", ...]}``.

    Args:
        body: JSON text with that one field.
        field: ``image`` or ``latent``.
        max_files: most files.
        max_bytes: of one file.

    Raises:
        BadForm: no JSON, another field, or no base64.
        BodyTooLarge: a file is larger than ``max_bytes``; known from the length of its text.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise BadForm(
            f'the body is no JSON: send {{"{field}": "BASE64"}}, or the file itself as the body'
        ) from None
    texts = _texts(content, field)
    if texts is None or not 1 <= len(texts) <= max_files:
        raise BadForm(
            f'the JSON body must be {{"{field}": "BASE64"}} or {{"{field}s": ["BASE64", ...]}} with 1 to {max_files} '
            "files, base64 or data URLs",
            param=field,
        )
    return [read_inline(text, field, max_bytes) for text in texts]


def read_inline(text: str, field: str, max_bytes: int) -> bytes:
    """The bytes of base64 text or of a ``data:...;base64,`` URL.

    Raises:
        BadForm: neither.
        BodyTooLarge: more than ``max_bytes``, not decoded.
    """
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or len(head) > MAX_URL_HEAD or not head.endswith(";base64"):
            raise BadForm(
                f"{field} is a data URL without base64: send data:image/png;base64,...", param=field
            )
    if len(text) // 4 * 3 > max_bytes + 3:
        raise BodyTooLarge(
            f"{field} is larger than the {max_bytes} bytes that are accepted here: send a smaller file",
            details={"max_body_bytes": max_bytes},
        )
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):  # ValueError: letters beyond ASCII
        raise BadForm(
            f"{field} is not base64: encode the file's bytes, without line breaks", param=field
        ) from None


def _texts(content: object, field: str) -> Sequence[str] | None:
    if not isinstance(content, dict) or len(content) != 1:
        return None
    one, several = content.get(field), content.get(f"{field}s")
    texts = [one] if field in content else several
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return None
    return texts
