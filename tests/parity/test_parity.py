"""Every form against the reference library, in values."""

from __future__ import annotations

import pytest

from tests.parity import measure
from tests.parity.forms import FORMS, Form


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: form.id)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    form: Form = request.param
    return measure.open_form(form, tmp_path_factory.mktemp(form.id))


def test_logits_equal_the_reference_at_every_position(opened: measure.Opened) -> None:
    assert measure.logits_difference(opened) < 1e-4


def test_a_saved_folder_is_the_same_model_to_the_reference(
    opened: measure.Opened, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    assert measure.saved_difference(opened, tmp_path / "saved") < 1e-4


@pytest.mark.parametrize("chunk", [5, 64])
def test_chunked_prefill_and_cached_decode_equal_one_shot(
    opened: measure.Opened, chunk: int
) -> None:
    assert measure.decode_difference(opened, chunk=chunk) < 1e-4
