"""What an answer must look like: OpenAI's `response_format`, and what vLLM adds to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from puna.serve.errors import ApiError
from puna.serve.fields import Record, invalid

Schema = dict[str, Any] | str


class Plain(Record):
    """Any text."""

    type: Literal["text"]


class JsonObject(Record):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(Record):
    """A schema with a name; it is kept to whether `strict` is set or not."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    schema_: dict[str, Any] = Field(alias="schema", default_factory=dict)
    description: str | None = None
    strict: bool | None = None


class JsonSchema(Record):
    """JSON that is valid under a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class StructuredOutputs(Record):
    """VLLM's record of the same; one of them."""

    json_: Schema | None = Field(alias="json", default=None)
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None


def _kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"<{kind}>"


Format = Annotated[
    Annotated[Plain, Tag("<text>")]
    | Annotated[JsonObject, Tag("<json_object>")]
    | Annotated[JsonSchema, Tag("<json_schema>")],
    Discriminator(
        _kind,
        custom_error_type="format",
        custom_error_message="the type must be text, json_object or json_schema",
    ),
]


class Forms(Record):
    """The parameters that say what an answer looks like; at most one of them asks for something."""

    response_format: Format | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Schema | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None

    def asked(self) -> Asked | None:
        """Return what is asked for, if something is.

        Raises:
            ApiError: 400, two things are asked for at once.
        """
        found = [*_of_format(self.response_format), *_of_outputs(self.structured_outputs)]
        for option, name in _GUIDED.items():
            if (value := getattr(self, name)) is not None:
                found.append(Asked(name=name, option=option, value=value))
        if len(found) > 1:
            names = " and ".join(asked.name for asked in found[:2])
            raise invalid(found[1].name, f"give one of {names}, not both")
        return found[0] if found else None


class Asked(Record):
    """One form: the parameter that asks for it, and the field of `Options` that does the same."""

    name: str
    option: Literal["schema", "regex", "choice", "grammar"]
    value: Any

    def refusal(self, what: str) -> ApiError:
        """Return the answer to a form that cannot be used."""
        return invalid(self.name, f"{self.name}: {what}")


_GUIDED: dict[Literal["schema", "regex", "choice", "grammar"], str] = {
    "schema": "guided_json",
    "regex": "guided_regex",
    "choice": "guided_choice",
    "grammar": "guided_grammar",
}
_ANY_OBJECT = {"type": "object"}


def _of_format(form: Plain | JsonObject | JsonSchema | None) -> list[Asked]:
    name = "response_format"
    if isinstance(form, JsonSchema):
        return [Asked(name=name, option="schema", value=form.json_schema.schema_)]
    if isinstance(form, JsonObject):
        return [Asked(name=name, option="schema", value=_ANY_OBJECT)]
    return []


def _of_outputs(outputs: StructuredOutputs | None) -> list[Asked]:
    if outputs is None:
        return []
    found = []
    for option, field in (
        ("schema", "json_"),
        ("regex", "regex"),
        ("choice", "choice"),
        ("grammar", "grammar"),
    ):
        if (value := getattr(outputs, field)) is not None:
            name = f"structured_outputs.{field.rstrip('_')}"
            found.append(Asked.model_validate({"name": name, "option": option, "value": value}))
    if outputs.json_object:
        name = "structured_outputs.json_object"
        found.append(Asked(name=name, option="schema", value=_ANY_OBJECT))
    return found
