"""Is this the model that an adapter was made for? By name; shapes are checked elsewhere."""

from __future__ import annotations

from pathlib import PurePosixPath

from puna.errors import AdapterError
from puna.source.catalog import find_entry
from puna.source.read import read_json
from puna.source.record import Source

KEY = "base_model_name_or_path"


def compare_base(adapter: Source, model: Source, *, insist: bool = True) -> str | None:
    """Return a remark where the adapter names another base than this model, else None.

    Two models may share every shape and differ in every weight, so that an adapter on the wrong
    one goes unnoticed. Names of folders prove nothing; two different ids of the catalog do.

    Args:
        adapter, model: as resolved.
        insist: whether a proven difference is an error.

    Raises:
        AdapterError: the catalog knows both, and they are two models.
    """
    stated = read_json(adapter.path / "adapter_config.json", what="adapter config").get(KEY)
    if not isinstance(stated, str) or not stated.strip():
        return None
    if _plain(stated) == _plain(model.name):
        return None
    remark = f"the adapter was made for {stated:.120}, and the model is {model.name}"
    known, wanted = (find_entry(name) if "/" in name else None for name in (model.name, stated))
    if insist and model.kind == "hub" and known and wanted and known.id != wanted.id:
        raise AdapterError(
            remark,
            where=str(adapter.path / "adapter_config.json"),
            remedy=f"open {wanted.id}; or pass --ignore-key {KEY} to use it all the same",
        )
    return remark


def _plain(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/").rstrip("/")).name.lower()
