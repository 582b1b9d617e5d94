"""A decoder as on a system where processes can't be copied."""

import os
import sys

from smelt.processor.children import decode

sys.platform = os.environ["SYSTEM"]

if __name__ == "__main__":
    decode.main()
