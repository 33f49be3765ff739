"""Writes minillm/README.md's table of families from the results of the tests.

    python -m pytest tests/minillm/test_families.py -k NAME --junitxml=families.xml
    python tests/write_family_table.py families.xml

Families that were not tested keep their row.
A row is a `model_type`: the knobs in which its test models differ from a plain llama, and the largest
difference of their logits from transformers' in float64, packed or over the cache; once against
transformers as it is, with float32 in some places, and once with float64 in those too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

from minillm.checkpoint.families import FAMILIES

README = Path(__file__).parent.parent / "minillm" / "README.md"
BEGIN, END = "<!-- families -->", "<!-- end -->"


def main() -> None:
    knobs: dict[str, set[str]] = {}
    worst: dict[tuple[str, str], float] = {}
    for case in ElementTree.parse(sys.argv[1]).iter("testcase"):
        found = {p.get("name"): p.get("value") or "" for p in case.iter("property")}
        if "family" not in found:
            continue
        if case.find("failure") is not None:
            sys.exit(f"{case.get('name')} failed; the table is of passing tests")
        family = found["family"]
        knobs.setdefault(family, set()).update(filter(None, found["knobs"].split(", ")))
        for mode in ("stock", "double"):
            if mode in found:
                value = float(found[mode].split()[1])
                worst[family, mode] = max(value, worst.get((family, mode), 0.0))
    before, _, rest = README.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    kept = {line.split("`")[1]: line for line in old.splitlines() if "`" in line}
    lines = ["| family | knobs | as it is | all in float64 |", "|---|---|---|---|"]
    for family in FAMILIES:
        if family in knobs:
            stock, double = (f"{worst[family, mode]:.0e}" for mode in ("stock", "double"))
            lines.append(f"| `{family}` | {', '.join(sorted(knobs[family]))} | {stock} | {double} |")
        elif family in kept:
            lines.append(kept[family])
        else:
            sys.exit(f"{family} is in neither the table nor {sys.argv[1]}; test it first")
    README.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}")


if __name__ == "__main__":
    main()
