"""The form of references: the ids that pay once."""

import re
import unicodedata

MAX_REFERENCE_LENGTH = 255
"""Characters."""

_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U0001d159\U000e0100-\U000e01ef]"
)
"""Characters without a shape that Unicode has among the letters, marks and symbols."""


def is_reference(text: str) -> bool:
    """Whether it can be a reference: 1 to 255 visible characters, with plain spaces only between them.

    Two references that look the same must be the same. So a reference has no blank at either end, and no control,
    format (zero-width, bidirectional), line-separating, private or unassigned character, and it is in the Unicode form
    NFC: an accent that is written apart looks like the letter that has it.
    """
    return (
        0 < len(text) <= MAX_REFERENCE_LENGTH
        and text.isprintable()
        and text == text.strip()
        and (text.isascii() or (_BLANK.search(text) is None and unicodedata.is_normalized("NFC", text)))
    )
