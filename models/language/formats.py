"""The names of number formats and of scoring rules, apart from the code that needs torch."""

from __future__ import annotations

from typing import Literal

NumberFormat = Literal["bfloat16", "float16", "float32"]
ScoringRule = Literal["length-normalised", "constrained"]
