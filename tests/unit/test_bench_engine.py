"""The engine's bench: its models say what they are said to say, and its page counts right."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from bench.engine import headings_of, measure, turns, words_of
from bench.engine_cases import CASES, after_first, matching, talks
from bench.engine_lab import Entry, Reading
from bench.engine_models import (
    MODELS,
    Model,
    cycles,
    drawn,
    edited,
    gguf,
    made,
    shared_text,
    tokenizer_of,
    walk,
)
from bench.engine_peers import Job, MissingError, Pool, Worker, program
from bench.engine_table import (
    GOALS,
    Goal,
    Heading,
    NotMeasuredError,
    Ratio,
    Row,
    case_table,
    cpu_of,
    growth,
    number,
    page,
    pick,
    ratio,
    room_left,
    verdict,
)

SPEED = Heading("Speed", "tok/s", True, "How fast.")
TIME = Heading("Time", "s", False, "How long.")
_SMALL = MODELS["small"].config
assert _SMALL
TINY = Model(
    "tiny",
    512,
    {
        **_SMALL,
        "vocab_size": 2600,
        "hidden_size": 128,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
    },
)


def row(
    tool: str,
    format: str,
    *values: float,
    case: str = "decode",
    what: str = "one",
    facts: Mapping[str, float] | None = None,
) -> Row:
    return Row(case, what, tool, format, values, facts or {})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(TINY, tmp_path_factory.mktemp("bench"))


def test_cycles_hold_every_id_that_is_not_special_once():
    found = cycles(700, loop=32)
    assert len(found.short) == 32
    assert sorted(found.short + found.long) == list(range(6, 700))
    after = found.successors()
    assert after[:6] == list(range(6))
    assert sorted(after) == list(range(700))
    assert after[found.short[-1]] == found.short[0]
    assert all(after[a] == b for a, b in zip(found.long, found.long[1:], strict=False))
    assert found == cycles(700, loop=32)
    with pytest.raises(ValueError, match="no room"):
        cycles(60, loop=32)


def test_an_edited_prompt_differs_once_in_each_stretch_and_never_at_its_end():
    found = cycles(2600)
    plain = walk(found.short, 9, len(found.short))
    changed = edited(found, 9, seed=3)
    spots = [n for n, (a, b) in enumerate(zip(plain, changed, strict=True)) if a != b]
    assert [spot // 16 for spot in spots] == list(range(15))
    assert not {changed[n] for n in spots} & set(found.short)
    assert changed != edited(found, 9, seed=4)


def test_random_prompts_differ_from_repeat_to_repeat():
    prompts = [tuple(drawn(2600, 40, seed)) for seed in range(6)]
    assert len(set(prompts)) == 6
    assert all(6 <= token < 2600 for prompt in prompts for token in prompt)
    assert len({shared_text(50, seed) for seed in range(6)}) == 6


def test_requests_of_one_repeat_share_their_system_message_only():
    first, second = talks(1, 50), talks(2, 50)
    assert len({talk[0]["content"] for talk in first}) == 1
    assert len({talk[1]["content"] for talk in first}) == len(first) == 16
    assert first[0][0] != second[0][0]


def test_a_tokenizer_is_filled_up_to_the_vocabulary():
    small = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}, "decoder": None}
    filled = tokenizer_of(small, 5)
    assert filled["model"]["vocab"] == {"a": 0, "b": 1, "w2": 2, "w3": 3, "w4": 4}
    assert filled["decoder"] is None
    assert small["model"]["vocab"] == {"a": 0, "b": 1}  # type: ignore[index]


def test_the_model_says_its_cycles_whatever_it_read_and_as_gguf_too(tiny: Path):
    import puna

    found = cycles(TINY.vocab)
    for path in (tiny, gguf(tiny, tiny.parent, "Q4_0")):
        model = puna.load(path, dtype="float32", context=512, batch=1)
        prompt = edited(found, 5, seed=1)
        assert list(model.generate(prompt, max_tokens=40).ids) == walk(found.short, 5, 40)
        said = model.generate([3, 4, *walk(found.long, 70, 8)], max_tokens=20).ids
        assert list(said) == walk(found.long, 78, 20)


def test_a_worker_answers_from_a_process_of_its_own(tiny: Path, tmp_path: Path):
    long = cycles(TINY.vocab).long
    worker = Worker(sys.executable, Job("puna", "bf16", str(tiny), 512, 2), tmp_path, 1)
    try:
        prompts = [walk(long, 0, 8), walk(long, 500, 8)]
        found = worker.ask("run", prompts=prompts, tokens=6)
        assert found["said"] == [walk(long, 8, 6), walk(long, 508, 6)]
        seconds, ids, steps = after_first(found["stamps"])
        assert seconds > 0
        assert 0 < ids <= 10
        assert 0 < steps <= 10
        assert worker.ask("peak")["peak"] > 50e6
        with pytest.raises(MissingError, match=r"UsageError.*ids must lie between"):
            worker.ask("run", prompts=[[99999]], tokens=1)
        assert worker.ask("run", prompts=prompts[:1], tokens=1)["said"] == [walk(long, 8, 1)]
    finally:
        worker.close()
    with pytest.raises(MissingError, match="SourceError"):
        Worker(sys.executable, Job("puna", "bf16", str(tmp_path / "none"), 64, 1), tmp_path, 1)
    with pytest.raises(MissingError, match="No such file"):
        Worker(str(tmp_path / "python"), Job("puna", "bf16", "", 64, 1), tmp_path, 1)


def test_a_program_that_fails_says_its_last_words(tmp_path: Path):
    words = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    with pytest.raises(MissingError, match="ended with 1: no such thing"):
        program(words, tmp_path, 1)
    assert program([sys.executable, "-c", "print(7)"], tmp_path, 1) == "7\n"
    with pytest.raises(MissingError, match=r"build_llama\.sh"):
        program([tmp_path / "llama-bench"], tmp_path, 1)


def test_what_could_not_be_opened_is_not_tried_again():
    pool, tried = Pool(), []

    def make() -> object:
        tried.append(1)
        raise MissingError("not here")

    for _ in range(2):
        with pytest.raises(MissingError, match="not here"):
            pool.get("x", make)
    assert len(tried) == 1


def test_repeats_take_turns_forth_and_back():
    assert list(turns(3, 2)) == [(1, 0), (1, 1), (1, 2), (2, 2), (2, 1), (2, 0)]
    calls: list[tuple[str, int]] = []

    def line(name: str):  # type: ignore[no-untyped-def]
        def read(repeat: int) -> Reading:
            calls.append((name, repeat))
            if name == "c" and repeat == 2:
                raise MissingError("it died")
            return Reading(10.0 * repeat, {"as known": 1.0 / repeat if repeat else 9.0})

        return read

    entries = [Entry("", name, "bf16", line(name), warm=name != "b") for name in "abc"]
    rows = measure("x", entries, 3)
    assert calls[:5] == [("a", 0), ("c", 0), ("a", 1), ("b", 1), ("c", 1)]
    assert calls[5:] == [("c", 2), ("b", 2), ("a", 2), ("a", 3), ("b", 3)]
    assert [r.values for r in rows] == [(10, 20, 30), (10, 20, 30), ()]
    assert rows[0].facts == {"as known": pytest.approx(1 / 3)}
    assert rows[2].missing == "it died"


def test_speed_counts_from_when_every_prompt_has_its_first_id():
    stamps = [(1.0, [1, 0]), (2.0, [1, 1]), (3.0, [4, 1]), (5.0, [0, 3])]
    assert after_first(stamps) == (3.0, 8, 2)
    with pytest.raises(MissingError):
        after_first([(1.0, [1, 1])])
    with pytest.raises(MissingError):
        after_first([(1.0, [1, 0]), (2.0, [1, 0])])
    with pytest.raises(MissingError):
        after_first([])


def test_the_share_of_known_ids_counts_those_that_are_missing():
    assert matching([[1, 2, 3]], [[1, 2, 3]]) == 1
    assert matching([[1, 2]], [[1, 2, 3, 4]]) == 0.5
    assert matching([[9, 2], [1, 1]], [[1, 2], [1, 1]]) == 0.75


def test_a_ratio_is_of_pairs_and_above_one_where_puna_is_better():
    ours, theirs = row("puna", "int8", 20, 9, 40), row("llama.cpp", "Q8_0", 10, 3, 40)
    assert ratio(ours, theirs, more=True) == Ratio(2.0, 1.0, 3.0)
    assert ratio(ours, theirs, more=False) == Ratio(0.5, pytest.approx(1 / 3), 1.0)
    gone = Row("decode", "one", "llama.cpp", "Q8_0", (), {}, "it died")
    with pytest.raises(NotMeasuredError, match=r"llama\.cpp Q8_0: it died"):
        ratio(ours, gone, more=True)
    with pytest.raises(NotMeasuredError, match="was not in this run"):
        pick([ours], "decode", "puna", "int4")


def _goal(figure: str, case: str) -> Goal:
    return next(goal for goal in GOALS if (goal.case, goal.figure) == (case, figure))


def test_a_goal_is_held_against_the_best_of_its_peers():
    goal = _goal("int8 / best of the others", "decode")
    slow, fast = row("transformers", "bf16", 5), row("openvino", "Q8_0", 10)
    ours = row("puna", "int8", 16)
    assert verdict(goal, [ours, slow, fast]) == ("1.60× (1.60–1.60)", "missed, 6% short")
    assert verdict(goal, [ours, slow])[1] == "reached"
    assert verdict(goal, [ours]) == ("–", "not measured: no peer was in this run")
    gone = Row("decode", "one", "puna", "int8", (), {}, "not built")
    assert verdict(goal, [gone, slow]) == ("–", "not measured: puna int8: not built")
    time = _goal("int8 / llama.cpp Q8_0", "load")
    theirs = row("llama.cpp", "Q8_0", 2.0, case="load")
    for seconds, said in ((1.9, "stretch reached"), (2.9, "reached"), (4.0, "missed, 25% short")):
        assert verdict(time, [row("puna", "int8", seconds, case="load"), theirs])[1] == said


def test_memory_is_held_against_weights_and_cache():
    facts = {"weights": 1000.0, "cache": 100.0}
    found = room_left([row("puna", "int8", 1460, 730, case="memory", facts=facts)], "int8")
    assert found == Ratio(pytest.approx(1.5), pytest.approx(1.0), pytest.approx(2.0))


def test_growth_holds_time_against_bytes_and_names_the_worst_context():
    def at(cache: float, ms: float) -> Row:
        facts = {"weights": 900.0, "cache": cache}
        return row("puna", "int8", ms, case="context", facts=facts, what=str(cache))

    steady = [at(100, 10), at(600, 15), at(1100, 20)]
    assert growth(steady, "int8").middle == pytest.approx(1.0)
    assert growth([*steady, at(2100, 60)], "int8").middle == pytest.approx(0.5)
    with pytest.raises(NotMeasuredError):
        growth(steady[:1], "int8")
    with pytest.raises(NotMeasuredError):
        growth(steady, "int4")


def test_a_table_has_one_column_of_ratios_for_each_format_of_punas():
    gone = Row("decode", "one", "openvino", "Q8_0", (), {}, "no|file")
    rows = [row("puna", "int8", 1.5, 2, 4), row("llama.cpp", "Q8_0", 1, 1, 1), gone]
    lines = case_table(TIME, rows)
    assert lines[0] == "| Tool | format |  | s | min – max | Puna int8 is | |"
    assert lines[2] == "| puna | int8 | one | 2 | 1.5 – 4 |  |  |"
    assert lines[3] == "| llama.cpp | Q8_0 | one | 1 | 1 – 1 | 0.50× (0.25–0.67) |  |"
    assert lines[4] == "| openvino | Q8_0 | one | – | – | – | not measured: no/file |"
    assert len({line.count("|") for line in lines}) == 1


def test_the_page_has_all_cases_and_only_their_goals():
    rows = [row("puna", "int8", 123.4), row("llama.cpp", "Q8_0", 100)]
    text = page({"decode": SPEED}, rows, ["Model: small."], "python -m bench.engine")
    assert "| Speed | int8 / llama.cpp Q8_0 | 1.23× (1.23–1.23) | 0.90× | 1.00× | stretch" in text
    assert "## Speed\n\nHow fast.\n" in text
    assert "prefix" not in text
    assert "Made by `python -m bench.engine`." in text


def test_every_case_says_what_it_does_and_every_goal_has_a_case():
    found = headings_of(list(CASES))
    assert all(heading.text for heading in found.values())
    assert {goal.case for goal in GOALS} == set(CASES)


def test_figures_have_three_digits():
    assert [number(x) for x in (0.01234, 1.5, 99.94, 123.4, 12345.6)] == [
        "0.0123",
        "1.5",
        "99.9",
        "123",
        "12,346",
    ]


def test_the_processor_is_read_with_the_flags_that_matter():
    text = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu amx_int8 avx2 sse\n\n"
    text += "processor\t: 1\nmodel name\t: B\n"
    assert cpu_of(text) == ("A CPU", ["avx2", "amx_int8"])
    assert cpu_of("") == ("an unknown processor", [])


def test_an_unknown_name_ends_the_command_line():
    assert words_of("a,b", "abc", "case") == ("a", "b")
    with pytest.raises(SystemExit, match="no case 'z'; there are a, b, c"):
        words_of("a,z", "abc", "case")


def test_the_folder_is_kept_and_is_a_whole_model(tiny: Path):
    before = (tiny / "model.safetensors").stat().st_mtime_ns
    assert made(TINY, tiny.parent) == tiny
    assert (tiny / "model.safetensors").stat().st_mtime_ns == before
    assert json.loads((tiny / "config.json").read_text())["vocab_size"] == 2600
    from puna.loading import load_parts

    parts = load_parts(tiny, device="cpu")
    assert parts.model.dtype == torch.bfloat16
    assert parts.text.tokenizer is not None
    assert parts.text.template is not None
