# SPDX-License-Identifier: Apache-2.0
"""Methods of Keras that say what to do when they fail. What Keras lets pass is not touched, right or wrong.

But for one thing: a call with too few states, with which Keras computes something else without a word.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, NoReturn

from gatewise.keras import call_errors
from gatewise.keras.errors import cause, class_name

if TYPE_CHECKING:
    from collections.abc import Callable


def constructor(cls: Any, check: Callable[..., None], applies: Callable[[], bool]) -> Callable[..., None]:
    """Makes a class's `__init__` explain what it refuses.

    Args:
        cls: the class of Keras.
        check: raises the better error; called with the class's name and with what `__init__` was given.
        applies: says whether to explain now.
    """
    own = vars(cls)["__init__"]

    @functools.wraps(own)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # the method's name, seen in tracebacks
        try:
            own(self, *args, **kwargs)
        except Exception as error:
            if applies():
                _explain(error, check, class_name(self), *args, **kwargs)
            raise

    # Keras reads it in Operation.__new__, where it does not follow what is wrapped. mypy knows no such attribute.
    setattr(__init__, "__signature__", inspect.signature(own))  # noqa: B010
    return __init__


def call(cls: Any, applies: Callable[[Any], bool], checked: Callable[[Any], bool] | None = None) -> Callable[..., Any]:
    """Makes a class's `__call__` explain what it refuses.

    Args:
        cls: the class of Keras.
        applies: says whether to explain the failures of a layer's calls.
        checked: says whether to check the calls of a layer beforehand, whatever Keras makes of them.
    """
    own = vars(cls).get("__call__")  # Keras inherits it, and another's patch of it may come after ours

    @functools.wraps(cls.__call__)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if checked is not None and checked(self):
            call_errors.check_call(self, args, kwargs)
        elif applies(self):
            call_errors.check_few_states(self, args, kwargs)
        try:
            return own(self, *args, **kwargs) if own else super(cls, self).__call__(*args, **kwargs)
        except Exception as error:
            if applies(self):
                _explain(error, call_errors.check_call, self, args, kwargs)
            raise

    return __call__


def _explain(error: Exception, check: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    try:
        check(*args, **kwargs)
    except (TypeError, ValueError) as taught:
        _raise(taught, error)


def _raise(taught: Exception, error: Exception) -> NoReturn:
    raise taught from cause(error)
