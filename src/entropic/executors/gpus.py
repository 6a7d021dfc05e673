"""The GPUs that a process may use: as a variable of its environment says, or all that the machine has."""

import os
import subprocess

from entropic.errors import ParameterError

VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
ASK_SECONDS = 60.0  # that nvidia-smi may take: it wakes the GPUs


def visible_gpus() -> tuple[str, list[str]]:
    """Return the variable that shows GPUs to a process, and those that this one sees.

    Raises
    ------
    ParameterError
        If nobody says which they are.
    """
    for name in VISIBLE:
        if name in os.environ:
            found = [one.strip() for one in os.environ[name].split(",")]
            # What follows a number that is none is not seen, says CUDA.
            end = next(
                (at for at, one in enumerate(found) if not one or one.startswith("-") or one == "NoDevFiles"), None
            )
            return name, list(dict.fromkeys(found[:end]))
    try:
        said = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=ASK_SECONDS, check=True)
        count = sum(line.startswith("GPU ") for line in said.stdout.splitlines())
    except (OSError, subprocess.SubprocessError):
        raise ParameterError(
            "gpus needs to know which GPUs there are, and nvidia-smi does not say it; set CUDA_VISIBLE_DEVICES, as in "
            "'0,1,2,3'. Nothing was run"
        ) from None
    return VISIBLE[0], [str(number) for number in range(count)]
