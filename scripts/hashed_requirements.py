"""The packages that continuous integration installs, each with the digest of its file: .ci/requirements.txt.

After a change of constraints.txt, with the Python that CI has:

    pip install --dry-run --ignore-installed --quiet --report report.json -c constraints.txt -e '.[dev]' hatchling editables
    python scripts/hashed_requirements.py report.json > .ci/requirements.txt
"""

import json
import sys
from pathlib import Path

print("# Written by scripts/hashed_requirements.py: what CI installs, for CPython 3.11 on Linux, x86-64.")
packages = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["install"]
for package in sorted(packages, key=lambda each: each["metadata"]["name"].lower()):
    if "archive_info" in package["download_info"]:
        digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
        print(f"{package['metadata']['name']}=={package['metadata']['version']} --hash=sha256:{digest}")
