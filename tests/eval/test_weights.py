"""Weights come from named files only, hashed, without pickle where possible."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eval import weights
from eval.errors import NotComputedError
from eval.metrics import METRICS
from eval.weights import (
    KNOWN,
    VARIABLE,
    KnownWeights,
    WeightsConfig,
    find,
    import_files,
    load,
    main,
    read_manifest,
    verify,
)
from tokenizer.core.checkpoint import sha256_of


def test_hash_decides_whether_a_file_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / KNOWN["vgg16"].file
    torch.save({"a": torch.ones(2)}, path)
    config = WeightsConfig(folder=tmp_path)
    tensors, record = load("vgg16", config)
    assert torch.equal(tensors["a"], torch.ones(2))
    assert not record.verified
    known = KnownWeights(path.name, sha256_of(path), "here")
    monkeypatch.setitem(weights.KNOWN, "vgg16", known)
    assert load("vgg16", config)[1].verified


def test_safetensors_is_read(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3)}, tmp_path / "vgg16-397923af.safetensors")
    tensors, record = load("vgg16", WeightsConfig(folder=tmp_path))
    assert tensors["a"].tolist() == [0, 1, 2]
    assert record.file == "vgg16-397923af.safetensors"


def test_a_pickle_that_runs_code_is_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]  # the attack itself

    path = tmp_path / "evil.pth"
    torch.save({"a": Payload()}, path)
    with pytest.raises(Exception, match="[Ww]eights"):
        load("alexnet", WeightsConfig(alexnet=path))
    assert not (tmp_path / "ran").exists()


def test_only_dense_tensors_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "sparse.pth"
    torch.save({"a": torch.eye(3).to_sparse()}, path)
    warnings.simplefilter("ignore", UserWarning)  # torch tells that it checks sparse indices
    with pytest.raises(ValueError, match="dense"):
        load("alexnet", WeightsConfig(alexnet=path))
    torch.save([torch.ones(1)], path)
    with pytest.raises(ValueError, match="table"):
        load("alexnet", WeightsConfig(alexnet=path))


def test_wrong_paths_are_mistakes_not_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        find("inception", WeightsConfig(inception=tmp_path / "nothing.pth"))
    with pytest.raises(ValueError, match="no such folder"):
        find("inception", WeightsConfig(folder=tmp_path / "nothing"))
    with pytest.raises(NotComputedError):
        find("inception", WeightsConfig(folder=tmp_path))


def test_a_program_is_opened_only_if_it_is_the_published_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI publishes CLIP as TorchScript."""
    path = tmp_path / KNOWN["clip"].file
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.script(torch.nn.Linear(2, 3)).save(path)
    with pytest.raises(ValueError, match="TorchScript, a program, and not the published file"):
        load("clip", WeightsConfig(clip=path))
    known = replace(KNOWN["clip"], sha256=sha256_of(path))
    monkeypatch.setitem(weights.KNOWN, "clip", known)
    tensors, found = load("clip", WeightsConfig(folder=tmp_path))
    assert tensors["weight"].shape == (3, 2)
    assert found.verified


def test_a_file_without_a_published_hash_is_taken_and_never_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = tmp_path / "antelopev2", tmp_path / "weights"
    source.mkdir()
    (source / KNOWN["face_recognizer"].file).write_bytes(b"weights")
    (source / "1k3d68.onnx").write_bytes(b"another network")
    assert import_files(source, folder) == ["face_recognizer"]
    text, right = verify(folder)
    assert right
    assert "no hash was published to compare with" in text
    assert not weights.record("face_recognizer", folder / "glintr100.onnx").verified
    assert "no hash was published" in weights.missing("face_recognizer").what
    main(["list"])
    assert "no copy counts as verified" in capsys.readouterr().out


