"""How much one document may ask for."""

from __future__ import annotations

from typing import Final

RULES_MAX: Final = 100
RULE_NAME_CHARACTERS_MAX: Final = 128
NESTING_MAX: Final = 32  # of conditions, and of expressions in `combine`
OPERANDS_MAX: Final = 32
FUNCTIONS_MAX: Final = 32  # of one rule; people use two
CHOICES_MAX: Final = 10_000  # of an `In`
PATTERN_CHARACTERS_MAX: Final = 1_000
PATTERN_MEMORY_BYTES: Final = 1 << 20  # of a compiled pattern
QUANTILES_MAX: Final = 100
SAMPLES_MAX: Final = 10_000_000  # of a document, counted as they are taken from the store
EVALUATION_S_MAX: Final = 10.0
