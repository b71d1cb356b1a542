"""`python -m demo.examples`: render the example pictures again."""

from __future__ import annotations

from demo.examples import FOLDER, write_examples

for file in write_examples(FOLDER):
    print(file)
