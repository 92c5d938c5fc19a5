"""The same property, slow, in thousands of cases."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def often(test: Callable[..., Any], base: settings, examples: int = 1500) -> Callable[..., Any]:
    """A test of `test`, which is given `st.data()`."""
    inner: Any = test.hypothesis.inner_test  # type: ignore[attr-defined]
    return pytest.mark.slow(settings(base, max_examples=examples)(given(st.data())(inner)))
