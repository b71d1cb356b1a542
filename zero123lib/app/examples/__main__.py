"""`python -m zero123lib.app.examples`: render the example images again."""

from __future__ import annotations

from zero123lib.app.examples import FOLDER, write_examples

for file in write_examples(FOLDER):
    print(file)
