#!/usr/bin/env bash
# executorlib: the script of SlurmClusterExecutor names an empty partition if none is asked for, which no Slurm takes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check executorlib==1.11.0 pysqa==1.1.1 h5py==3.16.0 cloudpickle==3.1.3
cd "$folder"
mkdir bin
cat >bin/sbatch <<'SBATCH'
#!/usr/bin/env bash
# Stands in for Slurm's: keeps the script, and refuses as that does (22.05: "invalid partition specified").
grep '^#SBATCH' "${@: -1}" >"$KEPT"
exit 1
SBATCH
chmod +x bin/sbatch
cat >look.py <<'PYTHON'
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from executorlib import SlurmClusterExecutor

print(f"Python {sys.version.split()[0]}, executorlib {version('executorlib')}, pysqa {version('pysqa')}")
print("SlurmClusterExecutor() without any resources writes '#SBATCH --partition=' with nothing behind it, so sbatch refuses")
print("the job where leaving the line out would take the site's default; with resource_dict={'partition': ...} it is taken.")

if __name__ == "__main__":
    seen = {}
    for name, resources in (("none", None), ("main", {"partition": "main"})):
        os.environ["KEPT"] = os.path.abspath(f"asked for {name}")
        try:
            with SlurmClusterExecutor(cache_directory=f"cache-{name}", resource_dict=resources) as executor:
                executor.submit(len, "four").result(timeout=60)
        except subprocess.CalledProcessError:
            lines = Path(os.environ["KEPT"]).read_text().splitlines()
            seen[name] = [line for line in lines if "partition" in line]
    print(seen)
    sys.exit(seen != {"none": ["#SBATCH --partition="], "main": ["#SBATCH --partition=main"]})
PYTHON
PATH=$folder/bin:$PATH timeout 300 "$folder/venv/bin/python" look.py
