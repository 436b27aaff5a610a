"""Training rows: what is read, what is learned, in which order, and what is refused where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.data import (
    Conversation,
    Encoded,
    Passage,
    collate,
    encode_all,
    fingerprint,
    order,
    read_examples,
)
from puna.errors import DataError, PunaError, SourceError, TemplateError, TokenizerError
from puna.text import load_template, load_tokenizer

SAY = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there"}]


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "data.jsonl"
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(raw) + b"\n")
    return path


def test_rows_are_read_with_their_place(tmp_path: Path) -> None:
    path = write(tmp_path, {"messages": SAY, "skill": "talk"}, b"  ", {"text": "Once"})
    first, second = read_examples(path)
    assert first == Conversation(tuple(SAY), f"{path}, line 1")
    assert second == Passage("Once", f"{path}, line 3")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "not JSON"),
        (b'{"messages": [}', "not JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[1]", "not a JSON object"),
        (b"[" * 100_000, "JSON"),
        ({}, "either messages or text"),
        ({"messages": SAY, "text": "x"}, "either messages or text"),
        ({"text": ""}, "not empty"),
        ({"text": 5}, "string"),
        ({"messages": []}, "not empty"),
        ({"messages": "hello"}, "list"),
        ({"messages": ["hello"]}, "object"),
        ({"messages": [{"role": "alien", "content": "x"}]}, "alien"),
        ({"messages": [{"role": "assistant"}]}, "no content"),
        ({"messages": [{"role": "assistant", "content": 3}]}, "no content"),
        ({"messages": SAY[:1]}, "no assistant turn"),
        ({"messages": [{**SAY[1], "weight": 0}]}, "weights"),
        ({"messages": SAY, "tools": "hammer"}, "tools"),
    ],
    ids=str,
)
def test_a_bad_line_is_named(tmp_path: Path, line: Any, says: str) -> None:
    path = write(tmp_path, {"messages": SAY}, line)
    with pytest.raises(DataError, match=says) as caught:
        read_examples(path)
    assert "line 2" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_no_data_set(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.jsonl").write_bytes(content)
    with pytest.raises(DataError, match="empty"):
        read_examples(tmp_path / "data.jsonl")
    with pytest.raises(SourceError):
        read_examples(tmp_path / "none.jsonl")
    with pytest.raises(SourceError):
        read_examples(tmp_path)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_an_error_of_ours_or_data(tmp_path_factory: Any, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "data.jsonl"
    path.write_bytes(raw)
    try:
        read_examples(path)
    except PunaError as error:
        assert len(str(error).splitlines()) <= 3


@pytest.fixture(scope="module")
def text(cria_folder: Path) -> tuple[Any, Any]:
    tokenizer = load_tokenizer(cria_folder)
    return tokenizer, load_template(cria_folder, tokenizer)


def test_the_assistant_alone_is_learned(text: tuple[Any, Any]) -> None:
    tokenizer, template = text
    talk = Conversation(
        (*SAY, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "See you"}), "x"
    )
    (row,) = encode_all([talk], tokenizer=tokenizer, template=template, context=512)
    learned = row.ids[row.learn].tolist()
    end = tokenizer.eos_id
    assert tokenizer.decode(learned, skip_special=False) == "Hello there<|end|>See you<|end|>"
    assert learned.count(end) == 2
    prompt = template.render_ids(SAY[:1], tokenizer=tokenizer)
    assert row.ids[: len(prompt)].tolist() == prompt  # what serving would ask, id for id


def test_a_passage_begins_and_ends(text: tuple[Any, Any]) -> None:
    tokenizer, template = text
    (row,) = encode_all(
        [Passage("Once <|end|>", "x")], tokenizer=tokenizer, template=template, context=512
    )
    assert row.ids[0] == tokenizer.bos_id
    assert row.ids[-1] == tokenizer.eos_id
    assert int((row.ids == tokenizer.eos_id).sum()) == 1  # what a text spells is not a token
    assert row.learn.all()


def test_too_long_is_an_error_with_the_numbers(text: tuple[Any, Any]) -> None:
    tokenizer, template = text
    with pytest.raises(DataError, match=r"tokens, but the model's context is 8"):
        encode_all(
            [Passage("word " * 50, "f, line 3")], tokenizer=tokenizer, template=template, context=8
        )
    with pytest.raises(TemplateError):
        encode_all([Conversation(tuple(SAY), "x")], tokenizer=tokenizer, template=None, context=512)
    with pytest.raises(TokenizerError):
        encode_all([Passage("a", "x")], tokenizer=None, template=None, context=512)


def row(size: int, start: int = 0) -> Encoded:
    learn = torch.zeros(size, dtype=torch.bool)
    learn[size // 2 :] = True
    return Encoded(torch.arange(start, start + size, dtype=torch.int32), learn)


def test_batches_hold_every_learned_token_with_the_one_before_it() -> None:
    rows = [row(7), row(5, 100), row(9, 200), row(1, 300)]
    batches = collate(rows, max_tokens=13)
    assert [b.lengths for b in batches] == [(7, 5), (9, 1)]
    for batch in batches:
        assert (batch.ids[batch.rows] + 1 == batch.targets).all()
    assert sum(len(b.targets) for b in batches) == sum(int(r.learn[1:].sum()) for r in rows)
    assert [b.lengths for b in collate(rows, max_tokens=3)] == [(7,), (5,), (9,), (1,)]


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 5), st.integers(0, 5))
def test_order_is_a_permutation_that_repeats(count: int, size: int, seed: int, epoch: int) -> None:
    batches = order(count, batch_size=size, seed=seed, epoch=epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])
    assert batches == order(count, batch_size=size, seed=seed, epoch=epoch)
    if count > 20:
        assert batches != order(count, batch_size=size, seed=seed, epoch=epoch + 1)
        assert batches != order(count, batch_size=size, seed=seed + 1, epoch=epoch)


def test_the_fingerprint_sees_ids_masks_and_borders() -> None:
    rows = [row(4), row(6, 50)]
    other = Encoded(rows[0].ids, ~rows[0].learn)
    joined = Encoded(torch.cat([r.ids for r in rows]), torch.cat([r.learn for r in rows]))
    prints = {fingerprint(x) for x in (rows, rows[::-1], [other, rows[1]], [joined], rows[:1])}
    assert len(prints) == 5
