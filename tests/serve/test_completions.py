"""Completions through the official client, against the same model asked directly."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from puna.generate import LanguageModel
from tests.serve.conftest import MODEL

PROMPT = "The llama"
PLAIN: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_tokens": 12}


def test_text_ids_and_several_of_either(client: openai.OpenAI, lm: LanguageModel) -> None:
    prompts = [PROMPT, "A fox", "Once"]
    want = [done.text for done in lm.generate_many(prompts, max_tokens=12)]
    ids = [list(lm.encode(prompt)) for prompt in prompts]
    for asked, expected in (
        (PROMPT, want[:1]),
        (ids[0], want[:1]),
        (prompts, want),
        (ids, want),
    ):
        done = client.completions.create(**PLAIN, prompt=asked)
        assert [choice.text for choice in done.choices] == expected
        assert [choice.index for choice in done.choices] == list(range(len(expected)))
        assert all(choice.finish_reason == "length" for choice in done.choices)
        assert done.id.startswith("cmpl-")
        assert done.object == "text_completion"
    assert done.usage is not None
    assert done.usage.prompt_tokens == sum(map(len, ids))
    assert done.usage.completion_tokens == 36


def test_the_limit_is_sixteen_where_none_is_given(client: openai.OpenAI) -> None:
    done = client.completions.create(model=MODEL, prompt=PROMPT, temperature=0)
    assert done.usage is not None
    assert done.usage.completion_tokens == 16


def test_a_stream_of_several_answers(client: openai.OpenAI, lm: LanguageModel) -> None:
    heat: dict[str, Any] = {"temperature": 0.9, "seed": 3}
    want = [
        done.text
        for prompt in (PROMPT, "A fox")
        for done in lm.samples(prompt, 2, max_tokens=12, **heat)
    ]
    assert len(set(want)) == 4
    body = PLAIN | heat | {"prompt": [PROMPT, "A fox"], "n": 2}
    whole = client.completions.create(**body)
    assert [choice.text for choice in whole.choices] == want
    said, usage = [""] * 4, None
    for chunk in client.completions.create(
        **body, stream=True, stream_options={"include_usage": True}
    ):
        usage = chunk.usage
        for choice in chunk.choices:
            said[choice.index] += choice.text
    assert said == want
    assert usage is not None
    assert usage.completion_tokens == 48


def test_log_probabilities_in_columns(client: openai.OpenAI, lm: LanguageModel) -> None:
    want = lm.generate(PROMPT, max_tokens=12, logprobs=True)
    chunks = list(client.completions.create(**PLAIN, prompt=PROMPT, logprobs=2, stream=True))
    whole = client.completions.create(**PLAIN, prompt=PROMPT, logprobs=2)
    for found in (whole.choices[0].logprobs, chunks[-1].choices[0].logprobs):
        assert found is not None
        assert found.token_logprobs == pytest.approx(want.logprobs)
        assert "".join(found.tokens or []) == want.text
        assert found.text_offset is not None
        assert found.top_logprobs is not None
        for at, token in zip(found.text_offset, found.tokens or [], strict=True):
            assert want.text[at:].startswith(token)
        assert [max(top.values()) for top in found.top_logprobs] == pytest.approx(want.logprobs)
    bare = client.completions.create(**PLAIN, prompt=PROMPT, logprobs=0).choices[0].logprobs
    assert bare is not None
    assert bare.top_logprobs is None
    assert client.completions.create(**PLAIN, prompt=PROMPT).choices[0].logprobs is None


def test_stop_and_form(client: openai.OpenAI, lm: LanguageModel) -> None:
    text = lm.generate(PROMPT, max_tokens=12).text
    done = client.completions.create(**PLAIN, prompt=PROMPT, stop=[text[4:8]])
    assert done.choices[0].text == text[: text.index(text[4:8])]
    assert done.choices[0].finish_reason == "stop"
    chosen = client.completions.create(
        **PLAIN, prompt=PROMPT, extra_body={"guided_choice": ["up", "down"]}
    )
    assert chosen.choices[0].text in {"up", "down"}


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": [[]]}, "prompt[0]", "invalid_value"),
        ({"prompt": ["a", 3]}, "prompt[1]", "invalid_type"),
        ({"prompt": [3, "a"]}, "prompt[1]", "invalid_type"),
        ({"prompt": [10**9]}, "prompt", "invalid_value"),
        ({"prompt": [-1]}, "prompt[0]", "invalid_value"),
        ({"prompt": 7}, "prompt", "invalid_type"),
        ({"prompt": ["a"] * 129}, "prompt", "invalid_value"),
        ({"prompt": ["a"] * 65, "n": 2}, "prompt", "invalid_value"),
        ({"prompt": [1] * 5000}, "prompt", "context_length_exceeded"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"logprobs": 21}, "logprobs", "invalid_value"),
        ({"logprobs": True}, "logprobs", "invalid_type"),
        ({"echo": True}, "echo", "unsupported_parameter"),
        ({"suffix": "x"}, "suffix", "unsupported_parameter"),
        ({"best_of": 3}, "best_of", "unsupported_parameter"),
        ({"messages": []}, "messages", "unknown_parameter"),
    ],
)
def test_a_parameter_at_fault_is_named(
    client: openai.OpenAI, change: dict[str, Any], param: str, code: str
) -> None:
    body = PLAIN | {"prompt": PROMPT} | change
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/completions", body=body, cast_to=object)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_what_asks_for_nothing_is_accepted(client: openai.OpenAI) -> None:
    done = client.completions.create(
        **PLAIN, prompt=PROMPT, echo=False, suffix=None, best_of=2, n=2, user="somebody"
    )
    assert len(done.choices) == 2


def test_a_model_that_is_not_here(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="gpt-9", prompt="x")
    assert caught.value.code == "model_not_found"
