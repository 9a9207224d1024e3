"""Number formats in which a language model can be loaded."""

from __future__ import annotations

from typing import Literal

NumberFormat = Literal["bfloat16", "float16", "float32"]
