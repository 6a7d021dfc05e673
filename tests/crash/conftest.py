import pytest
from harness import case, fresh_copy, new_case, server, template  # noqa: F401  (fixtures)


@pytest.fixture(scope="session")
def histories(template, make_place, database_kind, tmp_path_factory):  # noqa: F811
    """Return a function that puts a store with a history to where the template has it open already."""
    root = tmp_path_factory.mktemp(f"histories-{database_kind}")
    folder, made = root / "case", {}

    def save(name):
        fresh_copy(folder, root / name)
        return root / name, None if place.is_file else place.save()

    def restore(copy, content):
        fresh_copy(copy, folder)
        if not place.is_file:
            place.end_sessions()
            place.restore(content)

    def put(history, shape):
        if (history, shape) not in made:
            restore(*empty)
            template.start("work:prepare", folder=str(folder), history=history, shape=shape).said()
            made[history, shape] = save(f"{history} {shape}")
        restore(*made[history, shape])
        return str(folder)

    folder.mkdir()
    with make_place(folder) as place:
        (folder / "url").write_text(place.url)
        template.warm("work:warm", folder=str(folder))
        empty = save("empty")
        yield put
