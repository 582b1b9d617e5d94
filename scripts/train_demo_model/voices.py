"""The voices of espeak-ng for training, and those held out for evaluation."""

import random

from espeak import Voice

# The relative frequency of each English accent.
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

# Pairs of accent and variant that occur in no training utterance.
HELD_OUT_PAIRS = (
    ("en-US", "f4"),
    ("en-US", "m5"),
    ("en", "f5"),
    ("en", "m6"),
    ("en-GB-x-rp", "m1"),
    ("en-GB-scotland", "f3"),
)
# Variants that occur in no training utterance, in any accent.
HELD_OUT_VARIANTS = tuple(
    (accent, variant)
    for accent in ("en-US", "en")
    for variant in ("Annie", "Andy", "adam", "Gene", "linda", "steph", "Michael")
)


def training_voice(draw: random.Random) -> Voice:
    """Draw a voice for training; half of the draws are limited to the common variants."""
    while True:
        (accent,) = draw.choices(list(ACCENTS), list(ACCENTS.values()))
        variant = draw.choice(COMMON_VARIANTS if draw.random() < 0.5 else VARIANTS)
        if (accent, variant) not in HELD_OUT_PAIRS:
            break
    return Voice(accent, variant, draw.randint(125, 200), draw.randint(25, 75), draw.randint(30, 70))


def held_out_voice(draw: random.Random, pairs: tuple[tuple[str, str], ...] = HELD_OUT_PAIRS) -> Voice:
    """Draw a voice for evaluation."""
    accent, variant = draw.choice(pairs)
    return Voice(accent, variant, draw.randint(130, 190), draw.randint(30, 70), draw.randint(35, 65))
