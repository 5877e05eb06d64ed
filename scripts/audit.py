"""Looks for known vulnerabilities of the installed packages, by pip-audit; run by `make check`.

    python scripts/audit.py

It ends with 1 if one is found. What cannot be looked up, as where the package index or its list of advisories cannot be
reached, is counted and said, and is no failure: a machine without network still checks the rest.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    """Print what was found; 1 if there is something."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--local",
        "--skip-editable",
        "--format=json",
        "--progress-spinner=off",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(ran.stdout)["dependencies"]
    except ValueError:
        last = (ran.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        print(f"No package was audited, as pip-audit ended early: {last}")
        return 0
    skipped = [package for package in packages if "skip_reason" in package]
    found = [package for package in packages if package.get("vulns")]
    print(f"{len(packages) - len(skipped)} packages audited, {len(found)} with known vulnerabilities", end="")
    print(f"; {len(skipped)} could not be looked up" if skipped else "")
    for package in found:
        for advisory in package["vulns"]:
            mended = ", ".join(advisory["fix_versions"]) or "none yet"
            print(f"{package['name']} {package['version']}: {advisory['id']}, mended in {mended}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
