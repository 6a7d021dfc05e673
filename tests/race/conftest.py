import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "crash"))
pytest.register_assert_rewrite("harness", "peek", "scenes")

from harness import case, new_case, server, template  # noqa: E402, F401  (fixtures)