def test_a_file_of_unstated_size_is_found_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "models" / "renamed.pt"
    path.parent.mkdir()
    path.write_bytes(b"the published bytes")
    known = replace(KNOWN["clip"], sha256=sha256_of(path))
    monkeypatch.setitem(weights.KNOWN, "clip", known)
    (tmp_path / "models" / "other.pt").write_bytes(b"other bytes")
    assert import_files(path.parent, tmp_path / "weights") == ["clip"]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny file that the manifest calls AlexNet."""
    path = tmp_path / "elsewhere" / "model.bin"
    path.parent.mkdir()
    torch.save({"a": torch.arange(4)}, path)
    known = replace(KNOWN["alexnet"], sha256=sha256_of(path), size=path.stat().st_size, url=path.as_uri())
    monkeypatch.setitem(weights.KNOWN, "alexnet", known)
    return path


def test_the_manifest_is_whole() -> None:
    for name, known in KNOWN.items():
        assert len(known.sha256) in {0, 64}
        if name in {"inception", "vgg16", "alexnet"}:
            assert known.sha256.startswith(known.file.rsplit("-", 1)[1].split(".")[0])  # as the name says
            assert known.size > 0
        assert known.licence
        assert known.source.startswith("https://")
        assert set(known.metrics) <= set(METRICS)
        assert known.metrics
        assert known.url.endswith(known.file) or not known.url
    assert KNOWN["clip"].sha256 in KNOWN["clip"].url  # OpenAI's address carries it
    with pytest.raises(ValueError, match="metrics read inception, vgg16, alexnet, dinov2, clip"):
        read_manifest("[vgg16]\nfile = 'a'\nsha256 = 'b'\nsource = 'c'\n")


def test_import_knows_files_by_their_hash(published: Path, tmp_path: Path) -> None:
    decoy = published.with_name(KNOWN["alexnet"].file)
    decoy.write_bytes(published.read_bytes()[:-1] + b"x")  # the right name and size, other bytes
    folder = tmp_path / "weights"
    assert import_files(published.parent, folder) == ["alexnet"]
    assert [path.name for path in folder.iterdir()] == [KNOWN["alexnet"].file]
    _, found = load("alexnet", WeightsConfig(folder=folder))
    assert found.verified
    published.unlink()
    with pytest.raises(ValueError, match="no published file"):
        import_files(published.parent, tmp_path / "other")


def test_verify_tells_the_wrong_file(published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    import_files(published.parent, folder)
    assert verify(folder)[1]
    (folder / KNOWN["vgg16"].file).write_bytes(b"other")
    text, right = verify(folder)
    assert not right
    assert "vgg16-397923af.pth: NOT the published file" in text


def test_fetch_keeps_only_the_published_bytes(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "weights"
    with pytest.raises(SystemExit) as stopped:
        main(["fetch", "alexnet", f"folder={folder}"])
    assert stopped.value.code == 0
    assert verify(folder)[1]
    wrong = replace(weights.KNOWN["alexnet"], sha256="0" * 64)
    monkeypatch.setitem(weights.KNOWN, "alexnet", wrong)
    with pytest.raises(SystemExit) as stopped:
        main(["fetch", "alexnet", f"folder={tmp_path / 'second'}"])
    assert stopped.value.code == 2
    assert "what came has sha256" in capsys.readouterr().err
    assert list((tmp_path / "second").iterdir()) == []


def test_the_folder_can_be_a_setting_of_the_machine(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(published.parent))
    with pytest.raises(NotComputedError):
        find("alexnet", WeightsConfig())
    import_files(published.parent, published.parent)
    assert find("alexnet", WeightsConfig()).parent == published.parent
    assert find("alexnet", WeightsConfig(alexnet=published)) == published  # what is given goes first
    main(["list"])
    listed = capsys.readouterr().out
    assert f"here: {published.parent}" in listed
    assert all(known.sha256 in listed for known in weights.KNOWN.values() if known.sha256)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match=VARIABLE):
        find("alexnet", WeightsConfig())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["verify"], "say where"),
        (["fetch", "resnet", "folder=x"], "there are inception, vgg16, alexnet"),
        (["fetch", "face_detector", "folder=x"], "comes inside an archive: take it from"),
        (["clean", "folder=x"], "use list, verify, import DIR or fetch"),
        (["import", "no/such/folder", "folder=x"], "no such folder"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


def test_an_evaluation_never_opens_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr(weights.urllib.request, "urlopen", refuse)
    for name in KNOWN:
        with pytest.raises(NotComputedError, match="python -m eval.weights (fetch|import)"):
            load(name, WeightsConfig(folder=tmp_path))
