"""Migrations: a new file gets the newest tables, an older one what it lacks, a newer one is left alone."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.jobs.tables import FIRST, MIGRATIONS, migrate

SECOND = ("ALTER TABLE jobs ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'", "CREATE TABLE notes (text TEXT)")
INSERT = (
    "INSERT INTO jobs (id, kind, lane, owner, request, state, created_at, fingerprint) "
    "VALUES ('a', 'k', 'l', '', '{}', 'queued', 1, 'f')"
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(tmp_path / "file", isolation_level=None)
    yield made
    made.close()


def version(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def test_a_new_file_has_the_newest_version(connection: sqlite3.Connection) -> None:
    migrate(connection)
    assert version(connection) == len(MIGRATIONS)
    migrate(connection)  # nothing to do
    connection.execute(INSERT)


def test_an_older_file_keeps_its_rows(connection: sqlite3.Connection) -> None:
    migrate(connection, (FIRST,))
    connection.execute(INSERT)
    migrate(connection, (FIRST, SECOND))
    assert version(connection) == 2
    assert connection.execute("SELECT id, colour FROM jobs").fetchall() == [("a", "grey")]


def test_a_migration_that_fails_changes_nothing(connection: sqlite3.Connection) -> None:
    migrate(connection, (FIRST,))
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, (FIRST, (SECOND[0], "CREATE NONSENSE")))
    assert version(connection) == 1
    assert "colour" not in {row[1] for row in connection.execute("PRAGMA table_info(jobs)")}


def test_a_newer_file_is_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, (FIRST, SECOND))
    with pytest.raises(ValueError, match="version 2 and this server knows 1"):
        migrate(connection, (FIRST,))
    assert version(connection) == 2
