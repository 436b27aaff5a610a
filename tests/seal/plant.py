"""Faults that people and tools plant in models, one function each: it spoils a folder in place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from puna.weights import read_tensors, save_tensors

Fault = Callable[[Path], None]


def another_template(folder: Path) -> None:
    """The user's words are no longer trimmed, and a line break stands before the answer."""
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("'<|assistant|>'", "'\\n<|assistant|>'"))


def another_tokenizer(folder: Path) -> None:
    """Two common pieces have changed places in the vocabulary, as between two revisions."""
    path = folder / "tokenizer.json"
    body = json.loads(path.read_text())
    vocab: dict[str, int] = body["model"]["vocab"]
    one, two = "Ġthe", "Ġand"
    vocab[one], vocab[two] = vocab[two], vocab[one]
    path.write_text(json.dumps(body, ensure_ascii=False))


def doubled_bos(folder: Path) -> None:
    """The template writes the token that the tokenizer writes as well."""
    path = folder / "chat_template.jinja"
    path.write_text("{{- bos_token -}}" + path.read_text())


def permuted_rotary_order(folder: Path) -> None:
    """Queries and keys are stored for neighbors that turn together, and read for halves."""

    def permute(name: str, tensor: Tensor) -> Tensor:
        if not name.endswith(("q_proj.weight", "k_proj.weight")):
            return tensor
        heads = tensor.view(-1, 2, _head_dim(folder) // 2, tensor.shape[1])
        return heads.transpose(1, 2).reshape(tensor.shape).contiguous()

    _rewrite(folder, permute)


def transposed_weight(folder: Path) -> None:
    """One square matrix is stored the other way round."""

    def transpose(name: str, tensor: Tensor) -> Tensor:
        turned = name == "model.layers.1.self_attn.o_proj.weight"
        return tensor.t().contiguous() if turned else tensor

    _rewrite(folder, transpose)


def swapped_layers(folder: Path) -> None:
    """Two layers stand in each other's place."""
    path = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in read_tensors(path).items()}

    def other(name: str) -> str:
        for one, two in (("layers.1.", "layers.2."), ("layers.2.", "layers.1.")):
            if one in name:
                return name.replace(one, two)
        return name

    _write(path, {name: tensors[other(name)] for name in tensors})


def wrong_norm_epsilon(folder: Path) -> None:
    """The norm's epsilon is that of another model of the family."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rms_norm_eps": 1e-6}, indent=2))


def one_changed_bit(folder: Path) -> None:
    """The lowest bit of one weight is another: too little for any prompt to show."""

    def flip(name: str, tensor: Tensor) -> Tensor:
        if name == "model.layers.3.mlp.down_proj.weight":
            tensor = tensor.clone()
            tensor.view(torch.int16)[0, 0] ^= 1
        return tensor

    _rewrite(folder, flip)


def no_numbers(folder: Path) -> None:
    """One matrix holds what is no number."""

    def spoil(name: str, tensor: Tensor) -> Tensor:
        return tensor.fill_(float("nan")) if name.endswith("1.mlp.up_proj.weight") else tensor

    _rewrite(folder, spoil)


def inert_adapter(folder: Path) -> None:
    """Its second matrices are zero, as before the first step."""
    path = folder / "adapter_model.safetensors"
    tensors = read_tensors(path)
    _write(path, {n: t * 0 if ".lora_B." in n else t.clone() for n, t in tensors.items()})


def unlearned_stop(sealed: Path, base: Path) -> None:
    """Make an unsealed copy whose turns end in a token that the base never saw, unlearned."""
    shutil.copytree(sealed, base)
    (base / "puna.seal.json").unlink()
    template = base / "chat_template.jinja"
    inside = "message['content'] + eos_token -}}\n        {%- endgeneration -%}"
    outside = "message['content'] -}}\n        {%- endgeneration -%}\n        {{- '<|stop|>' -}}"
    template.write_text(template.read_text().replace(inside, outside))
    _rename_last_token(base, "<|stop|>")


def _rename_last_token(folder: Path, name: str) -> None:
    """Make the vocabulary's last piece a special token that ends the model's turns."""
    path = folder / "tokenizer.json"
    body = json.loads(path.read_text())
    model = body["model"]
    piece, token = max(model["vocab"].items(), key=lambda item: item[1])
    flags = dict.fromkeys(("normalized", "single_word", "lstrip", "rstrip"), False)
    body["added_tokens"].append({"id": token, "content": name, "special": True, **flags})
    model["merges"] = [merge for merge in model["merges"] if "".join(merge) != piece]
    model["vocab"] = {k: v for k, v in model["vocab"].items() if k != piece} | {name: token}
    path.write_text(json.dumps(body, ensure_ascii=False))
    for file in ("config.json", "generation_config.json"):
        config = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**config, "eos_token_id": token}))


def _head_dim(folder: Path) -> int:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _rewrite(folder: Path, change: Callable[[str, Tensor], Tensor]) -> None:
    path = folder / "model.safetensors"
    _write(path, {name: change(name, t.clone()) for name, t in read_tensors(path).items()})


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    shapes = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    save_tensors(path, shapes, tensors.items())
