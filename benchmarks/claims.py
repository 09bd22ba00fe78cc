"""Print every claim of ``results/`` with its target: ``make claims``."""

from __future__ import annotations

import json

from .report import RESULTS, Claim, print_claims


def main() -> None:
    """Print the claims of each full result."""
    for path in sorted(RESULTS.glob("*.json")):
        document = json.loads(path.read_text())
        if document["quick"]:
            continue
        print(f"\n{document['benchmark']} ({document['date']}, {document['machine']}, {document['command']})")
        fields = [{key: value for key, value in claim.items() if key != "holds"} for claim in document["claims"]]
        print_claims([Claim(**claim) for claim in fields])


if __name__ == "__main__":
    main()
