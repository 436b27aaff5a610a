"""Examples to ids and the mask of what is learned, by the renderer that serves chat too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from puna.data.examples import Conversation, Example, Passage
from puna.errors import DataError, PunaError, TemplateError, TokenizerError
from puna.text import ChatTemplate, Tokenizer, format_names


@dataclass(frozen=True, slots=True)
class Encoded:
    """Ids [T] int32 of one sequence, and which of them the model learns to say, [T] bool."""

    ids: Tensor
    learn: Tensor


def encode_all(
    examples: Sequence[Example],
    *,
    tokenizer: Tokenizer | None,
    template: ChatTemplate | None,
    context: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Encoded]:
    """Encode examples; none is cut.

    Args:
        examples: conversations, and passages, which begin and end with the model's own tokens.
        tokenizer, template: the model's; what is missing is an error only where it is needed.
        context: the most tokens of one example.
        on_progress: called with (examples done, examples in all).

    Raises:
        DataError: an example that is too long or teaches nothing, with file and line.
        TokenizerError, TemplateError: the model lacks what the data needs.
    """
    if tokenizer is None:
        raise TokenizerError("this model has no tokenizer", remedy="put its files in the folder")
    done = []
    for number, example in enumerate(examples, 1):
        row = (
            _passage(example, tokenizer)
            if isinstance(example, Passage)
            else _conversation(example, tokenizer, template)
        )
        if len(row.ids) > context:
            raise DataError(
                f"this example has {len(row.ids)} tokens, but the model's context is {context}",
                where=example.where,
                remedy="shorten or split it; nothing is cut in silence",
            )
        if not row.learn[1:].any():
            raise DataError("nothing in this example can be learned", where=example.where)
        done.append(row)
        if on_progress:
            on_progress(number, len(examples))
    return done


def _passage(example: Passage, tokenizer: Tokenizer) -> Encoded:
    ids = tokenizer.encode(example.text, parse_special=False)
    if tokenizer.bos_id is not None and ids[:1] != [tokenizer.bos_id]:
        ids = [tokenizer.bos_id, *ids]
    if tokenizer.eos_id is not None and ids[-1:] != [tokenizer.eos_id]:
        ids = [*ids, tokenizer.eos_id]
    return Encoded(torch.tensor(ids, dtype=torch.int32), torch.ones(len(ids), dtype=torch.bool))


def _conversation(
    example: Conversation, tokenizer: Tokenizer, template: ChatTemplate | None
) -> Encoded:
    if template is None:
        raise TemplateError(
            "this model has no chat template, so conversations cannot be rendered",
            remedy="choose its published format by name, as in --template vicuna: "
            + ", ".join(format_names()),
        )
    try:
        rendered = template.render(example.messages, tools=example.tools, tokenizer=tokenizer)
    except PunaError as error:
        error.where = f"{example.where}{f' ({error.where})' if error.where else ''}"
        raise
    return Encoded(
        torch.tensor(rendered.ids, dtype=torch.int32),
        torch.tensor(rendered.loss_mask, dtype=torch.bool),
    )
