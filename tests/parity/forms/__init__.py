"""Every form of every family as a tiny random checkpoint, saved by the reference library."""

from tests.parity.forms import dense, mission
from tests.parity.forms.form import SEQUENCES, Form

FORMS = (*mission.FORMS, *dense.FORMS)

__all__ = ["FORMS", "SEQUENCES", "Form"]
