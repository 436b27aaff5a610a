"""Every form of every family as a tiny random checkpoint, saved by the reference library."""

from tests.parity.forms import dense, mission, mixtures, older
from tests.parity.forms.form import SEQUENCES, Form

FORMS = (*mission.FORMS, *dense.FORMS, *older.FORMS, *mixtures.FORMS)

__all__ = ["FORMS", "SEQUENCES", "Form"]
