"""Two processes merge the same store at the same moment: each result is taken in by one of them."""

import pytest
from scenes import at_once


@pytest.mark.parametrize("files", ["link", pytest.param("copy", marks=pytest.mark.slow), "leave"])
def test_merges_of_two_processes_at_once_take_in_each_result_once(server, case, files):
    many = 40
    server.start("merging:begin", folder=case, shape="file", many=many).said()
    children = [server.start("merging:merge", folder=case, files=files, gate=True) for _ in range(2)]
    at_once(case, children)
    said = [child.said() for child in children]
    taken = [id for one in said for id in one["taken"]]
    assert len(taken) == len(set(taken)) == many, "each by one of them"
    for one in said:
        assert one["conflicts"] == []
        assert len(one["taken"]) + one["same"] + len(one["left"]) == many
    seen = server.start("merging:look", folder=case).said()
    assert seen["check"] == []
    assert seen["mine"] == seen["theirs"]
