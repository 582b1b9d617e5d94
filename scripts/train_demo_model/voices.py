"""The voices of espeak-ng that the model learns from, and those kept for its examination."""

import random

from espeak import Voice

# How often each English accent is heard.
ACCENTS = {
    "en-US": 8,
    "en": 7,
    "en-GB-x-rp": 3,
    "en-GB-scotland": 2,
    "en-US-nyc": 1,
    "en-029": 1,
    "en-GB-x-gbclan": 1,
    "en-GB-x-gbcwmd": 1,
}
COMMON_VARIANTS = (*(f"f{number}" for number in range(1, 6)), *(f"m{number}" for number in range(1, 9)))
# fmt: off
VARIANTS = (
    *COMMON_VARIANTS,
    "Alex", "Alicia", "Denis", "Diogo", "Hugo", "Jacky", "Lee", "Marco", "Mario", "Mike", "antonio", "aunty", "belinda",
    "benjamin", "boris", "david", "edward", "grandma", "grandpa", "iven", "john", "marcelo", "max", "michel", "miguel",
    "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "travis", "victor", "zac",
)
# fmt: on

# Accent and variant pairs that no training utterance has.
UNHEARD_PAIRS = (
    ("en-US", "f4"),
    ("en-US", "m5"),
    ("en", "f5"),
    ("en", "m6"),
    ("en-GB-x-rp", "m1"),
    ("en-GB-scotland", "f3"),
)
# Variants that no training utterance has, in any accent.
UNHEARD_VARIANTS = tuple(
    (accent, variant)
    for accent in ("en-US", "en")
    for variant in ("Annie", "Andy", "adam", "Gene", "linda", "steph", "Michael")
)


def training_voice(draw: random.Random) -> Voice:
    """A voice to learn from; half of them speak one of the common variants."""
    while True:
        (accent,) = draw.choices(list(ACCENTS), list(ACCENTS.values()))
        variant = draw.choice(COMMON_VARIANTS if draw.random() < 0.5 else VARIANTS)
        if (accent, variant) not in UNHEARD_PAIRS:
            break
    return Voice(accent, variant, draw.randint(125, 200), draw.randint(25, 75), draw.randint(30, 70))


def unheard_voice(draw: random.Random, pairs: tuple[tuple[str, str], ...] = UNHEARD_PAIRS) -> Voice:
    """A voice to examine the model with."""
    accent, variant = draw.choice(pairs)
    return Voice(accent, variant, draw.randint(130, 190), draw.randint(30, 70), draw.randint(35, 65))
