"""Reads the document out of a page."""

import json
import re
from typing import Any


def document_of(page: str) -> dict[str, Any]:
    """Return what a page draws."""
    found = re.search(r'<script type="application/json" id="document">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])
