"""A cluster whose workers would not understand what travels is told from one that would, in a sentence."""

from types import SimpleNamespace

import pytest

from entropic.executors.dask import _check_versions


def client(**worker):
    ours = {"python": "3.12.4.final.0", "entropic": "3.0.0", "cloudpickle": "3.1.0"}
    found = {"client": {"packages": ours}, "workers": {"tcp://1:2": {"packages": {**ours, **worker}}}}
    return SimpleNamespace(get_versions=lambda packages: found)


@pytest.mark.parametrize("worker", [{}, {"python": "3.12.1.final.0"}, {"numpy": "1.0"}])
def test_the_same_versions_pass(worker):
    _check_versions(client(**worker))


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        ({"python": "3.11.9.final.0"}, "Python 3.11"),
        ({"entropic": "2.3.0"}, "entropic 2.3.0"),
        ({"entropic": None}, "no entropic"),
        ({"cloudpickle": "2.0.0"}, "cloudpickle 2.0.0"),
    ],
)
def test_another_version_is_named_with_its_worker(worker, said):
    with pytest.raises(RuntimeError) as raised:
        _check_versions(client(**worker))
    assert said in str(raised.value)
    assert "tcp://1:2" in str(raised.value)
    assert "install these there" in str(raised.value)
