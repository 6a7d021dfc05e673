import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "crash"))

from harness import case, new_case, server, template  # noqa: F401  (fixtures)
