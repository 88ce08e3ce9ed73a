"""The tables of the job store, and how an older file becomes a newer one.

A change of the tables is one more script at the end of ``MIGRATIONS``, never an edit of one that was released; the
number of scripts that a file has seen is its ``user_version``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

FIRST = (
    """
    CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        lane TEXT NOT NULL,
        owner TEXT NOT NULL,
        request TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
        created_at REAL NOT NULL,
        started_at REAL,
        ended_at REAL,
        expires_at REAL,
        not_before REAL NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        interruptions INTEGER NOT NULL DEFAULT 0,
        done INTEGER NOT NULL DEFAULT 0,
        total INTEGER NOT NULL DEFAULT 0,
        phase TEXT NOT NULL DEFAULT '',
        images_per_s REAL,
        eta_s REAL,
        error TEXT,
        result TEXT,
        num_bytes INTEGER NOT NULL DEFAULT 0,
        fingerprint TEXT NOT NULL,
        idempotency_key TEXT,
        lease_owner TEXT,
        lease_until REAL,
        cancel_asked INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE UNIQUE INDEX jobs_by_key ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL",
    "CREATE INDEX jobs_in_line ON jobs (lane, state, seq)",
    "CREATE INDEX jobs_by_owner ON jobs (owner, seq)",
)
MIGRATIONS: tuple[tuple[str, ...], ...] = (FIRST,)


def migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring the file to the newest tables, all scripts or none.

    Args:
        connection: in autocommit mode.
        migrations: statements by version.

    Raises:
        ValueError: a newer server has written this file.
    """
    connection.execute("BEGIN IMMEDIATE")  # two servers may start at once on one file
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(migrations):
            raise ValueError(
                f"the job store is of version {version} and this server knows {len(migrations)}: start the newer "
                "server, or another folder in TESSERA_STATE"
            )
        for statements in migrations[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
