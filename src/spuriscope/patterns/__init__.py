"""What is planted: pictures that are added or cover, and mappings of colours; where they stand; by name.

Every kind has one face, `apply`, so what measures, searches or repairs need not know which it is handed.
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
