"""From a name to a folder, and what a folder says of its license."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from puna.errors import FormatError, SourceError
from puna.source import builtin_names, find_license, read_json, resolve


def test_a_folder_is_found_by_text_path_and_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(folder)
    for name in (folder, str(folder), f"{folder}/", "~/my model", ".", "../my model"):
        source = resolve(name)
        assert source.name == "my model"
        assert source.path.samefile(folder)


def test_every_builtin_name_has_a_config() -> None:
    for name in builtin_names():
        assert (resolve(name).path / "config.json").is_file()


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("tiiuae/falcon-7b", "puna pull tiiuae/falcon-7b"),
        ("", "holds no config.json"),
        ("x" * 5000, "too long"),
        ("a\0b", "no model"),
        ("~nobody-of-this-name/model", "home"),
        ("\ud800", "'\\ud800'"),
        ("two\nlines\nand\nmore", "no model"),
    ],
)
def test_what_is_no_model_is_named(
    model: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        resolve(model)
    text = str(caught.value)
    assert says in text
    assert len(text.splitlines()) <= 3
    assert len(text) < 500
    text.encode()


def test_a_file_and_an_empty_folder_say_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="is a file"):
        resolve(tmp_path / "file")
    with pytest.raises(SourceError, match=r"holds no config\.json"):
        resolve(tmp_path)


def test_json_is_read_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json", what="model config") == {"a": 1}


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"a": 1,\n "b": }', "line 2"),
        (b"[1]", "must be a JSON object"),
        (b"", "line 1"),
        (b"\xff\xfe{}", "not readable JSON"),
        (b"[" * 200_000, "not readable JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not readable JSON"),
    ],
)
def test_what_is_not_json_is_named(tmp_path: Path, raw: bytes, says: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(raw)
    with pytest.raises(FormatError) as caught:
        read_json(path, what="model config")
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_a_file_too_large_or_absent_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(SourceError, match="No such file"):
        read_json(path, what="model config")
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no room
    with pytest.raises(FormatError, match="too many"):
        read_json(path, what="model config")


CARDS = [
    ("---\nlicense: apache-2.0\n---\n", "apache-2.0"),
    ("---\nlicense: 'mit'\n---\n", "mit"),
    ("---\nlanguage: en\nlicense: other\nlicense_name: llama3.2\n---\n", "llama3.2"),
    ("---\nlicense:\nlanguage: en\n---\n", None),
    ("# A model\nThe license: is a secret.\n", None),
]


@pytest.mark.parametrize(("card", "license_"), CARDS)
def test_the_card_states_the_license(tmp_path: Path, card: str, license_: str | None) -> None:
    (tmp_path / "README.md").write_text(card)
    assert find_license(tmp_path, {}) == license_


def test_card_then_config_then_license_file(tmp_path: Path) -> None:
    assert find_license(tmp_path, {}) is None
    (tmp_path / "LICENSE").write_text("\n  Apache License\n  Version 2.0\n more")
    assert find_license(tmp_path, {}) == "Apache License Version 2.0 (LICENSE)"
    assert find_license(tmp_path, {"license": "bloom-rail"}) == "bloom-rail"
    (tmp_path / "README.md").write_text("license: mit\n")
    assert find_license(tmp_path, {"license": "bloom-rail"}) == "mit"


def test_a_pipe_or_folder_in_place_of_a_file_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "README.md")
    (tmp_path / "LICENSE").mkdir()
    assert find_license(tmp_path, {}) is None
