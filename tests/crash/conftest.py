import pytest

pytest.register_assert_rewrite("harness", "judge", "peek")

from harness import fresh_copy, server, template  # noqa: E402, F401  (fixtures)


@pytest.fixture(scope="session")
def histories(template, tmp_path_factory):  # noqa: F811
    """Return a function that puts a store with a history to where the template has it open already."""
    root = tmp_path_factory.mktemp("histories")
    case, made = root / "case", {}
    template.warm("work:warm", folder=str(case))
    fresh_copy(case, root / "empty")

    def put(history, shape):
        if (history, shape) not in made:
            fresh_copy(root / "empty", case)
            template.start("work:prepare", folder=str(case), history=history, shape=shape).said()
            made[history, shape] = root / f"{history} {shape}"
            fresh_copy(case, made[history, shape])
        fresh_copy(made[history, shape], case)
        return str(case)

    return put
