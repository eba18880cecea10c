"""What is planted: added or covering pictures and colour mappings, their places, and their names.

Every kind has the same method `apply`, so code that measures, searches or repairs treats all kinds alike.
"""

from typing import TypeAlias

from spuriscope.patterns.anywhere import Anywhere, put_on
from spuriscope.patterns.kinds import Cover, Kind, Pattern, Shade
from spuriscope.patterns.moved import scaled_pattern
from spuriscope.patterns.named import (
    ADDED_PATTERNS,
    AUTHORS_NAMES,
    COVER_NAMES,
    PATTERN_NAMES,
    SHADE_NAMES,
    pattern,
    register_pattern,
)
from spuriscope.patterns.stored import arrays_of, from_arrays
from spuriscope.patterns.transplanted import Transplanted

__all__ = [
    "ADDED_PATTERNS",
    "AUTHORS_NAMES",
    "COVER_NAMES",
    "PATTERN_NAMES",
    "SHADE_NAMES",
    "AnyPattern",
    "Anywhere",
    "Cover",
    "Kind",
    "Pattern",
    "Shade",
    "Transplanted",
    "arrays_of",
    "from_arrays",
    "pattern",
    "put_on",
    "register_pattern",
    "scaled_pattern",
]

AnyPattern: TypeAlias = Pattern | Cover | Shade | Anywhere | Transplanted
