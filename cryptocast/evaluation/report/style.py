"""The style sheet of the page: the variables of both schemes, and the rules of `style.css`; and its script."""

import base64
import re
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptocast.evaluation.report.colours import variables

_RULES: Final = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
STYLE: Final = (
    f":root{{color-scheme:light dark;{variables('light')}--well:#f3f5f7}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{variables('dark')}--well:#1d232a}}}}"
    + re.sub(r"/\*.*?\*/|\n", "", _RULES)
)
SCRIPT: Final = Path(__file__).with_name("reading.js").read_text(encoding="utf-8")
SCRIPT_HASH: Final = base64.b64encode(sha256(SCRIPT.encode()).digest()).decode()
