# SPDX-License-Identifier: Apache-2.0
"""`convert`: a model with recurrent modules of PyTorch as one with gatewise's, and back."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn.utils import parametrize

from gatewise.torch.kinds import MODULES
from gatewise.torch.layers import LAYERS
from gatewise.torch.native import OWN_STATE, Native
from gatewise.torch.zoneout import described, parts

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = ("gatewise", "stock")
_STOCK: dict[Any, Any] = {cls: cls.STOCK for cls in LAYERS}
_OURS = {stock: cls for cls, stock in _STOCK.items()}


def convert(model: Any, to: Literal["gatewise", "stock"] = "gatewise", *, inplace: bool = False) -> Any:
    """Turns the recurrent modules of PyTorch in a model, at any depth, into gatewise's, or the other way.

    "stock" is for tools that know a `torch.nn.GRU` by its very class and leave ours alone, in float32 or uncounted:
    `torch.ao.quantization.quantize_dynamic` is one. Nothing but the class of a module changes. Parameters and
    parametrizations, pruning, hooks, device, dtype, training mode and attributes of your own are kept, and so is a
    module that stands in several places.

    Args:
        model: a `torch.nn.Module`, which may be such a module itself.
        to: "gatewise" turns `torch.nn.GRU` into `gatewise.torch.GRU`, and so on; "stock" does the opposite.
        inplace: whether the modules of `model` itself change. Its parameters are then the objects that they were, and
            an optimizer that holds them stays valid. Otherwise a `copy.deepcopy` changes, with parameters of its own,
            for which an optimizer has to be made.

    Returns:
        The model with other modules: a copy, or with `inplace` the one given.

    Raises:
        TypeError: model is no `torch.nn.Module`.
        ValueError: to is unknown; or a module would remain that is of a subclass, compiled by TorchScript, or has
            zoneout, which stock's has not. Then nothing is changed.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.GRU(3, 4))
        >>> fast = convert(model)
        >>> type(fast[0]).__module__, type(model[0]).__module__
        ('gatewise.torch.gru', 'torch.nn.modules.rnn')
        >>> convert(fast, to="stock", inplace=True) is fast, type(fast[0]) is torch.nn.GRU
        (True, True)
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(
            f"gatewise.torch.convert: model has the wrong type. Expected a torch.nn.Module; received "
            f"{type(model).__name__}. Build the model first, and load its state dict into it."
        )
    if to not in _NAMES:
        raise ValueError(
            f"gatewise.torch.convert: to is unknown. Expected 'gatewise' or 'stock'; received {to!r}. Choose one."
        )
    _check_complete(model, to)
    converted = model if inplace else _copy(model)
    targets = _OURS if to == "gatewise" else _STOCK
    for module in converted.modules():
        if _class(module) in targets:
            _set_class(module, targets[_class(module)])
    return converted


def _copy(model: torch.nn.Module) -> Any:
    """Copies a model.

    A recurrent module keeps the weights of its latest call, which may have been computed: those have no copy.
    """
    weights = [weight for module in model.modules() for weight in getattr(module, "_flat_weights", ())]
    computed = {id(w): w.detach().clone() for w in weights if isinstance(w, torch.Tensor) and not w.is_leaf}
    return copy.deepcopy(model, computed)


def _class(module: torch.nn.Module) -> type:
    """The class of a module, of one with parametrizations that which torch made a subclass of."""
    own: type = parametrize.type_before_parametrizations(module)
    return own


def _set_class(module: Any, target: Any) -> None:
    cls = type(module)
    for name in OWN_STATE:
        vars(module).pop(name, None)
    if target in LAYERS:
        vars(module).update(OWN_STATE)
    if parametrize.is_parametrized(module):  # the parameters are then properties of a class of the module's own
        own = {name: value for name, value in vars(cls).items() if name not in {"__dict__", "__weakref__"}}
        target = type(cls.__name__, (target,), own)
    module.__class__ = target


def _check_complete(model: torch.nn.Module, to: str) -> None:
    left = list(_remaining(model, to))
    if left:
        cure = "Write that class with the modules of torch.nn, which have no zoneout"
        if to == "gatewise":
            cure = "Call gatewise.patch_torch() instead, which subclasses follow, before TorchScript compiles"
        raise ValueError(
            f"gatewise.torch.convert: {len(left)} module{'s' if len(left) > 1 else ''} cannot be converted to {to!r}. "
            f"Expected {'torch' if to == 'gatewise' else 'gatewise'}'s own class; "
            f"received {', '.join(left[:5])}. {cure}."
        )


def _remaining(model: torch.nn.Module, to: str) -> Iterator[str]:
    """Describes the modules that a change of class cannot reach, or that would lose something by it."""
    for name, module in model.named_modules():
        ours, own = isinstance(module, Native), _class(module)
        if to == "stock":
            remains = ours and (own not in LAYERS or bool(parts(module)))
        elif isinstance(module, torch.jit.ScriptModule):
            remains = module.original_name in {cls.__name__ for cls in MODULES}
        else:
            remains = isinstance(module, MODULES) and not ours and own not in MODULES
        if remains:
            yield f"{own.__name__} {name!r}{described(module)}"
