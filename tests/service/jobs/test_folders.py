"""Folders: the body is there whole, and folders without a job go, but not at once."""

import os
from pathlib import Path

from service.jobs import folders
from service.jobs.folders import BODY, ORPHAN_S, JobFolders, size_of, write_whole


def test_create_and_remove(tmp_path: Path) -> None:
    made = JobFolders(tmp_path / "jobs")
    made.create("job_1", b"abc")
    made.create("job_2", None)
    assert (made.of("job_1") / BODY).read_bytes() == b"abc"
    assert list(made.of("job_2").iterdir()) == []
    made.remove("job_1")
    made.remove("job_1")  # is gone already
    assert not made.of("job_1").exists()


def test_sweep_spares_the_known_and_the_young(tmp_path: Path) -> None:
    made = JobFolders(tmp_path)
    for name in ("known", "old", "young"):
        made.create(name, b"x")
    past = folders.time.time() - ORPHAN_S - 10
    for name in ("known", "old"):
        os.utime(made.of(name), (past, past))
    made.sweep({"known"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["known", "young"]


def test_write_whole_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"one")
    write_whole(tmp_path / "file", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"two"


def test_size_follows_no_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "large").write_bytes(b"x" * 10_000)
    folder = tmp_path / "job"
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "report").write_bytes(b"x" * 5)
    (folder / "log").write_bytes(b"x" * 2)
    (folder / "data").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert size_of(folder) == 7
