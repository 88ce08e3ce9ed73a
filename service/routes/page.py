"""The playground: the files of service/web, listed at start, so that no path is ever built from a request."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from service.errors import RouteNotFound

router = APIRouter(include_in_schema=False)

WEB = Path(__file__).resolve().parents[1] / "web"
INDEX = "index.html"
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".woff2": "font/woff2",
}
# Nothing from elsewhere, no inline script or style, nobody's frame; pictures and videos also from memory.
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


@cache
def files() -> dict[str, Path]:
    """The page's files by name."""
    return {
        path.name: path for path in sorted(WEB.glob("*")) if path.suffix in MEDIA_TYPES and path.is_file()
    }


@router.api_route("/", methods=["GET", "HEAD"])
async def index() -> FileResponse:
    """The page."""
    return await file(INDEX)


@router.api_route("/{name}", methods=["GET", "HEAD"])
async def file(name: str) -> FileResponse:
    """A file of the page."""
    path = files().get(name)
    if path is None:
        raise RouteNotFound(f"nothing is at /{name[:64]}: the page is at /, the interface at /openapi.json")
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=HEADERS)
