"""Print the CPU time of importing the module that is named: `import_time.py entropic`.

It imports nothing itself that the module could have to import, except `time`, which is built in.
"""

import sys
import time

start = time.process_time()
__import__(sys.argv[1])
seconds = time.process_time() - start

import json  # noqa: E402

from memory import peak_kb  # noqa: E402

print(json.dumps({"seconds": seconds, "max_rss_kb": peak_kb()}))
